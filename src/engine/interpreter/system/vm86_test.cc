// Virtual-8086 mode with IOPL 3.
#include "support/guest_case.h"

namespace doppel::test {
namespace {

using namespace x86;

TEST(Vm86, Iopl3) {
  static constexpr GuestCase cases[] = {
      // IOPL 3: flags and INT n are the task's own, as far as the monitor's gates let it
      {Mode::vm86, "sti; nop; cli; pushf; pop ax; int3", "fb90fa9c58cc", "#3 at 6", "rax=3002 frame.flags=23002"},
      {Mode::vm86, "push word 0x3202; popf; nop; int3", "6802329d90cc", "#3 at 6", "frame.flags=23202"},
      {Mode::vm86, "push dword 0x240202; o32 popf; nop; int3", "666802022400669d90cc", "#3 at a", "frame.flags=263202"},
      {Mode::vm86, "push word 0x202; push word 0x1000; push word 0x20; iret; times 32-($-$$) nop; int3",
       "680202680010682000cf90909090909090909090909090909090909090909090cc", "#3 at 21",
       "frame.flags=23202 frame.sp=7f00"},
      {Mode::vm86, "int 0x80", "cd80", "#128 at 2", "cs=18 cpl=0"},
      {Mode::vm86, "int 0x20", "cd20", "#13(102) at 0", ""},
      {Mode::vm86, "call 0x1000:0x20; times 32-($-$$) nop; pop ax; pop bx; int3",
       "9a20000010909090909090909090909090909090909090909090909090909090585bcc", "#3 at 23", "rax=5 rbx=1000"},
      {Mode::vm86, "mov ax, 0xb800; mov es, ax; mov byte [es:0], 1; int3", "b800b88ec026c606000001cc", "#3 at c", ""},
      {Mode::vm86, "mov si, 0xffff; lodsw", "beffffad", "#13(0) at 3", ""},
  };
  check(cases, [](SmallGuest& guest) { guest.state().rflags |= rflags::iopl; });
}

}  // namespace
}  // namespace doppel::test
