// System behaviour that several families need: event delivery, segment loading, control registers, MSRs. Implemented in system/.
#pragma once

#include <optional>

#include "engine/interpreter/cpu.h"

namespace doppel::interpreter {

enum class EventKind : u8 {
  exception,
  external_interrupt,
  nmi,
  software_interrupt,
  software_exception /* INT3, INTO */,
  icebp /* INT1 */
};

// Delivers an event through the IDT (real, protected, long mode; task gates, stack switches, error codes). cpu.rip and RSP are those to
// save (for traps and software interrupts: of the next instruction). Contributory faults become double and triple faults
// inside. On return cpu.rip is the handler's, or cpu.leave is Leave::triple_fault. Sets CR2 and DR6/DR7 as the event demands.
void deliver(Cpu& cpu, EventKind kind, const Fault& fault);

// MOV/POP/Lxx Sreg semantics with all checks; false: fault recorded. SS: no shadow is set here. CS is never loaded this way.
bool load_segment(Cpu& cpu, x86::Segment segment, u16 selector);

// What MOV CR does, with all checks; false: #GP(0) (or #PF) recorded. They call update_mode() and flush what must be.
bool write_cr0(Cpu& cpu, u64 value);
bool write_cr3(Cpu& cpu, u64 value);
bool write_cr4(Cpu& cpu, u64 value);
bool write_efer(Cpu& cpu, u64 value);
bool load_pdptrs(Cpu& cpu, u64 cr3);  // PAE; false: #GP(0) recorded

// What SYSCALL and SYSRET do once nothing forbids them; `next` is the address behind SYSCALL. RFLAGS go in whole and come out whole: the
// status flags are the caller's to keep.
struct SystemCall {
  u64 rip, flags;
};
SystemCall enter_system(Cpu& cpu, u64 next, u64 flags);
SystemCall leave_system(Cpu& cpu, bool to64);
inline bool has_system_calls(const Cpu& cpu) { return (cpu.s.efer & x86::efer::sce) && cpu.long64; }

bool load_tsc(Cpu& cpu);  // RDTSC; false: #GP(0), and nothing happened
u64 read_tsc(Cpu& cpu);   // guest TSC: 1 GHz (nanoseconds of Clock) + offset

// I/O permission for `bytes` at `port` (CPL, IOPL, TSS bitmap); false: #GP(0) recorded (or a fault of the bitmap access).
bool io_allowed(Cpu& cpu, u16 port, unsigned bytes);
u64 port_read(Cpu& cpu, u16 port, unsigned bytes);
void port_write(Cpu& cpu, u16 port, unsigned bytes, u64 value);

}  // namespace doppel::interpreter
