// PUSHF, POPF, CLI, STI, STAC and CLAC by mode and privilege.
#include "support/guest_case.h"

namespace doppel::test {
namespace {

using namespace x86;

TEST(Flags, Instructions) {
  static constexpr GuestCase cases[] = {
      {Mode::long64, "push 0x3246; popfq; pushfq; pop rax; hlt", "68463200009d9c58f4", "halt at 9",
       "rax=3246 flags=3246"},
      {Mode::long64, "push 0x2446d7; popfq; pushfq; pop rax; hlt", "68d74624009d9c58f4", "halt at 9", "rax=2446d7"},
      {Mode::long64_user, "push 0x3202; popfq; pushfq; pop rax; ud2", "68023200009d9c580f0b", "#6 at 8", "rax=2"},
      {Mode::long64_user, "push 0xeff; popfq; pushfq; pop rax; ud2", "68ff0e00009d9c580f0b", "#6 at 8", "rax=cd7"},
      {Mode::long64, "xor eax,eax; push word 0x72d7; popfw; pushfw; pop ax; hlt", "31c06668d772669d669c6658f4",
       "halt at d", "rax=72d7"},
      {Mode::protected32, "push 0x200246; popfd; pushfd; pop eax; hlt", "68460220009d9c58f4", "halt at 9", "rax=200246"},
      {Mode::vm86, "pushf", "9c", "#13(0) at 0", ""},
      {Mode::vm86, "popf", "9d", "#13(0) at 0", ""},
      {Mode::vm86, "iret", "cf", "#13(0) at 0", ""},
      {Mode::vm86, "cli", "fa", "#13(0) at 0", ""},
      {Mode::vm86, "sti", "fb", "#13(0) at 0", ""},
      {Mode::long64, "cli; sti; cli; pushfq; pop rax; hlt", "fafbfa9c58f4", "halt at 6", "rax=2"},
      {Mode::long64, "stac; pushfq; pop rax; clac; pushfq; pop rbx; hlt", "0f01cb9c580f01ca9c5bf4", "halt at b",
       "rax=40002 rbx=2"},
  };
  check(cases);
}

}  // namespace
}  // namespace doppel::test
