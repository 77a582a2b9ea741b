// Instructions that go through C++ without translated code being left.
#include "engine/interpreter/system.h"
#include "engine/translator/flag_state.h"
#include "engine/translator/translator_vcpu.h"

namespace doppel::translator {

// RDTSC, SYSCALL or SYSRET; refused where anything more is to be seen to.
u64 TranslatorVcpu::system(void* owner, u64, u32 id) {
  auto& self = *static_cast<TranslatorVcpu*>(owner);
  Cpu& cpu = self.cpu_;
  const Departure& departure = self.translations_.departures[id];
  if (cpu.attention.load() || !cpu.long64) return 0;
  if (departure.mnemonic == ZYDIS_MNEMONIC_RDTSC) {
    return interpreter::load_tsc(cpu) ? self.translations_.cache.address(departure.resume) : 0;
  }
  if (!interpreter::has_system_calls(cpu)) return 0;
  const bool pushed = self.translations_.pushes_flags;
  interpreter::SystemCall to;
  if (departure.mnemonic == ZYDIS_MNEMONIC_SYSCALL) {
    const interpreter::Block& block = *self.translations_.blocks[departure.block].block;
    const interpreter::Op& op = block.ops[departure.first];
    const u64 next = self.linear_of(block) + op.offset + op.length;
    const u64 status = FlagImage::rflags(cpu.saved_flags, pushed) & x86::rflags::status;
    to = interpreter::enter_system(cpu, next, status | cpu.other_flags);
  } else {
    if (cpu.user || !x86::is_canonical(cpu.gpr[x86::rcx])) return 0;
    to = interpreter::leave_system(cpu, true);
  }
  cpu.saved_flags = FlagImage::of(to.flags & x86::rflags::status, pushed);
  cpu.native.target = to.rip;
  cpu.native.departure = id + 1;
  cpu.native.go();
  if (cpu.attention.load(std::memory_order_seq_cst)) {
    cpu.native.stop();
    return 0;
  }
  u32 code = self.known_code(to.rip);
  if (code == 0) code = self.find_target(to.rip).code;
  return code ? self.translations_.cache.address(code) : 0;
}

}  // namespace doppel::translator
