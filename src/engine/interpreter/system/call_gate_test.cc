// Call gates to other levels and of other sizes.
#include "support/guest_case.h"

namespace doppel::test {
namespace {

using namespace x86;

TEST(CallGate, ToRing1) {
  static constexpr GuestCase cases[] = {
      // an inner level other than 0
      {Mode::user32, "push 0x22; call 0x7b:0", "68220000009a000000007b00", "#13(0) at 1000",
       "frame.cs=b9 frame.ss=c1 [37ff4]=22"},
  };
  check(cases, [](SmallGuest& guest) {
    guest.write(at::inner_code, 0xf4, 1);  // HLT, which ring 1 may not
    guest.write(at::gdt + (sel::call_gate & ~7) + 2, sel::code_ring1 & ~3, 2);
    guest.write(at::gdt + (sel::call_gate & ~7) + 4, 1, 1);  // one parameter
  });
}

TEST(CallGate, Of16Bits) {
  static constexpr GuestCase cases[] = {
      {Mode::user32, "push word 0x2222; call 0xd3:0", "666822229a00000000d300", "halt at fffffffffffff001",
       "cs=18 rsp=2fff6 [2fff6]=33000b [2fffa]=fffe2222 [2fffe]=2b"},
  };
  check(cases, [](SmallGuest& guest) { guest.write(0xf000, 0xf4, 1); });
}

}  // namespace
}  // namespace doppel::test
