// Debug registers and debug traps.
#include "support/guest_case.h"

namespace doppel::test {
namespace {

using namespace x86;

TEST(DebugRegisters, Instructions) {
  static constexpr GuestCase cases[] = {
      {Mode::long64, "mov rax, dr6; mov rbx, dr7; hlt", "0f21f00f21fbf4", "halt at 7", "rax=ffff0ff0 rbx=400"},
      {Mode::long64, "mov eax, -1; mov dr6, rax; mov rax, dr6; hlt", "b8ffffffff0f23f00f21f0f4", "halt at c",
       "rax=ffffefff"},
      {Mode::long64, "mov eax, 0xffff0000; mov dr7, rax; mov rax, dr7; hlt", "b80000ffff0f23f80f21f8f4", "halt at c",
       "rax=ffff0400"},
      {Mode::long64, "mov rax, 0x100000000; mov dr6, rax", "48b800000000010000000f23f0", "#13(0) at a", ""},
      {Mode::long64, "mov rax, 0x100000000; mov dr7, rax", "48b800000000010000000f23f8", "#13(0) at a", ""},
      {Mode::long64, "mov rax, 0x123456789abcdef0; mov dr0, rax; mov rbx, dr0; hlt",
       "48b8f0debc9a785634120f23c00f21c3f4", "halt at 11", "rbx=123456789abcdef0"},
      {Mode::long64, "mov rax, dr4; mov rbx, dr5; hlt", "0f21e00f21ebf4", "halt at 7", "rax=ffff0ff0 rbx=400"},
      {Mode::long64, "mov rax, cr4; or rax, 8; mov cr4, rax; mov rax, dr4", "0f20e0480d080000000f22e00f21e0", "#6 at c",
       ""},
      {Mode::long64, "mov eax, 0x2000; mov dr7, rax; mov rbx, dr0", "b8002000000f23f80f21c3", "#1 at 8",
       "dr6=ffff2ff0 dr7=400 frame.flags=10002"},
      {Mode::long64, "push 0x102; popfq; nop; nop", "68020100009d9090", "#1 at 7",
       "dr6=ffff4ff0 frame.flags=102 flags=2"},
      {Mode::long64, "mov ax, 0x10; push 0x102; popfq; mov ss, ax; nop; nop", "66b8100068020100009d668ed09090",
       "#1 at e", "dr6=ffff4ff0"},
      {Mode::long64, "mov eax, 0x40000; mov dr1, rax; mov eax, 0xd00004; mov dr7, rax; mov [0x40002], al; nop",
       "b8000004000f23c8b80400d0000f23f88804250200040090", "#1 at 17", "dr6=ffff0ff2"},
      {Mode::long64, "mov eax, 0x10010; mov dr0, rax; mov eax, 1; mov dr7, rax; nop; nop; hlt",
       "b8100001000f23c0b8010000000f23f89090f4", "#1 at 10", "dr6=ffff0ff1 frame.flags=2"},
  };
  check(cases);
}

}  // namespace
}  // namespace doppel::test
