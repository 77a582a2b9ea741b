// JMP, CALL, RETF and IRET between segments, privilege levels and modes; SYSCALL and SYSENTER.
#include "support/guest_case.h"

namespace doppel::test {
namespace {

using namespace x86;

TEST(FarTransfer, JumpsCallsReturns) {
  static constexpr GuestCase cases[] = {
      // JMP and CALL to code segments
      {Mode::protected32, "jmp 0x18:0x10020; times 32-($-$$) nop; hlt",
       "ea20000100180090909090909090909090909090909090909090909090909090f4", "halt at 21", "cs=18"},
      {Mode::protected32, "jmp 0x48:0x10020; times 32-($-$$) nop; hlt",
       "ea20000100480090909090909090909090909090909090909090909090909090f4", "halt at 21", "cs=48"},
      {Mode::user32, "jmp 0x48:0x10020; times 32-($-$$) nop; ud2",
       "ea200001004800909090909090909090909090909090909090909090909090900f0b", "#6 at 20", "frame.cs=4b"},
      {Mode::user32, "jmp 0x18:0", "ea000000001800", "#13(18) at 0", ""},
      {Mode::protected32, "jmp 0x33:0", "ea000000003300", "#13(30) at 0", ""},
      {Mode::protected32, "jmp 0:0", "ea000000000000", "#13(0) at 0", ""},
      {Mode::protected32, "jmp 0x10:0", "ea000000001000", "#13(10) at 0", ""},
      {Mode::protected32, "jmp 0xf00:0", "ea00000000000f", "#13(f00) at 0", ""},
      {Mode::protected32, "jmp 0x70:0", "ea000000007000", "#13(70) at 0", ""},
      {Mode::protected32, "jmp 0x38:0x10000", "ea000001003800", "#13(0) at 0", ""},
      {Mode::protected32, "jmp 0x38:0x20; times 32-($-$$) nop; hlt",
       "ea20000000380090909090909090909090909090909090909090909090909090f4", "halt at 21", "cs=38"},
      {Mode::protected32, "call 0x18:0x10020; times 32-($-$$) nop; pop eax; pop ebx; hlt",
       "9a20000100180090909090909090909090909090909090909090909090909090585bf4", "halt at 23",
       "rax=10007 rbx=18 rsp=28000"},
      {Mode::user32, "call 0x33:0x10020; times 32-($-$$) nop; pop eax; pop ebx; ud2",
       "9a20000100330090909090909090909090909090909090909090909090909090585b0f0b", "#6 at 22", "rax=10007 rbx=33"},
      {Mode::protected32, "mov byte [0x104d], 0x1e; jmp 0x48:0", "c6054d1000001eea000000004800", "#11(48) at 7", ""},
      {Mode::long64,
       "mov dword [0x40000], 0x10040; mov word [0x40004], 0x8; jmp dword far [0x40000]; times 64-($-$$) nop; hlt",
       "c70425000004004000010066c70425040004000800ff2c25000004009090909090909090909090909090909090909090909090909090909"
       "09090909090909090f4",
       "halt at 41", "cs=8"},
      {Mode::long64,
       "mov dword [0x40000], 0x10040; mov word [0x40004], 0x8; call dword far [0x40000]; times 64-($-$$) nop; mov "
       "eax,[rsp]; mov ebx,[rsp+4]; hlt",
       "c70425000004004000010066c70425040004000800ff1c25000004009090909090909090909090909090909090909090909090909090909"
       "090909090909090908b04248b5c2404f4",
       "halt at 48", "rax=1001c rbx=8 rsp=27ff8"},
      {Mode::long64,
       "mov dword [0x40000], 0x10040; mov word [0x40004], 0x18; jmp dword far [0x40000]; times 64-($-$$) nop; hlt",
       "c70425000004004000010066c70425040004001800ff2c25000004009090909090909090909090909090909090909090909090909090909"
       "09090909090909090f4",
       "halt at 41", "cs=18"},
      {Mode::long64, "mov dword [0x40000], 0x10040; mov word [0x40004], 0x50; jmp dword far [0x40000]",
       "c70425000004004000010066c70425040004005000ff2c2500000400", "#13(50) at 15", ""},
      {Mode::long64, "mov dword [0x40000], 0x0; mov word [0x40004], 0x0; call dword far [0x40000]",
       "c70425000004000000000066c70425040004000000ff1c2500000400", "#13(0) at 15", ""},
      {Mode::long64, "mov rax, 0x8000000000010040; mov [0x40000], rax; mov word [0x40008], 8; o64 jmp far [0x40000]",
       "48b84000010000000080488904250000040066c7042508000400080048ff2c2500000400", "#13(0) at 1c", ""},
      // call gates
      {Mode::user32, "push 0x11; push 0x22; call 0x7b:0", "681100000068220000009a000000007b00", "halt at 1001",
       "cs=18 ss=10 cpl=0 rsp=2ffe8 [2ffe8]=10011 [2ffec]=33 [2fff0]=22 [2fff4]=11 [2fff8]=1fff8 [2fffc]=2b"},
      {Mode::protected32, "call 0x7b:0", "9a000000007b00", "halt at 1001", "cs=18 rsp=27ff8 [27ff8]=10007 [27ffc]=18"},
      {Mode::protected32, "jmp 0x7b:0", "ea000000007b00", "halt at 1001", "rsp=28000"},
      {Mode::user32, "jmp 0x7b:0", "ea000000007b00", "#13(18) at 0", ""},
      {Mode::long64_user, "mov dword [0x40000], 0x0; mov word [0x40004], 0x7b; call dword far [0x40000]",
       "c70425000004000000000066c70425040004007b00ff1c2500000400", "halt at 1001",
       "cs=8 ss=0 cpl=0 rsp=2ffe0 [2fff8]=2b [2fff0]=20000 [2ffe8]=23 [2ffe0]=1001c"},
      {Mode::compat32_user, "call 0x7b:0", "9a000000007b00", "halt at 1001",
       "cs=8 ss=0 cpl=0 rsp=2ffe0 [2fff8]=2b [2fff0]=20000 [2ffe8]=33 [2ffe0]=10007"},
      {Mode::long64_user, "mov dword [0x40000], 0x0; mov word [0x40004], 0xd3; call dword far [0x40000]",
       "c70425000004000000000066c7042504000400d300ff1c2500000400", "#13(d0) at 15", ""},
      {Mode::long64_user, "mov dword [0x40000], 0x0; mov word [0x40004], 0x8b; call dword far [0x40000]",
       "c70425000004000000000066c70425040004008b00ff1c2500000400", "#13(88) at 15", ""},
      {Mode::user32, "mov ax, 0; nop; call 0x18:0", "66b80000909a000000001800", "#13(18) at 5", ""},
      // RETF
      {Mode::protected32, "push 0x18; push 0x10020; retf; times 32-($-$$) nop; hlt",
       "68180000006820000100cb909090909090909090909090909090909090909090f4", "halt at 21", "rsp=28000"},
      {Mode::protected32, "push 0x55; push 0x18; push 0x10020; retf 4; times 32-($-$$) nop; hlt",
       "685500000068180000006820000100ca04009090909090909090909090909090f4", "halt at 21", "rsp=28000"},
      {Mode::protected32,
       "push 0x2b; push 0x1fff0; push 0x55; push 0x33; push 0x10020; retf 4; times 32-($-$$) nop; ud2",
       "682b00000068f0ff0100685500000068330000006820000100ca0400909090900f0b", "#6 at 20",
       "frame.cs=33 frame.ss=2b frame.sp=1fff4 ds=0 es=0 fs=0 gs=0"},
      {Mode::protected32, "push 0x28; push 0x1fff0; push 0x33; push 0x10020; retf",
       "682800000068f0ff010068330000006820000100cb", "#13(28) at 14", ""},
      {Mode::protected32, "push 0; push 0x1fff0; push 0x33; push 0x10020; retf",
       "680000000068f0ff010068330000006820000100cb", "#13(0) at 14", ""},
      {Mode::protected32, "push 0; push 0; retf", "68000000006800000000cb", "#13(0) at a", ""},
      {Mode::user32, "push 0x18; push 0; retf", "68180000006800000000cb", "#13(18) at a", ""},
      {Mode::long64, "push 8; push 0x10020; o64 retf; times 32-($-$$) nop; hlt",
       "6808000000682000010048cb9090909090909090909090909090909090909090f4", "halt at 21", "rsp=28000"},
      {Mode::long64, "push 0x2b; push 0x1fff0; push 0x23; push 0x10040; o64 retf; times 64-($-$$) nop; ud2",
       "682b00000068f0ff01006823000000684000010048cb9090909090909090909090909090909090909090909090909090909090909090909"
       "090909090909090900f0b",
       "#6 at 40", "frame.cs=23 frame.sp=1fff0 frame.ss=2b ds=0"},
      {Mode::long64, "push 0x2b; push 0x1fff0; push 0x33; push 0x10040; o64 retf; times 64-($-$$) nop; ud2",
       "682b00000068f0ff01006833000000684000010048cb9090909090909090909090909090909090909090909090909090909090909090909"
       "090909090909090900f0b",
       "#6 at 40", "frame.cs=33 frame.sp=1fff0 frame.ss=2b"},
      {Mode::long64, "push 0; push 0x1fff0; push 0x23; push 0x10040; o64 retf",
       "680000000068f0ff01006823000000684000010048cb", "#13(0) at 14", ""},
  };
  check(cases, [](SmallGuest& guest) { guest.write(at::inner_code, 0xf4, 1); });
}

TEST(FarTransfer, Iret) {
  static constexpr GuestCase cases[] = {
      {Mode::long64,
       "push 0x10; push 0x27000; push 0x246; push 8; push 0x10040; iretq; times 64-($-$$) nop; pushfq; pop rax; hlt",
       "6810000000680070020068460200006808000000684000010048cf909090909090909090909090909090909090909090909090909090909"
       "090909090909090909c58f4",
       "halt at 43", "rax=246 rsp=27000 ss=10"},
      {Mode::long64, "push 0; push 0x27000; push 2; push 8; push 0x10040; iretq; times 64-($-$$) nop; hlt",
       "6800000000680070020068020000006808000000684000010048cf909090909090909090909090909090909090909090909090909090909"
       "09090909090909090f4",
       "halt at 41", "ss=0 rsp=27000"},
      {Mode::long64,
       "push 0x2b; push 0x1f000; push 0x3202; push 0x23; push 0x10040; iretq; times 64-($-$$) nop; cli; ud2",
       "682b0000006800f0010068023200006823000000684000010048cf909090909090909090909090909090909090909090909090909090909"
       "09090909090909090fa0f0b",
       "#6 at 41", "frame.cs=23 frame.ss=2b frame.sp=1f000 frame.flags=13002 ds=0"},
      {Mode::long64,
       "push 0x2b; push 0x1f000; push 2; push 0x33; push 0x10040; iretq; times 64-($-$$) nop; dec eax; ud2",
       "682b0000006800f0010068020000006833000000684000010048cf909090909090909090909090909090909090909090909090909090909"
       "09090909090909090ffc80f0b",
       "#6 at 42", "frame.cs=33"},
      {Mode::long64, "push 0x2b; push 0x1f000; push 2; push 0x18; push 0x10040; iretq",
       "682b0000006800f0010068020000006818000000684000010048cf", "#13(28) at 19", ""},
      {Mode::long64, "push 0; push 0x1f000; push 2; push 0x23; push 0x10040; iretq",
       "68000000006800f0010068020000006823000000684000010048cf", "#13(0) at 19", ""},
      {Mode::long64, "push 0x10; push 0x1f000; push 2; push 0; push 0x10040; iretq",
       "68100000006800f0010068020000006800000000684000010048cf", "#13(0) at 19", ""},
      {Mode::long64, "push 0x10; push 0x1f000; push 2; push 0x10; push 0x10040; iretq",
       "68100000006800f0010068020000006810000000684000010048cf", "#13(10) at 19", ""},
      {Mode::long64, "push 0x4002; popfq; iretq", "68024000009d48cf", "#13(0) at 6", ""},
      {Mode::long64, "mov rax, 0x8000000000000000; push 0x10; push 0x1f000; push 2; push 8; push rax; iretq",
       "48b8000000000000008068100000006800f00100680200000068080000005048cf", "#13(0) at 1f", ""},
      {Mode::long64_user,
       "push 0x2b; push 0x1f000; push 0x3202; push 0x23; push 0x10040; iretq; times 64-($-$$) nop; pushfq; pop rax; "
       "ud2",
       "682b0000006800f0010068023200006823000000684000010048cf909090909090909090909090909090909090909090909090909090909"
       "090909090909090909c580f0b",
       "#6 at 42", "rax=2"},
      {Mode::long64_user, "push 0x10; push 0x1f000; push 2; push 8; push 0x10040; iretq",
       "68100000006800f0010068020000006808000000684000010048cf", "#13(8) at 19", ""},
      {Mode::protected32, "push 0x246; push 0x18; push 0x10020; iretd; times 32-($-$$) nop; pushfd; pop eax; hlt",
       "684602000068180000006820000100cf909090909090909090909090909090909c58f4", "halt at 23", "rax=246 rsp=28000"},
      {Mode::protected32, "push 0x2b; push 0x1f000; push 2; push 0x33; push 0x10020; iretd; times 32-($-$$) nop; ud2",
       "682b0000006800f00100680200000068330000006820000100cf9090909090900f0b", "#6 at 20",
       "frame.cs=33 frame.ss=2b frame.sp=1f000 ds=0"},
      {Mode::protected32,
       "push 0x21; push 0x22; push 0x23; push 0x24; push 0x700; push 0x7e00; push 0x20002; push 0x1000; push 0x40; "
       "iretd; times 64-($-$$) nop; int3",
       "6821000000682200000068230000006824000000680007000068007e0000680200020068001000006840000000cf9090909090909090909"
       "09090909090909090cc",
       "#3 at ffffffffffff0041",
       "frame.cs=1000 frame.ss=700 frame.sp=7e00 frame.flags=20002 [2fff0]=24 [2fff4]=23 [2fff8]=22 [2fffc]=21"},
      {Mode::protected32, "push word 2; push word 0x38; push word 0x20; o16 iret; times 32-($-$$) nop; hlt",
       "66680200666838006668200066cf909090909090909090909090909090909090f4", "halt at 21", "cs=38"},
      {Mode::user32, "push 2; push 0x18; push 0x10020; iretd", "680200000068180000006820000100cf", "#13(18) at f", ""},
  };
  check(cases);
}

TEST(FarTransfer, Syscall) {
  static constexpr GuestCase cases[] = {
      {Mode::long64_user, "stc; syscall", "f90f05", "halt at 1001", "rcx=10003 r11=3 cs=8 ss=10 cpl=0 flags=3"},
      {Mode::long64, "mov ecx, 0x10040; mov r11d, 0x3202; o64 sysret; times 64-($-$$) nop; cli; ud2",
       "b94000010041bb02320000480f0790909090909090909090909090909090909090909090909090909090909090909090909090909090909"
       "09090909090909090fa0f0b",
       "#6 at 41", "frame.cs=23 frame.ss=1b frame.flags=13002 cpl=0"},
      {Mode::long64, "mov ecx, 0x10040; mov r11d, 0x40002; sysret; times 64-($-$$) nop; dec eax; dec eax; ud2",
       "b94000010041bb020004000f079090909090909090909090909090909090909090909090909090909090909090909090909090909090909"
       "09090909090909090ffc8ffc80f0b",
       "#6 at 44", "frame.cs=13 frame.ss=1b"},
      {Mode::long64, "mov rcx, 0x8000000000000000; o64 sysret", "48b90000000000000080480f07", "#13(0) at a", ""},
      {Mode::long64_user, "sysenter", "0f34", "halt at 1001", "cs=8 ss=10 cpl=0 rsp=27000"},
      {Mode::user32, "sysenter", "0f34", "halt at 1001", "cs=8 ss=10 cpl=0 rsp=27000"},
      {Mode::long64, "mov ecx, 0x1e000; mov edx, 0x10040; o64 sysexit; times 64-($-$$) nop; ud2",
       "b900e00100ba40000100480f359090909090909090909090909090909090909090909090909090909090909090909090909090909090909"
       "090909090909090900f0b",
       "#6 at 40", "frame.cs=2b frame.ss=33 frame.sp=1e000"},
  };
  check(cases, [](SmallGuest& guest) {
    X86State& s = guest.state();
    guest.write(at::inner_code, 0xf4, 1);
    s.star = u64{0x13} << 48 | u64{sel::code64} << 32;
    s.lstar = s.sysenter_eip = at::inner_code;
    s.fmask = rflags::if_;
    s.sysenter_cs = sel::code64;
    s.sysenter_esp = 0x2'7000;
  });
}

TEST(FarTransfer, SyscallDisabled) {
  static constexpr GuestCase cases[] = {
      {Mode::long64_user, "syscall", "0f05", "#6 at 0", ""},
      {Mode::long64, "sysret", "0f07", "#6 at 0", ""},
      {Mode::long64_user, "sysenter", "0f34", "#13(0) at 0", ""},
      {Mode::long64, "sysexit", "0f35", "#13(0) at 0", ""},
  };
  check(cases, [](SmallGuest& guest) { guest.state().efer &= ~efer::sce; });
}

}  // namespace
}  // namespace doppel::test
