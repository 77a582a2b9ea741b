// CPUID, RDTSC, RDTSCP, RDPMC, XGETBV, XSETBV. Intel SDM vol. 2. There are no performance counters: RDPMC is refused.
#include "engine/interpreter/system/handlers.h"
#include "isa/x86/cpuid.h"

namespace doppel::interpreter {

using namespace x86;

namespace {

bool execute_cpuid(Cpu& cpu, const Op*) {
  const CpuidInput input{.index = cpu.index,
                         .count = cpu.count,
                         .osxsave = (cpu.s.cr4 & cr4::osxsave) != 0,
                         .xcr0 = cpu.s.xcr0,
                         .model = cpu.decoder.model()};
  const CpuidResult result = cpuid(input, static_cast<u32>(cpu.gpr[rax]), static_cast<u32>(cpu.gpr[rcx]));
  cpu.gpr[rax] = result.eax;
  cpu.gpr[rbx] = result.ebx;
  cpu.gpr[rcx] = result.ecx;
  cpu.gpr[rdx] = result.edx;
  return true;
}

template <bool with_processor>
void execute_rdtsc(Cpu& cpu, const Op* op) {
  if (!load_tsc(cpu)) [[unlikely]]
    return raise(cpu, op, general_protection, 0);
  if constexpr (with_processor) cpu.gpr[rcx] = cpu.s.tsc_aux;
  return next(cpu, op);
}

bool rdpmc(Cpu& cpu, const Op*) { return refuse(cpu, general_protection, 0); }

bool xgetbv(Cpu& cpu, const Op*) {
  if (!(cpu.s.cr4 & cr4::osxsave)) return refuse(cpu, invalid_opcode);
  if (static_cast<u32>(cpu.gpr[rcx]) != 0) return refuse(cpu, general_protection, 0);
  cpu.gpr[rax] = static_cast<u32>(cpu.s.xcr0);
  cpu.gpr[rdx] = cpu.s.xcr0 >> 32;
  return true;
}

bool xsetbv(Cpu& cpu, const Op*) {
  if (!(cpu.s.cr4 & cr4::osxsave)) return refuse(cpu, invalid_opcode);
  if (!privileged(cpu)) return false;
  const u64 value = static_cast<u32>(cpu.gpr[rax]) | cpu.gpr[rdx] << 32;
  const bool components = (value & xcr0::x87) && !(value & ~cpu.decoder.model().xcr0());
  const bool avx_alone = (value & xcr0::avx) && !(value & xcr0::sse);
  if (static_cast<u32>(cpu.gpr[rcx]) != 0 || !components || avx_alone) return refuse(cpu, general_protection, 0);
  cpu.s.xcr0 = value;
  cpu.update_mode();
  return true;
}

}  // namespace

bool load_tsc(Cpu& cpu) {
  if ((cpu.s.cr4 & cr4::tsd) && cpu.cpl() != 0) return false;
  const u64 now = read_tsc(cpu);
  cpu.gpr[rax] = static_cast<u32>(now);
  cpu.gpr[rdx] = now >> 32;
  return true;
}

Binding bind_information(const Instruction& instruction, Op&) {
  switch (instruction.mnemonic) {
    case ZYDIS_MNEMONIC_CPUID: return {execute<execute_cpuid>, false};
    // These end their block, so that an instruction clock tells the same time wherever the block began.
    case ZYDIS_MNEMONIC_RDTSC: return {execute_rdtsc<false>, true};
    case ZYDIS_MNEMONIC_RDTSCP: return {execute_rdtsc<true>, true};
    case ZYDIS_MNEMONIC_RDPMC: return {execute<rdpmc>, false};
    case ZYDIS_MNEMONIC_XGETBV: return {execute<xgetbv>, false};
    default: return {execute<xsetbv>, false};
  }
}

}  // namespace doppel::interpreter
