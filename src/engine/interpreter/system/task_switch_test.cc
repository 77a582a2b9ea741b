// Task switches by JMP, CALL, IRET, task gates and interrupts.
#include "support/guest_case.h"

namespace doppel::test {
namespace {

using namespace x86;

TEST(TaskSwitch, All) {
  static constexpr GuestCase cases[] = {
      {Mode::protected32, "jmp 0x90:0", "ea000000009000", "halt at 2001",
       "tr=90 cs=18 rsp=27000 flags=2 [1054]=8900 [1094]=eb00 [3020]=10007 [3038]=28000"},
      {Mode::protected32, "call 0x90:0", "9a000000009000", "halt at 2001",
       "tr=90 flags=4002 [3100]=50 [1054]=8b00 [1094]=eb00"},
      {Mode::protected32, "call 0x8b:0", "9a000000008b00", "halt at 2001", "tr=90 flags=4002"},
      {Mode::user32, "call 0x90:0", "9a000000009000", "halt at 2001", "tr=90 cpl=0 [3020]=10007 [304c]=33"},
      {Mode::protected32, "jmp 0x50:0", "ea000000005000", "#13(50) at 0", ""},
      {Mode::protected32, "jmp 0xb3:0", "ea00000000b300", "halt at 2001", "tr=b3 rsp=6000 rax=1234 rbx=5678"},
      {Mode::protected32, "mov byte [0x1095], 0x69; jmp 0x90:0", "c6059510000069ea000000009000", "#11(90) at 7", ""},
      {Mode::protected32, "mov byte [0x1090], 0x66; jmp 0x90:0", "c6059010000066ea000000009000", "#10(90) at 7", ""},
      {Mode::protected32, "mov byte [0x1095], 0x89; mov esp, 0x27800; jmp 0x93:0",
       "c6059510000089bc00780200ea000000009300", "#13(90) at c", ""},
      // faults of the new task's segments happen in it
      {Mode::protected32, "mov dword [0x3154], 0xf00; jmp 0x90:0", "c70554310000000f0000ea000000009000",
       "#10(f00) at 2000", "tr=90"},
      {Mode::protected32, "mov dword [0x3154], 0x70; jmp 0x90:0", "c7055431000070000000ea000000009000",
       "#11(70) at 2000", "tr=90"},
      {Mode::protected32, "mov dword [0x3160], 0x50; jmp 0x90:0", "c7056031000050000000ea000000009000", "triple fault",
       "tr=90"},
      {Mode::protected32, "mov dword [0x3120], 0x12001; mov dword [0x314c], 0x38; jmp 0x90:0",
       "c7052031000001200100c7054c31000038000000ea000000009000", "#13(0) at 2001", "tr=90"},
      // the T flag traps
      {Mode::protected32, "mov word [0x3164], 1; jmp 0x90:0", "66c705643100000100ea000000009000", "#1 at 2000",
       "dr6=ffff8ff0 tr=90"},
      // IRET returns to the task that called
      {Mode::protected32, "mov byte [0x12000], 0xcf; call 0x90:0; mov eax, 5; hlt",
       "c60500200100cf9a000000009000b805000000f4", "halt at 14",
       "tr=50 rax=5 rsp=28000 [1054]=8b00 [1094]=e900 [3124]=2"},
      {Mode::protected32, "pushfd; or dword [esp], 0x4000; popfd; mov word [0x3000], 0x90; iretd",
       "9c810c24004000009d66c705003000009000cf", "#10(90) at 12", ""},
      // task gates in the IDT; the error code goes to the new stack
      {Mode::protected32, "mov dword [0x2400], 0x900000; mov dword [0x2404], 0xe500; int 0x80",
       "c7050024000000009000c7050424000000e50000cd80", "halt at 2001", "tr=90 flags=4002 [3020]=10016"},
      {Mode::protected32, "mov dword [0x2068], 0x900000; mov dword [0x206c], 0x8500; mov ax, 0xf00; mov ds, ax",
       "c7056820000000009000c7056c2000000085000066b8000f668ed8", "halt at 2001",
       "tr=90 rsp=26ffc [26ffc]=f00 [3020]=10018 [3024]=10002"},
  };
  check(cases, [](SmallGuest& guest) {
    guest.write(at::task_code, 0xf4, 1);
    const auto put = [&](u64 base, u32 offset, u32 value) { guest.write(base + offset, value, 4); };
    put(at::tss2, tss32::eip, at::task_code);
    put(at::tss2, tss32::eflags, 2);
    put(at::tss2, tss32::registers + rsp * 4, 0x2'7000);
    for (u32 i = 0; i < 6; ++i) put(at::tss2, tss32::segments + i * 4, i == cs ? sel::code32 : sel::data);
    const auto put16 = [&](u32 offset, u16 value) { guest.write(at::tss3 + offset, value, 2); };
    guest.write(at::gdt + (sel::code16 & ~7) + 2, at::task_code, 2);  // the 16-bit task's code segment begins there
    put16(tss16::flags, 2);
    put16(tss16::registers + rax * 2, 0x1234);
    put16(tss16::registers + rbx * 2, 0x5678);
    put16(tss16::registers + rsp * 2, 0x6000);
    for (u32 i = 0; i < 4; ++i) put16(tss16::segments + i * 2, i == cs ? sel::code16 : sel::data);
  });
}

}  // namespace
}  // namespace doppel::test
