// Who may execute what: Intel SDM vol. 3 §5.9 and the instructions' own pages.
#include "support/guest_case.h"

namespace doppel::test {
namespace {

using namespace x86;

TEST(Privilege, Instructions) {
  static constexpr GuestCase cases[] = {
      // CPL 3: #GP(0)
      {Mode::long64_user, "hlt", "f4", "#13(0) at 0", ""},
      {Mode::long64_user, "cli", "fa", "#13(0) at 0", ""},
      {Mode::long64_user, "sti", "fb", "#13(0) at 0", ""},
      {Mode::long64_user, "lgdt [rsp]", "0f011424", "#13(0) at 0", ""},
      {Mode::long64_user, "lidt [rsp]", "0f011c24", "#13(0) at 0", ""},
      {Mode::long64_user, "lldt ax", "0f00d0", "#13(0) at 0", ""},
      {Mode::long64_user, "ltr ax", "0f00d8", "#13(0) at 0", ""},
      {Mode::long64_user, "lmsw ax", "0f01f0", "#13(0) at 0", ""},
      {Mode::long64_user, "clts", "0f06", "#13(0) at 0", ""},
      {Mode::long64_user, "mov rax, cr0", "0f20c0", "#13(0) at 0", ""},
      {Mode::long64_user, "mov cr3, rax", "0f22d8", "#13(0) at 0", ""},
      {Mode::long64_user, "mov rax, cr8", "440f20c0", "#13(0) at 0", ""},
      {Mode::long64_user, "mov rax, dr7", "0f21f8", "#13(0) at 0", ""},
      {Mode::long64_user, "mov dr0, rax", "0f23c0", "#13(0) at 0", ""},
      {Mode::long64_user, "invlpg [rsp]", "0f013c24", "#13(0) at 0", ""},
      {Mode::long64_user, "wbinvd", "0f09", "#13(0) at 0", ""},
      {Mode::long64_user, "invd", "0f08", "#13(0) at 0", ""},
      {Mode::long64_user, "rdmsr", "0f32", "#13(0) at 0", ""},
      {Mode::long64_user, "wrmsr", "0f30", "#13(0) at 0", ""},
      {Mode::long64_user, "swapgs", "0f01f8", "#13(0) at 0", ""},
      {Mode::long64_user, "invpcid rax, [rsp]", "66480f38820424", "#13(0) at 0", ""},
      {Mode::long64_user, "sysexit", "0f35", "#13(0) at 0", ""},
      {Mode::long64_user, "o64 sysret", "480f07", "#13(0) at 0", ""},
      {Mode::long64_user, "rdpmc", "0f33", "#13(0) at 0", ""},
      {Mode::user32, "hlt", "f4", "#13(0) at 0", ""},
      {Mode::user32, "mov eax, cr4", "0f20e0", "#13(0) at 0", ""},
      {Mode::vm86, "hlt", "f4", "#13(0) at 0", ""},
      {Mode::vm86, "mov eax, cr0", "0f20c0", "#13(0) at 0", ""},
      {Mode::vm86, "lgdt [0]", "0f01160000", "#13(0) at 0", ""},
      // #UD
      {Mode::long64_user, "ud2", "0f0b", "#6 at 0", ""},
      {Mode::long64, "ud2", "0f0b", "#6 at 0", ""},
      {Mode::long64_user, "stac", "0f01cb", "#6 at 0", ""},
      {Mode::long64_user, "clac", "0f01ca", "#6 at 0", ""},
      {Mode::long64_user, "rdfsbase rax", "f3480faec0", "#6 at 0", ""},
      {Mode::long64, "xgetbv", "0f01d0", "#6 at 0", ""},
      {Mode::long64, "xsetbv", "0f01d1", "#6 at 0", ""},
      {Mode::long64, "db 0x0f,0x01,0xc1", "0f01c1", "#6 at 0", ""},
      {Mode::long64, "db 0x0f,0x01,0xc8", "0f01c8", "#6 at 0", ""},
      {Mode::long64, "db 0x0f,0x01,0xd8", "0f01d8", "#6 at 0", ""},
      {Mode::long64, "rsm", "0faa", "#6 at 0", ""},
      {Mode::long64, "db 0x0f,0xff,0xc0", "0fffc0", "#6 at 0", ""},
      {Mode::long64, "db 0x0f,0xb9,0xc0", "0fb9c0", "#6 at 0", ""},
      {Mode::vm86, "sldt ax", "0f00c0", "#6 at 0", ""},
      {Mode::vm86, "lar ax, bx", "0f02c3", "#6 at 0", ""},
      {Mode::vm86, "arpl ax, bx", "63d8", "#6 at 0", ""},
      {Mode::real, "str ax", "0f00c8", "#6 at 0", ""},
      {Mode::real, "verr ax", "0f00e0", "#6 at 0", ""},
      {Mode::user32, "db 0x0f,0x05", "0f05", "#6 at 0", ""},
      {Mode::long64, "mov rax, cr4; and rax, ~0x20; mov cr4, rax", "0f20e04825dfffffff0f22e0", "#13(0) at 9", ""},
      // allowed to all without UMIP
      {Mode::long64_user, "smsw eax; ud2", "0f01e00f0b", "#6 at 3", "rax=80010031"},
      {Mode::long64_user, "sldt eax; str ecx; ud2", "0f00c00f00c90f0b", "#6 at 6", "rax=0 rcx=50"},
      {Mode::long64_user, "sgdt [rsp-16]; mov rax,[rsp-14]; ud2", "0f014424f0488b4424f20f0b", "#6 at a", "rax=1000"},
  };
  check(cases);
}

TEST(Privilege, Umip) {
  static constexpr GuestCase cases[] = {
      {Mode::long64_user, "smsw eax", "0f01e0", "#13(0) at 0", ""},
      {Mode::long64_user, "sgdt [rsp-16]", "0f014424f0", "#13(0) at 0", ""},
      {Mode::long64_user, "sidt [rsp-16]", "0f014c24f0", "#13(0) at 0", ""},
      {Mode::long64_user, "sldt eax", "0f00c0", "#13(0) at 0", ""},
      {Mode::long64_user, "str eax", "0f00c8", "#13(0) at 0", ""},
      {Mode::long64, "smsw eax; str ecx; hlt", "0f01e00f00c9f4", "halt at 7", "rcx=50"},
  };
  check(cases, [](SmallGuest& guest) { guest.state().cr4 |= cr4::umip; });
}

}  // namespace
}  // namespace doppel::test
