// One case of the oracle: a state, an instruction, and what came of executing it once: the same shape for the host CPU and for the
// engine, shared with the sandboxed child as plain memory.
#pragma once

#include <array>

#include "base/types.h"
#include "isa/x86/instruction.h"

namespace doppel::oracle {

// The address space of a case, the same on the host and in the guest; everything below 4 GiB, so that 32-bit code sees it, too.
constexpr u64 code_base = 0x1000'0000;
constexpr u64 code_bytes = 0x2000;  // read, write, execute
constexpr u64 data_base = 0x2000'0000;
constexpr u64 data_bytes = 0x2000;  // read and write; set afresh for each case and compared afterwards
constexpr u64 read_only_base = data_base + data_bytes;
constexpr u64 read_only_bytes = 0x1000;  // nothing is mapped after it
constexpr u64 user_fs_base = data_base + 0x800;
constexpr u64 user_gs_base = data_base + 0x1000;

constexpr u8 no_vector = 0xff;

struct Registers {
  std::array<u64, 16> gpr;
  u64 rip;
  u64 rflags;
  alignas(16) std::array<u8, 512> fx;  // FXSAVE64 image: x87, MXCSR, XMM
  std::array<u64, 32> ymm_high;        // the upper halves of YMM0–15
};

struct Outcome {
  Registers registers;
  u64 fault_address;  // page faults
  u32 error_code;
  u8 vector;      // no_vector: completed
  bool ran_away;  // still at the instruction after a bounded number of repetitions
  std::array<u8, data_bytes> data;
};

struct Case {
  Registers registers;
  std::array<u8, 16> code;
  u8 code_length;
  bool compat32;
  bool native_in_64;  // the host executes the 32-bit instruction in 64-bit mode, after an address-size prefix
  bool repeats;       // a REP string instruction: single-stepping stops after each element
  u32 data_seed;      // where in the pattern pool the data area's contents start
  u16 patch_count;    // 8-byte words written over the pattern
  std::array<u16, 4> patch_offset;
  std::array<u64, 4> patch_value;
};

// The contents of the data area before the instruction.
constexpr u64 pool_bytes = u64{1} << 20;
inline void fill_data(u8* to, const u8* pool, const Case& c) {
  __builtin_memcpy(to, pool + c.data_seed % (pool_bytes - data_bytes), data_bytes);
  for (unsigned i = 0; i < c.patch_count; ++i) __builtin_memcpy(to + c.patch_offset[i], &c.patch_value[i], 8);
}

// FXSAVE64 image, Intel SDM vol. 1 table 10-2.
namespace fx {
constexpr unsigned fcw = 0, fsw = 2, tags = 4, mxcsr = 24, mxcsr_mask = 28, st0 = 32, xmm0 = 160;
}

}  // namespace doppel::oracle
