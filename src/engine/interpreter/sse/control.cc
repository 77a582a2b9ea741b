// LDMXCSR, STMXCSR and their VEX forms, EMMS, and the one table of all vector instructions.
#include <algorithm>
#include <vector>

#include "engine/interpreter/avx/vex.h"
#include "engine/interpreter/sse/rows.h"
#include "engine/interpreter/sse/vector.h"

namespace doppel::interpreter {
namespace {

constexpr u32 mxcsr_reserved = 0xffff'0000;

// `refusal`: the exception that keeps this encoding from executing.
template <u8 Cpu::* refusal>
void ldmxcsr(Cpu& cpu, const Op* op) {
  if (cpu.*refusal) [[unlikely]]
    return raise(cpu, op, cpu.*refusal);
  const Loaded<u32> value = load_operand<u32>(cpu, op);
  if (!value.ok) return faulted(cpu, op);
  if (value.value & mxcsr_reserved) return raise(cpu, op, x86::general_protection, 0);
  cpu.s.mxcsr = value.value;
  apply_mxcsr(cpu);
  return next(cpu, op);
}
template <u8 Cpu::* refusal>
void stmxcsr(Cpu& cpu, const Op* op) {
  if (cpu.*refusal) [[unlikely]]
    return raise(cpu, op, cpu.*refusal);
  collect_mxcsr(cpu);
  if (!store_operand<u32>(cpu, op, cpu.s.mxcsr)) return faulted(cpu, op);
  return next(cpu, op);
}
void emms(Cpu& cpu, const Op* op) {
  DOPPEL_CHECK_MMX(cpu, op);
  cpu.s.fpu.status &= static_cast<u16>(~0x3800);
  cpu.s.fpu.valid = 0;
  return next(cpu, op);
}

template <u8 Cpu::* refusal>
Binding bind_ldmxcsr(const x86::Instruction&, Op&) {
  return {ldmxcsr<refusal>};
}
template <u8 Cpu::* refusal>
Binding bind_stmxcsr(const x86::Instruction&, Op&) {
  return {stmxcsr<refusal>};
}
Binding bind_emms(const x86::Instruction&, Op&) { return {emms}; }

constexpr BindRow rows[] = {
    {ZYDIS_MNEMONIC_LDMXCSR, bind_ldmxcsr<&Cpu::sse_fault>},
    {ZYDIS_MNEMONIC_STMXCSR, bind_stmxcsr<&Cpu::sse_fault>},
    {ZYDIS_MNEMONIC_VLDMXCSR, bind_ldmxcsr<&Cpu::avx_fault>},
    {ZYDIS_MNEMONIC_VSTMXCSR, bind_stmxcsr<&Cpu::avx_fault>},
    {ZYDIS_MNEMONIC_EMMS, bind_emms},
};

std::vector<BindRow> join_rows() {
  std::vector<BindRow> all;
  for (auto part : {sse_integer_rows(), sse_float_rows(), sse_convert_rows(), sse_move_rows(), sse_immediate_rows(),
                    sse_string_rows(), sse_control_rows(), sse_sha_rows(), avx_frequent_rows(), avx_memory_rows(),
                    avx_control_rows()})
    all.insert(all.end(), part.begin(), part.end());
  return all;
}

}  // namespace

std::span<const BindRow> sse_control_rows() { return rows; }

std::span<const BindRow> vector_rows() {
  static const std::vector<BindRow> all = join_rows();
  return all;
}

}  // namespace doppel::interpreter
