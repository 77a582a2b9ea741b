// CR0, CR3, CR4, EFER: consistency checks, mode switches, TLB maintenance.
#include "support/guest_case.h"

namespace doppel::test {
namespace {

using namespace x86;

TEST(ControlRegisters, Writes) {
  static constexpr GuestCase cases[] = {
      {Mode::long64, "mov rax, 0x180010033; mov cr0, rax", "48b833000180010000000f22c0", "#13(0) at a", ""},
      {Mode::long64, "mov rax, 0x80000000; mov cr0, rax", "48b800000080000000000f22c0", "#13(0) at a", ""},
      {Mode::long64, "mov rax, 0xa0000011; mov cr0, rax", "48b8110000a0000000000f22c0", "#13(0) at a", ""},
      {Mode::long64, "mov rax, 0x11; mov cr0, rax", "48b811000000000000000f22c0", "#13(0) at a", ""},
      {Mode::long64, "mov rax, 0xe0050039; mov cr0, rax; mov rbx, cr0; hlt", "48b8390005e0000000000f22c00f20c3f4",
       "halt at 11", "rbx=e0050039"},
      {Mode::long64, "mov rax, 0x10000004000; mov cr3, rax", "48b800400000000100000f22d8", "#13(0) at a", ""},
      {Mode::long64, "mov rax, 0x8000000000004000; mov cr3, rax", "48b800400000000000800f22d8", "#13(0) at a", ""},
      {Mode::long64, "mov rax, 0x12a0; mov cr4, rax", "48b8a0120000000000000f22e0", "#13(0) at a", ""},
      {Mode::long64, "mov rax, 0x22a0; mov cr4, rax", "48b8a0220000000000000f22e0", "#13(0) at a", ""},
      {Mode::long64, "mov rax, 0x400000000; mov cr4, rax", "48b800000000040000000f22e0", "#13(0) at a", ""},
      {Mode::long64, "mov rax, 0x280; mov cr4, rax", "48b880020000000000000f22e0", "#13(0) at a", ""},
      {Mode::long64,
       "mov rax, 0x202a0; mov cr4, rax; mov rax, 0x8000000000004001; mov cr3, rax; mov rbx, cr3; mov rax, 0x80000011; "
       "hlt",
       "48b8a0020200000000000f22e048b801400000000000800f22d80f20db48b81100008000000000f4", "halt at 28",
       "rbx=4001 cr3=4001"},
      {Mode::long64, "mov rax, 0x4008; mov cr3, rax; mov rax, 0x202a0; mov cr4, rax",
       "48b808400000000000000f22d848b8a0020200000000000f22e0", "#13(0) at 17", ""},
      {Mode::long64, "mov rax, 0x202a0; mov cr4, rax; mov rax, 0x11; mov cr0, rax",
       "48b8a0020200000000000f22e048b811000000000000000f22c0", "#13(0) at 17", ""},
      {Mode::protected32, "mov eax, 0x20000; mov cr4, eax", "b8000002000f22e0", "#13(0) at 5", ""},
      {Mode::long64, "mov ecx, 0xc0000080; xor edx,edx; mov eax, 0xc01; wrmsr", "b9800000c031d2b8010c00000f30",
       "#13(0) at c", ""},
      {Mode::long64, "mov ecx, 0xc0000080; xor edx,edx; mov eax, 0x1d01; wrmsr", "b9800000c031d2b8011d00000f30",
       "#13(0) at c", ""},
      {Mode::long64, "mov ecx, 0xc0000080; xor edx,edx; mov eax, 0x101; wrmsr; rdmsr; hlt",
       "b9800000c031d2b8010100000f300f32f4", "halt at 11", "rax=501"},
      {Mode::long64, "mov eax, 16; mov cr8, rax", "b810000000440f22c0", "#13(0) at 5", ""},
      {Mode::long64, "mov eax, 5; mov cr8, rax; mov rbx, cr8; hlt", "b805000000440f22c0440f20c3f4", "halt at e",
       "rbx=5"},
      {Mode::long64, "mov eax, 0x1234; mov cr2, rax; hlt", "b8341200000f22d0f4", "halt at 9", "cr2=1234"},
      {Mode::long64, "mov ax, 0xc; lmsw ax; smsw eax; clts; smsw ebx; hlt", "66b80c000f01f00f01e00f060f01e3f4",
       "halt at 10", "rax=8001003d rbx=80010035"},
      {Mode::real, "mov eax, cr0; or al, 1; mov cr0, eax; and al, 0xfe; mov cr0, eax; hlt",
       "0f20c00c010f22c024fe0f22c0f4", "halt at e", "cr0=30"},
      // from protected mode to 64-bit mode and back
      {Mode::protected32,
       "mov eax, 0x20; mov cr4, eax; mov eax, 0x4000; mov cr3, eax; mov ecx, 0xc0000080; xor edx,edx; mov eax, 0x100; "
       "wrmsr; mov eax, 0x80000011; mov cr0, eax; jmp 8:0x10040; times 64-($-$$) nop; db 0x48, 0x31, 0xc0, 0x48, 0xff, "
       "0xc8, 0xf4",
       "b8200000000f22e0b8004000000f22d8b9800000c031d2b8000100000f30b8110000800f22c0ea400001000800909090909090909090909"
       "090909090909090904831c048ffc8f4",
       "halt at 47", "rax=ffffffffffffffff efer=500"},
      {Mode::protected32,
       "mov eax, 0x4000; mov cr3, eax; mov ecx, 0xc0000080; xor edx,edx; mov eax, 0x100; wrmsr; mov eax, 0x80000011; "
       "mov cr0, eax",
       "b8004000000f22d8b9800000c031d2b8000100000f30b8110000800f22c0", "#13(0) at 1b", "efer=100"},
      // TLB maintenance
      {Mode::long64,
       "mov eax, [0x50000]; mov dword [0x3f0280], 0x51007; mov ebx, [0x50000]; invlpg [0x50000]; mov ecx, [0x50000]; "
       "hlt",
       "8b042500000500c7042580023f00071005008b1c25000005000f013c25000005008b0c2500000500f4", "halt at 29", "rcx=51"},
      {Mode::long64,
       "mov eax, [0x50000]; mov dword [0x3f0280], 0x51007; mov rbx, cr3; mov cr3, rbx; mov ecx, [0x50000]; hlt",
       "8b042500000500c7042580023f00071005000f20db0f22db8b0c2500000500f4", "halt at 20", "rcx=51"},
      {Mode::long64,
       "mov eax, [0x50000]; mov dword [0x3f0280], 0x51007; mov dword [0x40000], 0; xor eax,eax; mov [0x40004], eax; "
       "mov dword [0x40008], 0x50000; mov [0x4000c], eax; invpcid rax, [0x40000]; mov ecx, [0x50000]; hlt",
       "8b042500000500c7042580023f0007100500c70425000004000000000031c089042504000400c7042508000400000005008904250c00040"
       "066480f38820425000004008b0c2500000500f4",
       "halt at 4b", "rcx=51"},
      {Mode::long64,
       "mov eax, [0x50000]; mov dword [0x3f0280], 0x51007; mov eax, 2; invpcid rax, [0x40000]; mov ecx, [0x50000]; hlt",
       "8b042500000500c7042580023f0007100500b80200000066480f38820425000004008b0c2500000500f4", "halt at 2a", "rcx=51"},
      {Mode::long64, "mov eax, 4; invpcid rax, [0x40000]", "b80400000066480f3882042500000400", "#13(0) at 5", ""},
      {Mode::long64, "mov dword [0x40000], 1; xor eax,eax; inc eax; invpcid rax, [0x40000]",
       "c70425000004000100000031c0ffc066480f3882042500000400", "#13(0) at f", ""},
  };
  check(cases, [](SmallGuest& guest) { guest.write(0x5'0000, 0x50, 4), guest.write(0x5'1000, 0x51, 4); });
}

// Address-space numbers are reused after some thousands of CR3 writes; what was decoded under the old ones must not be.
TEST(ControlRegisters, CodeIsForgottenHoweverManyAddressSpacesCome) {
  constexpr u64 function = 0x5'0000, other = 0x5'1000;
  for (u32 writes = 4080; writes < 4110; ++writes) {
    SmallGuest guest(Mode::long64);
    guest.code("b801000000c3", function);  // mov eax, 1; ret
    guest.code("b802000000c3", other);     // mov eax, 2; ret
    // mov edi, function; call rdi; mov byte [0x3f0281], 0x10 (its page is the other frame now); mov rax, cr3; mov ecx, writes
    guest.code("bf00000500 ffd7 c604258102 3f0010 0f20d8 b900000000");
    guest.write(at::code + 19, writes, 4);
    // again: mov cr3, rax; dec ecx; jnz again; call rdi; hlt
    guest.code("0f22d8 ffc9 75f9 ffd7 f4", at::code + 23);
    EXPECT_EQ(guest.run(100'000), "halt at 21");
    EXPECT_EQ(guest.values("rax [3f0280]"), "rax=2 [3f0280]=51027") << writes << " writes";
  }
}

}  // namespace
}  // namespace doppel::test
