// Loading and inspecting segments, in every mode.
#include "support/guest_case.h"

namespace doppel::test {
namespace {

using namespace x86;

TEST(Segments, Loads) {
  static constexpr GuestCase cases[] = {
      {Mode::long64, "mov ax, 0x10; mov ds, ax; mov es, ax; mov ss, ax; hlt", "66b81000668ed8668ec0668ed0f4",
       "halt at e", "ds=10 es=10 ss=10"},
      {Mode::long64, "xor eax, eax; mov ss, ax; hlt", "31c0668ed0f4", "halt at 6", "ss=0 cpl=0"},
      {Mode::long64, "mov eax, 3; mov ss, ax", "b803000000668ed0", "#13(0) at 5", ""},
      {Mode::long64_user, "xor eax, eax; mov ss, ax", "31c0668ed0", "#13(0) at 2", ""},
      {Mode::long64_user, "xor eax, eax; mov ds, ax; mov fs, ax; ud2", "31c0668ed8668ee00f0b", "#6 at 8",
       "ds=0 fs=0 gs=2b"},
      {Mode::long64_user, "mov ax, 0x10; mov ds, ax", "66b81000668ed8", "#13(10) at 4", ""},
      {Mode::long64_user, "mov ax, 0x70; mov ds, ax", "66b87000668ed8", "#13(70) at 4", ""},
      {Mode::long64, "mov ax, 0x70; mov ds, ax", "66b87000668ed8", "#11(70) at 4", ""},
      {Mode::long64, "mov ax, 0x70; mov ss, ax", "66b87000668ed0", "#12(70) at 4", ""},
      {Mode::long64, "mov ax, 0xf00; mov ds, ax", "66b8000f668ed8", "#13(f00) at 4", ""},
      {Mode::long64, "mov ax, 0x17; mov ds, ax", "66b81700668ed8", "#13(14) at 4", ""},
      {Mode::long64, "mov ax, 0xa0; mov ds, ax", "66b8a000668ed8", "#13(a0) at 4", ""},
      {Mode::long64, "mov ax, 0xa8; mov ss, ax", "66b8a800668ed0", "#13(a8) at 4", ""},
      {Mode::long64, "mov ax, 0xa8; mov ds, ax; hlt", "66b8a800668ed8f4", "halt at 8", "ds=a8"},
      {Mode::long64, "mov ax, 0x50; mov ds, ax", "66b85000668ed8", "#13(50) at 4", ""},
      {Mode::long64, "db 0x8e, 0xc8", "8ec8", "#6 at 0", ""},
      {Mode::protected32, "mov ax, 0xa8; mov ds, ax; mov [0x40000], eax", "66b8a800668ed8a300000400", "#13(0) at 7", ""},
      {Mode::protected32, "xor eax, eax; mov ds, ax; mov eax, [0x40000]", "31c0668ed8a100000400", "#13(0) at 5", ""},
      {Mode::protected32, "mov ax, 0xd8; mov ds, ax; mov eax, [0xffc]", "66b8d800668ed8a1fc0f0000", "#13(0) at 7", ""},
      {Mode::protected32, "mov ax, 0xd8; mov ds, ax; mov eax, [0x1000]; hlt", "66b8d800668ed8a100100000f4", "halt at d",
       ""},
      {Mode::protected32, "mov ax, 0x40; mov ss, ax; mov sp, 0x100; mov esp, 0x12340100; push eax; hlt",
       "66b84000668ed066bc0001bc0001341250f4", "halt at 12", "rsp=123400fc"},
      {Mode::protected32, "mov ax, 0x40; mov ds, ax; mov eax, [0xffff]", "66b84000668ed8a1ffff0000", "#13(0) at 7", ""},
      {Mode::protected32, "xor eax,eax; mov ss, ax", "31c0668ed0", "#13(0) at 2", ""},
      {Mode::user32, "mov ax, 0xc1; mov ds, ax", "66b8c100668ed8", "#13(c0) at 4", ""},
      {Mode::protected32, "push fs; pop ss; hlt", "0fa017f4", "halt at 4", "ss=10 rsp=28000"},
      {Mode::protected32, "mov dword [esp-8], 0x11111111; sub esp, 4; push ds; mov eax,[esp]; hlt",
       "c74424f81111111181ec040000001e8b0424f4", "halt at 13", "rax=10"},
      {Mode::protected32,
       "mov dword [0x40000], 0x12345678; mov word [0x40004], 0x10; les eax, [0x40000]; lss ebx, [0x40000]; hlt",
       "c705000004007856341266c705040004001000c405000004000fb21d00000400f4", "halt at 21",
       "rax=12345678 es=10 rbx=12345678 ss=10"},
      {Mode::long64, "mov dword [0x40000], 0x12345678; mov word [0x40004], 0x10; lgs eax, [0x40000]; hlt",
       "c70425000004007856341266c704250400040010000fb5042500000400f4", "halt at 1e", "rax=12345678 gs=10"},
      {Mode::real, "mov ax, 0x1234; mov ds, ax; mov es, ax; hlt", "b834128ed88ec0f4", "halt at 8", "ds=1234 es=1234"},
      {Mode::vm86, "mov ax, 0x1234; mov ds, ax; push ds; pop es; int3", "b834128ed81e07cc", "#3 at 8", "frame.cs=1000"},
      // the accessed bit
      {Mode::long64, "mov byte [0x1045], 0x92; mov ax, 0x40; mov ds, ax; mov al, [0x1045]; hlt",
       "c60425451000009266b84000668ed88a042545100000f4", "halt at 17", "rax=93"},
      // FS and GS bases
      {Mode::long64,
       "mov rax, cr4; or rax, 0x10000; mov cr4, rax; mov rax, 0x123456789000; wrfsbase rax; wrgsbase eax; rdfsbase "
       "rbx; rdgsbase rcx; swapgs; hlt",
       "0f20e0480d000001000f22e048b80090785634120000f3480faed0f30faed8f3480faec3f3480faec90f01f8f4", "halt at 2d",
       "rbx=123456789000 rcx=56789000 gs.base=0 fs.base=123456789000"},
      {Mode::long64, "mov rax, cr4; or rax, 0x10000; mov cr4, rax; mov rax, 0x8000000000000000; wrfsbase rax",
       "0f20e0480d000001000f22e048b80000000000000080f3480faed0", "#13(0) at 16", ""},
      {Mode::long64, "mov ecx, 0xc0000100; mov edx, 0x1000; xor eax,eax; wrmsr; mov eax, 0x2b; mov fs, ax; hlt",
       "b9000100c0ba0010000031c00f30b82b000000668ee0f4", "halt at 17", "fs.base=0 fs=2b"},
      // LAR, LSL, VERR, VERW, ARPL
      {Mode::long64_user, "mov ecx, 0x33; lar eax, ecx; setz bl; lsl edx, ecx; ud2", "b9330000000f02c10f94c30f03d10f0b",
       "#6 at e", "rax=cffb00 rdx=ffffffff"},
      {Mode::long64_user, "mov ecx, 0x10; lar eax, ecx; setz bl; ud2", "b9100000000f02c10f94c30f0b", "#6 at b",
       "rax=0 rbx=0"},
      {Mode::long64, "mov ecx, 0x50; lar eax, ecx; lsl ebx, ecx; hlt", "b9500000000f02c10f03d9f4", "halt at c",
       "rax=8b00 rbx=ff"},
      {Mode::long64, "mov ecx, 0xb0; lar eax, ecx; setz bl; hlt", "b9b00000000f02c10f94c3f4", "halt at c",
       "rax=0 rbx=0"},
      {Mode::protected32, "mov ecx, 0xb0; lar eax, ecx; setz bl; hlt", "b9b00000000f02c10f94c3f4", "halt at c",
       "rax=e100 rbx=1"},
      {Mode::long64_user, "mov ax, 0x2b; verw ax; setz bl; mov ax, 0x23; verr ax; setz cl; verw ax; setz dl; ud2",
       "66b82b000f00e80f94c366b823000f00e00f94c10f00e80f94c20f0b", "#6 at 1a", "rbx=1 rcx=1 rdx=0"},
      {Mode::long64_user,
       "mov ax, 0xa0; verr ax; setz bl; mov ax, 0x48; verr ax; setz cl; xor eax,eax; verr ax; setz dl; ud2",
       "66b8a0000f00e00f94c366b848000f00e00f94c131c00f00e00f94c20f0b", "#6 at 1c", "rbx=0 rcx=1 rdx=0"},
      {Mode::user32, "mov eax, 0x10; mov ecx, 3; arpl ax, cx; setz bl; mov ecx, 0; arpl ax, cx; setz dl; ud2",
       "b810000000b90300000063c80f94c3b90000000063c80f94c20f0b", "#6 at 19", "rax=13 rbx=1 rdx=0"},
      // LLDT and LTR
      {Mode::long64, "mov ax, 0x60; lldt ax; sldt ecx; hlt", "66b860000f00d00f00c1f4", "halt at b", "ldtr=60 rcx=60"},
      {Mode::long64, "xor eax, eax; lldt ax; hlt", "31c00f00d0f4", "halt at 6", "ldtr=0"},
      {Mode::long64, "mov ax, 0x50; lldt ax", "66b850000f00d0", "#13(50) at 4", ""},
      {Mode::long64, "mov ax, 0x64; lldt ax", "66b864000f00d0", "#13(64) at 4", ""},
      {Mode::long64, "mov ax, 0x50; ltr ax", "66b850000f00d8", "#13(50) at 4", ""},
      {Mode::long64, "mov ax, 0x90; ltr ax; str ecx; mov al,[0x1095]; hlt", "66b890000f00d80f00c98a042595100000f4",
       "halt at 12", "tr=90 rcx=90 rax=eb"},
      {Mode::long64, "xor eax, eax; ltr ax", "31c00f00d8", "#13(0) at 2", ""},
      {Mode::long64, "mov ax, 0xb0; ltr ax", "66b8b0000f00d8", "#13(b0) at 4", ""},
      {Mode::protected32, "mov ax, 0xb0; ltr ax; hlt", "66b8b0000f00d8f4", "halt at 8", "tr=b0"},
      // LGDT and LIDT
      {Mode::long64, "mov word [0x40000], 0x7f; mov rax, 0x8000000000000000; mov [0x40002], rax; lgdt [0x40000]",
       "66c70425000004007f0048b8000000000000008048890425020004000f01142500000400", "#13(0) at 1c", ""},
      {Mode::protected16,
       "mov dword [0x7000], 0x3450007f; mov word [0x7004], 0xff12; lgdt [0x7000]; sgdt [0x7010]; mov eax, [0x7012]; "
       "hlt",
       "66c70600707f005034c706047012ff0f011600700f0106107066a11270f4", "halt at 1e", "rax=123450"},
  };
  check(cases);
}

}  // namespace
}  // namespace doppel::test
