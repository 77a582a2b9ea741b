// CPUID, time stamps, MSRs, XCR0 as instructions see them.
#include "support/guest_case.h"

namespace doppel::test {
namespace {

using namespace x86;

TEST(Information, Instructions) {
  static constexpr GuestCase cases[] = {
      {Mode::long64, "xor eax,eax; cpuid; hlt", "31c00fa2f4", "halt at 5",
       "rax=16 rbx=756e6547 rdx=49656e69 rcx=6c65746e"},
      {Mode::long64, "mov eax, 0x15; cpuid; hlt", "b8150000000fa2f4", "halt at 8", "rax=1 rbx=1 rcx=3b9aca00"},
      {Mode::long64,
       "mov eax, 1; cpuid; and ecx, 0x08000000; mov rdx, cr4; or rdx, 0x40000; mov cr4, rdx; mov esi, ecx; mov eax, 1; "
       "cpuid; and ecx, 0x08000000; hlt",
       "b8010000000fa281e1000000080f20e24881ca000004000f22e289ceb8010000000fa281e100000008f4", "halt at 2a",
       "rsi=0 rcx=8000000"},
      {Mode::long64, "rdtsc; hlt", "0f31f4", "halt at 3", "rax=3e8 rdx=0"},
      {Mode::long64,
       "mov ecx, 0x10; mov eax, 5; mov edx, 1; wrmsr; rdtsc; mov esi, eax; mov edi, edx; mov ecx, 0x3b; rdmsr; hlt",
       "b910000000b805000000ba010000000f300f3189c689d7b93b0000000f32f4", "halt at 1f", "rsi=5 rdi=1 rax=fffffc1d rdx=0"},
      {Mode::long64, "mov ecx, 0x3b; mov eax, 5; xor edx, edx; wrmsr; rdtsc; hlt", "b93b000000b80500000031d20f300f31f4",
       "halt at 11", "rax=3ed"},
      {Mode::long64, "mov ecx, 0xc0000103; mov eax, 7; xor edx,edx; wrmsr; rdtscp; hlt",
       "b9030100c0b80700000031d20f300f01f9f4", "halt at 12", "rcx=7"},
      {Mode::long64, "mov ecx, 0xc0000103; xor eax, eax; mov edx,1; wrmsr", "b9030100c031c0ba010000000f30",
       "#13(0) at c", ""},
      {Mode::long64, "mov ecx, 0x10a; rdmsr; hlt", "b90a0100000f32f4", "halt at 8", "rax=d10e17b rdx=40000000"},
      {Mode::long64, "mov ecx, 0x10a; rdmsr; wrmsr", "b90a0100000f320f30", "#13(0) at 7", ""},
      {Mode::long64, "mov ecx, 0x49; rdmsr", "b9490000000f32", "#13(0) at 5", ""},
      {Mode::long64, "mov ecx, 0x49; mov eax, 1; xor edx, edx; wrmsr; hlt", "b949000000b80100000031d20f30f4",
       "halt at f", ""},
      {Mode::long64, "mov ecx, 0x277; mov eax, 0x02000000; xor edx, edx; wrmsr", "b977020000b80000000231d20f30",
       "#13(0) at c", ""},
      {Mode::long64, "mov ecx, 0xc0000082; mov edx, 0x80000000; xor eax,eax; wrmsr", "b9820000c0ba0000008031c00f30",
       "#13(0) at c", ""},
      {Mode::long64, "mov ecx, 0x12345; rdmsr", "b9452301000f32", "#13(0) at 5", ""},
      {Mode::long64, "mov rax, cr4; or rax, 4; mov cr4, rax; rdtsc; hlt", "0f20e0480d040000000f22e00f31f4", "halt at f",
       ""},
      {Mode::long64,
       "mov rax, cr4; or rax, 0x40000; mov cr4, rax; xor ecx, ecx; xgetbv; mov ebx, eax; mov eax, 3; xor edx,edx; "
       "xsetbv; xgetbv; hlt",
       "0f20e0480d000004000f22e031c90f01d089c3b80300000031d20f01d10f01d0f4", "halt at 21", "rbx=1 rax=3"},
      {Mode::long64, "mov rax, cr4; or rax, 0x40000; mov cr4, rax; xor ecx, ecx; mov eax, 5; xor edx,edx; xsetbv",
       "0f20e0480d000004000f22e031c9b80500000031d20f01d1", "#13(0) at 15", ""},
      {Mode::long64, "mov rax, cr4; or rax, 0x40000; mov cr4, rax; xor ecx, ecx; mov eax, 9; xor edx,edx; xsetbv",
       "0f20e0480d000004000f22e031c9b80900000031d20f01d1", "#13(0) at 15", ""},
      {Mode::long64, "mov rax, cr4; or rax, 0x40000; mov cr4, rax; mov ecx, 1; xgetbv",
       "0f20e0480d000004000f22e0b9010000000f01d0", "#13(0) at 11", ""},
      {Mode::long64, "mov ecx, 0x140; xor eax, eax; xor edx, edx; wrmsr; hlt", "b94001000031c031d20f30f4", "halt at c",
       ""},
      {Mode::long64, "mov ecx, 0x140; mov eax, 1; xor edx, edx; wrmsr", "b940010000b80100000031d20f30", "#13(0) at c",
       ""},
      {Mode::long64, "mov ecx, 0x48; mov eax, 0x407; xor edx, edx; wrmsr; rdmsr; hlt",
       "b948000000b80704000031d20f300f32f4", "halt at 11", "rax=407"},
      {Mode::long64, "mov ecx, 0x48; mov eax, 8; xor edx, edx; wrmsr", "b948000000b80800000031d20f30", "#13(0) at c",
       ""},
      {Mode::long64, "mov ecx, 0xfe; rdmsr; hlt", "b9fe0000000f32f4", "halt at 8", "rax=508"},
      {Mode::long64, "mov ecx, 0x1a0; rdmsr; wrmsr; hlt", "b9a00100000f320f30f4", "halt at a", "rax=1801"},
  };
  check(cases);
}

}  // namespace
}  // namespace doppel::test
