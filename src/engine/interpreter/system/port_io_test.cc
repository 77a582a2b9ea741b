// Port I/O and the permission bitmap.
#include "support/guest_case.h"

namespace doppel::test {
namespace {

using namespace x86;

TEST(PortIo, Instructions) {
  static constexpr GuestCase cases[] = {
      {Mode::long64, "mov al, 5; out 0x80, al; mov dx, 0x81; mov al, 6; out dx, al; in al, 0x83; hlt",
       "b005e68066ba8100b006eee483f4", "halt at e", "rax=43"},
      {Mode::long64_user, "xor eax,eax; in al, 0x83; ud2", "31c0e4830f0b", "#6 at 4", "rax=43"},
      {Mode::long64_user, "in al, 0x88", "e488", "#13(0) at 0", ""},
      {Mode::long64_user, "in ax, 0x87", "66e587", "#13(0) at 0", ""},
      {Mode::long64_user, "mov dx, 0x8b; out dx, eax", "66ba8b00ef", "#13(0) at 4", ""},
      {Mode::long64_user, "mov dx, 0x4000; in al, dx", "66ba0040ec", "#13(0) at 4", ""},
      {Mode::user32, "in al, 0x87; ud2", "e4870f0b", "#6 at 2", ""},
      {Mode::vm86, "in al, 0x88", "e488", "#13(0) at 0", ""},
      {Mode::vm86, "in al, 0x80; int3", "e480cc", "#3 at 3", ""},
      {Mode::long64, "mov edi, 0x40000; mov ecx, 3; mov dx, 0x81; cld; rep insb; hlt",
       "bf00000400b90300000066ba8100fcf36cf4", "halt at 12", "rcx=0 rdi=40003 [40000]=414141"},
      {Mode::long64, "mov dword [0x40000], 0x04030201; mov esi, 0x40003; mov ecx, 4; mov dx, 0x80; std; rep outsb; hlt",
       "c704250000040001020304be03000400b90400000066ba8000fdf36ef4", "halt at 1d", "rcx=0 rsi=3ffff"},
      {Mode::long64, "mov edi, 0x1fffff; mov ecx, 5; mov dx, 0x80; rep insb", "bfffff1f00b90500000066ba8000f36c",
       "#14(3) at e", "rcx=4 rdi=200000 cr2=200000"},
      {Mode::long64, "mov edi, 0x200000; mov dx, 0x80; insb", "bf0000200066ba80006c", "#14(3) at 9", "rdi=200000"},
      {Mode::real, "mov di, 0xffff; mov cx, 2; mov dx, 0x80; rep insb; hlt", "bfffffb90200ba8000f36cf4", "halt at c",
       "rdi=1 rcx=0"},
      {Mode::long64, "mov edi, 0x40000; mov dx, 0x80; insd; hlt", "bf0000040066ba80006df4", "halt at b", "rdi=40004"},
      {Mode::long64_user, "mov edi, 0x40000; mov dx, 0x88; mov ecx, 1; rep insb", "bf0000040066ba8800b901000000f36c",
       "#13(0) at e", "rcx=1"},
  };
  check(cases);
}

}  // namespace
}  // namespace doppel::test
