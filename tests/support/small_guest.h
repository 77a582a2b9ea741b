// A processor with a prepared world around it, for tests of privileged behaviour: descriptor tables with one entry of every kind,
// task-state segments, page tables, stacks, and a handler behind every vector that just halts. A test gives some machine code
// and the mode to run it in, and reads off where it ended.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/interpreter/interpreter.h"
#include "isa/x86/descriptor.h"
#include "memory/bus.h"
#include "memory/physical_memory.h"

namespace doppel::test {

enum class Mode { real, protected16, protected32, user32, vm86, long64, long64_user, compat32_user };

// Where things are.
namespace at {
constexpr u64 ivt = 0, gdt = 0x1000, ldt = 0x1800, idt = 0x2000, tss = 0x3000, tss2 = 0x3100, tss3 = 0x3200,
              pml4 = 0x4000, pdpt = 0x5000, directory = 0x6000, directory32 = 0x7000, handlers = 0x8000,
              code = 0x1'0000, inner_code = 0x1'1000, task_code = 0x1'2000, user_stack = 0x2'0000,
              kernel_stack = 0x2'8000, inner_stack = 0x3'0000, interrupt_stack = 0x3'8000, data = 0x4'0000,
              read_only_page = 0x20'0000, supervisor_page = 0x21'0000, ram_bytes = 0x40'0000;
}
// Selectors of the GDT. System descriptors take two slots.
namespace sel {
constexpr u16 code64 = 0x08, data = 0x10, code32 = 0x18, user_code64 = 0x23, user_data = 0x2b, user_code32 = 0x33,
              code16 = 0x38, data16 = 0x40, conforming32 = 0x48, tss = 0x50, ldt = 0x60, absent = 0x70,
              call_gate = 0x7b, task_gate = 0x8b, tss2 = 0x90, execute_only = 0xa0, read_only = 0xa8, tss16 = 0xb0,
              code_ring1 = 0xb9, data_ring1 = 0xc1, conforming64 = 0xc8, call_gate16 = 0xd3, expand_down = 0xd8,
              beyond = 0xf00;
}

class SmallGuest {
 public:
  explicit SmallGuest(Mode mode) : SmallGuest(mode, make_interpreter()) {}
  SmallGuest(Mode mode, std::unique_ptr<Engine> engine);
  ~SmallGuest();

  void write(u64 address, u64 value, unsigned bytes);
  u64 read(u64 address, unsigned bytes) const;
  void code(std::string_view hex, u64 address = at::code);  // "0f01 f8 ; comment-free"
  x86::X86State& state() { return state_; }                 // before run(); afterwards what came of it
  Vcpu& vcpu() { return *vcpu_; }

  // Runs until it halts, `budget` is spent or it shuts down, and says how it ended:
  //   "#13(10) at 4"   vector 13 with error code 10H, saved rip 4 bytes into the code
  //   "halt at 5"      a HLT outside of the handlers; 5 bytes into the code (just behind it)
  //   "triple fault", "running at 7"
  std::string run(u64 budget = 1000);
  // "rax=5 cs=8 cpl=0": whatever is asked for by name, in hexadecimal. Names: registers, segment selectors, cpl, cr0 … cr4, dr6, dr7,
  // flags, [ADDRESS] (4 bytes), frame.cs, frame.flags, frame.sp, frame.ss (what the last event saved).
  std::string values(std::string_view names) const;

  std::vector<u8> ports_written;
  u64 time = 1000;

 private:
  struct Wires;
  void build_tables();
  void build_long_mode_tables();
  void enter(Mode mode);
  bool in_handler(u64 linear, unsigned& vector) const;
  u64 frame_word(unsigned index) const;
  u64 value_of(std::string_view name) const;
  unsigned frame_bytes() const;

  Mode mode_;
  std::unique_ptr<Wires> wires_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Vcpu> vcpu_;
  x86::X86State state_;
  bool frame_has_error_ = false;
};

}  // namespace doppel::test
