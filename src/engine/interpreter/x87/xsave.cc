// XSAVE, XSAVEOPT, XSAVEC and XRSTOR for the components x87 (bit 0), SSE (bit 1) and AVX (bit 2). Intel SDM vol. 1 §13 (edition 085).
// The init optimization is complete; XSAVEOPT's modified optimization is not made, as the architecture allows.
#include "engine/interpreter/fpu_environment.h"
#include "engine/interpreter/x87/environment.h"
#include "engine/interpreter/x87/rows.h"
#include "engine/interpreter/x87/save_area.h"
#include "isa/x86/cpuid.h"

namespace doppel::interpreter {
namespace {

constexpr u64 x87_component = 1, sse_component = 2, avx_component = 4;
constexpr u64 compacted = u64{1} << 63;
constexpr u32 mxcsr_initial = 0x1f80;

enum class Save : u8 { all /* XSAVE */, used /* XSAVEOPT */, compact /* XSAVEC */ };

u64 requested(const Cpu& cpu) { return (cpu.gpr[x86::rdx] << 32 | static_cast<u32>(cpu.gpr[x86::rax])) & cpu.s.xcr0; }

bool x87_in_use(const Fpu& f) {
  if (f.control != fcw::initial || f.status || f.valid || f.opcode || f.instruction_pointer || f.data_pointer ||
      f.instruction_selector || f.data_selector)
    return true;
  for (const x86::Float80& value : f.registers)
    if (value.significand | value.sign_exponent) return true;
  return false;
}

// Words `first` and the next of any register that this mode has.
bool vectors_in_use(const Cpu& cpu, unsigned first) {
  u64 any = 0;
  for (unsigned i = 0; i < xmm_count(cpu); ++i)
    any |= cpu.s.vectors[i].words[first] | cpu.s.vectors[i].words[first + 1];
  return any;
}

// XINUSE. In the compacted format MXCSR is part of the SSE component; in the standard one it is saved and loaded by itself.
u64 components_in_use(Cpu& cpu, bool compact) {
  collect_mxcsr(cpu);
  const bool sse = vectors_in_use(cpu, 0) || (compact && cpu.s.mxcsr != mxcsr_initial);
  return (x87_in_use(cpu.s.fpu) ? x87_component : 0) | (sse ? sse_component : 0) |
         (vectors_in_use(cpu, 2) ? avx_component : 0);
}

template <Save kind, bool rex_w>
[[gnu::noinline]] bool xsave(Cpu& cpu, const Op* op) {
  const u64 mask = requested(cpu);
  const unsigned area_bytes = x86::xsave_bytes(mask);
  const Linear linear = area_linear(cpu, op, area_bytes, 64, AccessKind::write);
  if (!linear.ok || !probe_area(cpu, op, linear.address, area_bytes)) return false;
  const u64 used = components_in_use(cpu, kind == Save::compact) & mask;
  SaveArea area;
  area.xstate_bv = used;
  AreaPart header{header_offset, 8};
  if constexpr (kind == Save::compact) {
    area.xcomp_bv = mask | compacted;
    header.bytes = 16;
  } else {
    const Loaded<u64> old = load<u64>(cpu, linear.address + header_offset, static_cast<x86::Segment>(op->segment));
    if (!old.ok) return false;
    area.xstate_bv |= old.value & ~mask;
  }

  const u64 saved = kind == Save::all ? mask : used;
  const bool with_mxcsr = kind == Save::compact ? saved & sse_component : mask & (sse_component | avx_component);
  const auto write = [&](AreaPart part) { return store_part(cpu, op, linear.address, area, part); };
  if (saved & x87_component) {
    put_x87(cpu, area, rex_w);
    if (!write(x87_environment) || !write(x87_registers)) return false;
  }
  if (with_mxcsr) {
    put_mxcsr(cpu, area);
    if (!write(mxcsr_part)) return false;
  }
  if (saved & sse_component) {
    put_xmm(cpu, area);
    if (!write({xmm_offset, 16 * xmm_count(cpu)})) return false;
  }
  if (saved & avx_component) {
    put_ymm_high(cpu, area);
    if (!write({ymm_offset, 16 * xmm_count(cpu)})) return false;
  }
  return write(header);
}

bool header_valid(const Cpu& cpu, const SaveArea& area) {
  u64 reserved = 0;
  for (unsigned i = 0; i < 6; ++i) reserved |= area.header_reserved[i];
  if (area.xcomp_bv & compacted) {
    const u64 present = area.xcomp_bv & ~compacted;
    return !(present & ~cpu.s.xcr0) && !(area.xstate_bv & ~present) && !reserved;
  }
  return !(area.xstate_bv & ~cpu.s.xcr0) && !area.xcomp_bv && !area.header_reserved[0];
}

template <bool rex_w>
[[gnu::noinline]] bool xrstor(Cpu& cpu, const Op* op) {
  const Linear linear = area_linear(cpu, op, ymm_offset, 64, AccessKind::read);
  if (!linear.ok) return false;
  SaveArea area;
  if (!load_area(cpu, op, linear.address, area, ymm_offset)) return false;
  const u64 mask = requested(cpu);
  const bool compact = area.xcomp_bv & compacted;
  // Standard format: MXCSR is loaded even where XSTATE_BV says that the XMM registers are in their initial state.
  const bool load_mxcsr = compact ? mask & area.xstate_bv & sse_component : mask & (sse_component | avx_component);
  if (!header_valid(cpu, area) || (load_mxcsr && (area.mxcsr & ~mxcsr_writable)))
    return set_fault(cpu, x86::general_protection, 0), false;
  if (mask & avx_component) {
    const AreaPart part{ymm_offset, 16 * xmm_count(cpu)};
    if (!(area.xstate_bv & avx_component))
      std::memset(area.ymm_high, 0, sizeof(area.ymm_high));
    else if (!load_part(cpu, op, linear.address, area, part))
      return false;
    take_ymm_high(cpu, area);
  }

  if (mask & x87_component) {
    if (!(area.xstate_bv & x87_component)) {
      cpu.s.fpu = {};
      forget_host_flags();
    } else {
      take_x87(cpu, area, rex_w);
    }
  }
  if (mask & sse_component) {
    if (!(area.xstate_bv & sse_component)) std::memset(area.xmm, 0, sizeof(area.xmm));
    take_xmm(cpu, area);
  }
  if (load_mxcsr)
    take_mxcsr(cpu, area.mxcsr);
  else if (mask & sse_component)
    take_mxcsr(cpu, mxcsr_initial);
  return true;
}

template <X87Body body>
void available(Cpu& cpu, const Op* op) {
  if (!(cpu.s.cr4 & x86::cr4::osxsave)) [[unlikely]]
    return raise(cpu, op, x86::invalid_opcode);
  if (cpu.s.cr0 & x86::cr0::ts) [[unlikely]]
    return raise(cpu, op, x86::device_not_available);
  if (!body(cpu, op)) [[unlikely]]
    return faulted(cpu, op);
  return next(cpu, op);
}

template <X87Body body>
Binding bind_available(const x86::Instruction&, Op&) {
  return {available<body>};
}

constexpr BindRow rows[] = {
    {ZYDIS_MNEMONIC_XSAVE, bind_available<xsave<Save::all, false>>},
    {ZYDIS_MNEMONIC_XSAVE64, bind_available<xsave<Save::all, true>>},
    {ZYDIS_MNEMONIC_XSAVEOPT, bind_available<xsave<Save::used, false>>},
    {ZYDIS_MNEMONIC_XSAVEOPT64, bind_available<xsave<Save::used, true>>},
    {ZYDIS_MNEMONIC_XSAVEC, bind_available<xsave<Save::compact, false>>},
    {ZYDIS_MNEMONIC_XSAVEC64, bind_available<xsave<Save::compact, true>>},
    {ZYDIS_MNEMONIC_XRSTOR, bind_available<xrstor<false>>},
    {ZYDIS_MNEMONIC_XRSTOR64, bind_available<xrstor<true>>},
};

}  // namespace

std::span<const BindRow> xsave_rows() { return rows; }

}  // namespace doppel::interpreter
