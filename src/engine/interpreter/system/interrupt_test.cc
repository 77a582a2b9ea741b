// When interrupts are let in.
#include "support/guest_case.h"

namespace doppel::test {
namespace {

using namespace x86;

TEST(Interrupts, Shadows) {
  static constexpr GuestCase cases[] = {
      // the instruction after STI always runs
      {Mode::long64, "sti; nop; nop; hlt", "fb9090f4", "#64 at 2", ""},
      {Mode::long64, "sti; hlt", "fbf4", "#64 at 2", ""},
      {Mode::long64, "sti; jmp short $+2; nop; hlt", "fbeb0090f4", "#64 at 3", ""},
      {Mode::long64, "sti; cli; nop; hlt", "fbfa90f4", "halt at 4", ""},
      {Mode::long64, "sti; sti; nop; hlt", "fbfb90f4", "#64 at 2", ""},
      {Mode::long64, "sti; ud2", "fb0f0b", "#6 at 1", "frame.flags=10202"},
      {Mode::protected32, "sti; nop; nop; hlt", "fb9090f4", "#64 at 2", ""},
      {Mode::real, "sti; nop; nop; hlt", "fb9090f4", "#64 at 2", ""},
      // POPF and IRET have no shadow, MOV SS has
      {Mode::long64, "push 0x202; popfq; nop; hlt", "68020200009d90f4", "#64 at 6", ""},
      {Mode::long64, "push 0x10; push 0x27000; push 0x202; push 8; push 0x10040; iretq; times 64-($-$$) nop; nop; hlt",
       "6810000000680070020068020200006808000000684000010048cf909090909090909090909090909090909090909090909090909090909"
       "0909090909090909090f4",
       "#64 at 40", ""},
      {Mode::long64, "mov eax, 0x10; sti; nop; mov ss, ax; nop; hlt", "b810000000fb90668ed090f4", "#64 at 7", ""},
      {Mode::long64, "mov eax, 0x10; sti; mov ss, eax; nop; hlt", "b810000000fb8ed090f4", "#64 at 9", ""},
      {Mode::long64, "cli; hlt", "faf4", "halt at 2", ""},
  };
  check(cases, [](SmallGuest& guest) { guest.vcpu().set_interrupt_request(true); });
}

TEST(Interrupts, NmiIsBlockedUntilIret) {
  SmallGuest guest(Mode::long64);
  guest.code("90 90 f4");
  guest.vcpu().raise_nmi();
  EXPECT_EQ(guest.run(), "#2 at 0");
  EXPECT_TRUE(guest.state().nmi_blocked);
  guest.vcpu().raise_nmi();
  guest.code("48cf", at::handlers + 2 * 16 + 1);  // IRETQ behind the handler's HLT: the second NMI comes after it
  guest.state().activity = Activity::running;
  EXPECT_EQ(guest.run(), "#2 at 0");
  EXPECT_EQ(guest.values("rsp"), "rsp=27fd8");
}

}  // namespace
}  // namespace doppel::test
