// The 512-byte FXSAVE image, which is the legacy region of the XSAVE area, the XSAVE header behind it, and the AVX component.
// Intel SDM vol. 1 §10.5.1 and §13.4 (edition 085).
#pragma once

#include "engine/interpreter/x87/state.h"

namespace doppel::interpreter {

struct RegisterImage {
  u64 low, high;
};

struct alignas(64) SaveArea {
  u16 control, status;
  u8 valid, reserved;  // abridged tag word
  u16 opcode;
  u64 instruction_pointer;  // without REX.W: offset (32), selector (16), zero (16)
  u64 data_pointer;
  u32 mxcsr, mxcsr_mask;
  RegisterImage st[8];
  RegisterImage xmm[16];
  u8 unused[96];
  u64 xstate_bv, xcomp_bv, header_reserved[6];
  RegisterImage ymm_high[16];  // in the compacted format, too: nothing lies before it
};
static_assert(sizeof(SaveArea) == 832);

// Parts of the area that are written or left alone together.
struct AreaPart {
  unsigned offset, bytes;
};
constexpr AreaPart x87_environment{0, 24}, mxcsr_part{24, 8}, x87_registers{32, 128};
constexpr unsigned xmm_offset = 160, header_offset = 512, ymm_offset = 576;

constexpr u32 mxcsr_writable = 0xffff;  // MXCSR_MASK; other bits raise #GP when loaded

inline unsigned xmm_count(const Cpu& cpu) { return cpu.long64 ? 16 : 8; }

void put_x87(const Cpu& cpu, SaveArea& area, bool rex_w);
void put_mxcsr(Cpu& cpu, SaveArea& area);
void put_xmm(const Cpu& cpu, SaveArea& area);
void put_ymm_high(const Cpu& cpu, SaveArea& area);
void take_x87(Cpu& cpu, const SaveArea& area, bool rex_w);
void take_mxcsr(Cpu& cpu, u32 value);
void take_xmm(Cpu& cpu, const SaveArea& area);
void take_ymm_high(Cpu& cpu, const SaveArea& area);

// Where the operand lies; false: fault recorded. Not aligned is #GP(0), not canonical takes precedence.
Linear area_linear(Cpu& cpu, const Op* op, unsigned bytes, unsigned alignment, AccessKind kind);
// Between the area and guest memory. A store of several parts has probed the whole before (probe_area).
bool load_area(Cpu& cpu, const Op* op, u64 linear, SaveArea& area, unsigned bytes);
bool load_part(Cpu& cpu, const Op* op, u64 linear, SaveArea& area, AreaPart part);
bool probe_area(Cpu& cpu, const Op* op, u64 linear, unsigned bytes);
bool store_part(Cpu& cpu, const Op* op, u64 linear, const SaveArea& area, AreaPart part);

}  // namespace doppel::interpreter
