// Delivery of exceptions and software interrupts: frames, gates, stacks, double faults.
#include "support/guest_case.h"

namespace doppel::test {
namespace {

using namespace x86;

TEST(Deliver, LongMode) {
  static constexpr GuestCase cases[] = {
      // interrupts and exceptions in 64-bit mode: the frame is always whole, the stack 16-byte aligned
      {Mode::long64, "int3", "cc", "#3 at 1", "rsp=27fd8 frame.sp=28000 frame.ss=10 frame.cs=8 cs=8 cpl=0"},
      {Mode::long64, "sub rsp, 8; int3", "4881ec08000000cc", "#3 at 8", "rsp=27fc8 frame.sp=27ff8"},
      {Mode::long64_user, "int3", "cc", "#3 at 1", "rsp=2ffd8 frame.sp=20000 frame.ss=2b frame.cs=23 cs=8 ss=0 cpl=0"},
      {Mode::compat32_user, "int3", "cc", "#3 at 1", "rsp=2ffd8 frame.sp=20000 frame.ss=2b frame.cs=33 cs=8 ss=0 cpl=0"},
      {Mode::long64_user, "int 0x80", "cd80", "#128 at 2", "cpl=0"},
      {Mode::long64_user, "int 0x20", "cd20", "#13(102) at 0", "cpl=0"},
      {Mode::long64_user, "int 1", "cd01", "#13(a) at 0", ""},
      {Mode::long64_user, "db 0xf1", "f1", "#1 at 1", ""},
      {Mode::compat32_user, "into; xor eax, eax; mov eax, 0x7fffffff; add eax, 1; into", "ce31c0b8ffffff7f0501000000ce",
       "#4 at e", ""},
      {Mode::long64_user, "mov eax, [0x210000]", "8b042500002100", "#14(5) at 0", "cr2=210000"},
      {Mode::long64_user, "mov [0x200008], eax", "89042508002000", "#14(7) at 0", "cr2=200008"},
      {Mode::long64, "mov [0x200008], eax", "89042508002000", "#14(3) at 0", "cr2=200008"},
      {Mode::long64, "mov eax, [0x400000]", "8b042500004000", "#14(0) at 0", "cr2=400000"},
      {Mode::long64_user, "xor eax,eax; div eax", "31c0f7f0", "#0 at 2", ""},
      {Mode::long64, "mov rax, 0x8000000000000000; mov rax, [rax]", "48b80000000000000080488b00", "#13(0) at a", ""},
      {Mode::long64, "mov rsp, 0x8000000000000000; pop rax", "48bc000000000000008058", "#8(0) at a", "rsp=37fd0"},
      // flags: IF by gate type, TF, NT and RF go, RF is set in the image of a fault
      {Mode::long64, "xor eax, eax; sti; nop; int 0x80", "31c0fb90cd80", "#128 at 6", "flags=46 frame.flags=246"},
      {Mode::long64, "xor eax, eax; sti; nop; int 0x81", "31c0fb90cd81", "#129 at 6", "flags=246 frame.flags=246"},
      {Mode::long64, "xor eax, eax; push 0x4046; popfq; int 0x81", "31c068464000009dcd81", "#129 at a",
       "flags=46 frame.flags=4046"},
      {Mode::long64, "xor eax, eax; ud2", "31c00f0b", "#6 at 2", "flags=46 frame.flags=10046"},
      {Mode::long64, "xor eax, eax; int3", "31c0cc", "#3 at 3", "flags=46 frame.flags=46"},
      // gates
      {Mode::long64, "mov byte [0x2805], 0x0e; int 0x80", "c60425052800000ecd80", "#11(402) at 8", ""},
      {Mode::long64, "mov byte [0x2805], 0x8c; int 0x80", "c60425052800008ccd80", "#13(402) at 8", ""},
      {Mode::long64, "mov byte [0x2805], 0x85; int 0x80", "c604250528000085cd80", "#13(402) at 8", ""},
      {Mode::long64, "mov word [0x2802], 0; int 0x80", "66c70425022800000000cd80", "#13(0) at a", ""},
      {Mode::long64, "mov word [0x2802], 0x18; int 0x80", "66c70425022800001800cd80", "#13(18) at a", ""},
      {Mode::long64, "mov word [0x2802], 0x10; int 0x80", "66c70425022800001000cd80", "#13(10) at a", ""},
      {Mode::long64, "mov word [0x2802], 0x20; int 0x80", "66c70425022800002000cd80", "#13(20) at a", ""},
      {Mode::long64, "mov word [0x2802], 0xf00; int 0x80", "66c7042502280000000fcd80", "#13(f00) at a", ""},
      {Mode::long64, "mov byte [0x280b], 0x80; int 0x80", "c604250b28000080cd80", "#13(0) at 8", ""},
      {Mode::long64_user, "mov word [0x2802], 0xc8; int 0x80", "66c7042502280000c800cd80", "#13(0) at ffffffffffff8800",
       "frame.cs=cb cpl=0"},
      {Mode::long64, "mov byte [0x2804], 1; int 0x80", "c604250428000001cd80", "#128 at a", "rsp=37fd8 frame.sp=28000"},
      // an error in the delivery of another event says EXT; two make a double fault, on its own stack
      {Mode::long64, "mov byte [0x2065], 0x0e; ud2", "c60425652000000e0f0b", "#11(33) at 8", ""},
      {Mode::long64, "mov byte [0x20d5], 0x0e; mov rax, 0x8000000000000000; mov rax, [rax]",
       "c60425d52000000e48b80000000000000080488b00", "#8(0) at 12", "rsp=37fd0"},
      {Mode::long64, "mov byte [0x20e5], 0x0e; mov eax, [0x400000]", "c60425e52000000e8b042500004000", "#8(0) at 8",
       "cr2=400000"},
      {Mode::long64, "mov byte [0x2065], 0x0e; mov byte [0x20b5], 0x0e; ud2", "c60425652000000ec60425b52000000e0f0b",
       "#8(0) at 10", ""},
      {Mode::long64, "mov byte [0x20e5], 0x0e; mov byte [0x2085], 0x0e; mov eax, [0x400000]",
       "c60425e52000000ec60425852000000e8b042500004000", "triple fault", ""},
      {Mode::long64, "mov rsp, 0x410000; ud2", "48bc00004100000000000f0b", "#8(0) at a", "rsp=37fd0"},
      {Mode::long64_user, "mov rax, 0x8000000000000000; mov [0x3004], rax; int3",
       "48b800000000000000804889042504300000cc", "#8(0) at 12", "rsp=37fd0"},
  };
  check(cases);
}

TEST(Deliver, ProtectedMode) {
  static constexpr GuestCase cases[] = {
      {Mode::protected32, "int3", "cc", "#3 at 1", "rsp=27ff4 frame.cs=18 cs=18"},
      {Mode::user32, "int3", "cc", "#3 at 1", "rsp=2ffec frame.cs=33 frame.sp=20000 frame.ss=2b cs=18 ss=10 cpl=0"},
      {Mode::user32, "int 0x20", "cd20", "#13(102) at 0", "rsp=2ffe8"},
      {Mode::vm86, "int3", "cc", "#3 at 1",
       "rsp=2ffdc frame.cs=1000 frame.sp=7f00 cs=18 ss=10 ds=0 es=0 fs=0 gs=0 cpl=0"},
      {Mode::vm86, "int 0x80", "cd80", "#13(0) at 0", ""},
      {Mode::protected16, "int3", "cc", "#3 at 1", "cs=18"},
      {Mode::protected32, "mov word [0x2402], 0x48; int 0x80", "66c705022400004800cd80", "#128 at b", "cs=48"},
      {Mode::protected32, "mov word [0x2402], 0; int 0x80", "66c705022400000000cd80", "#13(0) at 9", ""},
      {Mode::protected32, "mov word [0x2402], 0xb8; int 0x80", "66c70502240000b800cd80", "#13(b8) at 9", ""},
      {Mode::protected32, "mov word [0x3008], 0; int3", "66c705083000000000cc", "#3 at a", ""},
      {Mode::protected32, "mov byte [0x2405], 0; int 0x80", "c6050524000000cd80", "#13(402) at 7", ""},
      {Mode::protected32, "mov byte [0x2405], 0x6e; int 0x80", "c605052400006ecd80", "#11(402) at 7", ""},
      {Mode::protected32, "mov word [0x2404], 0x8f00; mov esp, 0x28002; int 0x80", "66c70504240000008fbc02800200cd80",
       "#128 at 10", "rsp=27ff6"},
  };
  check(cases);
}

TEST(Deliver, RealMode) {
  static constexpr GuestCase cases[] = {
      {Mode::real, "int 0x10", "cd10", "#16 at 2", "rsp=7efa cs=0"},
      {Mode::real, "sti; nop; int3", "fb90cc", "#3 at 3", "flags=2"},
      {Mode::real, "mov ax, 1; xor dx, dx; xor cx, cx; div cx", "b8010031d231c9f7f1", "#0 at 7", ""},
      {Mode::real, "ud2", "0f0b", "#6 at 0", ""},
      {Mode::real, "into; mov al, 0x7f; inc al; into", "ceb07ffec0ce", "#4 at 6", ""},
      {Mode::real, "mov word [0x7000], 1; mov word [0x7002], 5; mov ax, 6; bound ax, [0x7000]",
       "c70600700100c70602700500b8060062060070", "#5 at f", ""},
      {Mode::real, "mov word [0x7000], 1; mov word [0x7002], 5; mov ax, 5; bound ax, [0x7000]; hlt",
       "c70600700100c70602700500b8050062060070f4", "halt at 14", ""},
      {Mode::real, "mov word [0x7000], 0x7f; mov dword [0x7002], 0; lidt [0x7000]; int 0x20",
       "c70600707f0066c7060270000000000f011e0070cd20", "#13 at 14", ""},
      {Mode::real, "mov word [0x7000], 3; mov dword [0x7002], 0; lidt [0x7000]; int 0x20",
       "c7060070030066c7060270000000000f011e0070cd20", "triple fault", ""},
      {Mode::real, "push word 0; push word 0x1000; push word 0x20; iret; times 32-($-$$) nop; hlt",
       "680000680010682000cf90909090909090909090909090909090909090909090f4", "halt at 21", "rsp=7f00 flags=2"},
      {Mode::real, "push word 0x1000; push word 0x20; retf; times 32-($-$$) nop; hlt",
       "680010682000cb90909090909090909090909090909090909090909090909090f4", "halt at 21", "cs=1000"},
      {Mode::real, "call 0x1000:0x20; times 32-($-$$) nop; pop ax; pop bx; hlt",
       "9a20000010909090909090909090909090909090909090909090909090909090585bf4", "halt at 23", "rax=5 rbx=1000"},
      {Mode::real, "jmp 0x1001:0x10; times 32-($-$$) nop; hlt",
       "ea10000110909090909090909090909090909090909090909090909090909090f4", "halt at 21", "cs=1001"},
      {Mode::real, "mov word [0x7000], 0x20; mov word [0x7002], 0x1000; jmp far [0x7000]; times 32-($-$$) nop; hlt",
       "c70600702000c70602700010ff2e007090909090909090909090909090909090f4", "halt at 21", ""},
      {Mode::real, "push dword 0x1000; push dword 0x10000; o32 retf", "66680010000066680000010066cb", "#13 at c", ""},
  };
  check(cases);
}

}  // namespace
}  // namespace doppel::test
