// FXSAVE and FXRSTOR. Intel SDM vol. 1 §10.5 (edition 085). With CR4.OSFXSR = 0 they leave MXCSR and the XMM registers out.
#include "engine/interpreter/x87/rows.h"
#include "engine/interpreter/x87/save_area.h"

namespace doppel::interpreter {
namespace {

constexpr unsigned image_bytes = 512;

bool with_sse(const Cpu& cpu) { return cpu.s.cr4 & x86::cr4::osfxsr; }

template <bool rex_w>
[[gnu::noinline]] bool fxsave(Cpu& cpu, const Op* op) {
  const Linear linear = area_linear(cpu, op, image_bytes, 16, AccessKind::write);
  if (!linear.ok || !probe_area(cpu, op, linear.address, image_bytes)) return false;
  SaveArea area;
  put_x87(cpu, area, rex_w);
  if (with_sse(cpu)) {
    put_mxcsr(cpu, area);
    put_xmm(cpu, area);
    return store_part(cpu, op, linear.address, area, {0, xmm_offset + 16 * xmm_count(cpu)});
  }
  return store_part(cpu, op, linear.address, area, x87_environment) &&
         store_part(cpu, op, linear.address, area, x87_registers);
}

template <bool rex_w>
[[gnu::noinline]] bool fxrstor(Cpu& cpu, const Op* op) {
  const Linear linear = area_linear(cpu, op, image_bytes, 16, AccessKind::read);
  if (!linear.ok) return false;
  SaveArea area;
  if (!load_area(cpu, op, linear.address, area, image_bytes)) return false;
  if (with_sse(cpu)) {
    if (area.mxcsr & ~mxcsr_writable) return set_fault(cpu, x86::general_protection, 0), false;
    take_mxcsr(cpu, area.mxcsr);
    take_xmm(cpu, area);
  }
  take_x87(cpu, area, rex_w);
  return true;
}

constexpr BindRow rows[] = {
    {ZYDIS_MNEMONIC_FXSAVE, bind_no_wait<fxsave<false>>},
    {ZYDIS_MNEMONIC_FXSAVE64, bind_no_wait<fxsave<true>>},
    {ZYDIS_MNEMONIC_FXRSTOR, bind_no_wait<fxrstor<false>>},
    {ZYDIS_MNEMONIC_FXRSTOR64, bind_no_wait<fxrstor<true>>},
};

}  // namespace

std::span<const BindRow> fxsave_rows() { return rows; }

}  // namespace doppel::interpreter
