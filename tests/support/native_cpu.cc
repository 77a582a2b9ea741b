#include "support/native_cpu.h"

#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cstring>

#include "support/flat_guest.h"

namespace doppel::testing {
namespace {

// The exchange block lies at a fixed low address, so that the stubs reach it without a register:
//   +00 RAX … R15   +80 RFLAGS   +88 the test's RSP   +90 where to go   +a0 the same as a far pointer   +b0 native_exit
//   +1000 jmp *[+b0], for compatibility mode, whose jumps reach only 4 GiB
constexpr u64 block_address = 0x2000'0000;
struct Block {
  u64 gpr[16];
  u64 rflags;
  u64 host_rsp;
  u64 target;
  u64 unused;
  u32 far_offset;
  u16 far_selector;
  u16 unused2;
  u64 unused3;
  u64 exit;
};
static_assert(offsetof(Block, exit) == 0xb0 && offsetof(Block, far_offset) == 0xa0);
Block* block() { return reinterpret_cast<Block*>(block_address); }

constexpr u16 code64_selector = 0x33, code32_selector = 0x23, data_selector = 0x2b;  // Linux's

// What the signal handler leaves behind; only while `running`.
struct Caught {
  volatile bool running = false;
  volatile int signal = 0;
  u64 rip = 0;
};
Caught caught;

extern "C" {
void doppel_native_enter();
void doppel_native_enter_far();
void doppel_native_exit();
void doppel_native_leave();
}

// Loads everything, with the flags first: MOV leaves them alone.
asm(R"(
.macro doppel_native_load
  push %rbx
  push %rbp
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, 0x20000088
  pushq 0x20000080
  popfq
  mov 0x20000000, %rax
  mov 0x20000008, %rcx
  mov 0x20000010, %rdx
  mov 0x20000018, %rbx
  mov 0x20000020, %rsp
  mov 0x20000028, %rbp
  mov 0x20000030, %rsi
  mov 0x20000038, %rdi
  mov 0x20000040, %r8
  mov 0x20000048, %r9
  mov 0x20000050, %r10
  mov 0x20000058, %r11
  mov 0x20000060, %r12
  mov 0x20000068, %r13
  mov 0x20000070, %r14
  mov 0x20000078, %r15
.endm
.text
doppel_native_enter:
  doppel_native_load
  jmp *0x20000090
doppel_native_enter_far:
  doppel_native_load
  ljmpl *0x200000a0
doppel_native_exit:
  mov %rax, 0x20000000
  mov %rcx, 0x20000008
  mov %rdx, 0x20000010
  mov %rbx, 0x20000018
  mov %rsp, 0x20000020
  mov %rbp, 0x20000028
  mov %rsi, 0x20000030
  mov %rdi, 0x20000038
  mov %r8, 0x20000040
  mov %r9, 0x20000048
  mov %r10, 0x20000050
  mov %r11, 0x20000058
  mov %r12, 0x20000060
  mov %r13, 0x20000068
  mov %r14, 0x20000070
  mov %r15, 0x20000078
  mov 0x20000088, %rsp
  pushfq
  popq 0x20000080
doppel_native_leave:
  cld
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbp
  pop %rbx
  ret
)");

void on_signal(int signal, siginfo_t*, void* context) {
  if (!caught.running) {
    ::signal(signal, SIG_DFL);
    return;
  }
  auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  constexpr int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                             REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  for (int i = 0; i < 16; ++i) block()->gpr[i] = static_cast<u64>(registers[order[i]]);
  block()->rflags = static_cast<u64>(registers[REG_EFL]);
  caught.rip = static_cast<u64>(registers[REG_RIP]);
  caught.signal = signal;
  registers[REG_RIP] = reinterpret_cast<greg_t>(&doppel_native_leave);
  registers[REG_RSP] = static_cast<greg_t>(block()->host_rsp);
  registers[REG_EFL] = 0x202;
  registers[REG_CSGSFS] = (registers[REG_CSGSFS] & ~greg_t{0xffff}) | code64_selector;
}

bool map_at(u64 address, u64 bytes) {
  void* wanted = reinterpret_cast<void*>(address);
  void* got = mmap(wanted, bytes, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
                   -1, 0);
  return got == wanted;
}

}  // namespace

NativeCpu* NativeCpu::instance() {
  static NativeCpu cpu;
  static const bool ready = cpu.set_up();
  return ready ? &cpu : nullptr;
}

bool NativeCpu::has_compatibility_mode() {
  bool there;
  u32 rights;
  asm volatile("lar %2, %0" : "=r"(rights), "=@ccz"(there) : "r"(u32{code32_selector}));
  return there;
}

bool NativeCpu::set_up() {
  if (!map_at(FlatGuest::base, size) || !map_at(block_address, 0x2000)) return false;
  block()->exit = reinterpret_cast<u64>(&doppel_native_exit);
  constexpr u8 jump[] = {0xff, 0x24, 0x25, 0xb0, 0x00, 0x00, 0x20};
  std::memcpy(reinterpret_cast<u8*>(block_address) + 0x1000, jump, sizeof(jump));

  static u8 handler_stack[64 << 10];
  const stack_t stack{.ss_sp = handler_stack, .ss_flags = 0, .ss_size = sizeof(handler_stack)};
  if (sigaltstack(&stack, nullptr) != 0) return false;
  struct sigaction action{};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP})
    if (sigaction(signal, &action, nullptr) != 0) return false;
  return true;
}

void NativeCpu::set_present(u64 linear, bool present) {
  mprotect(reinterpret_cast<void*>(linear & ~u64{0xfff}), 4096,
           present ? PROT_READ | PROT_WRITE | PROT_EXEC : PROT_NONE);
}

NativeCpu::Registers NativeCpu::run(const Registers& from, u64 rip, std::span<const u8> code, bool compatibility_mode) {
  u8* at = memory(rip);
  std::memcpy(at, code.data(), code.size());
  u8* end = at + code.size();
  if (compatibility_mode) {
    constexpr u32 way_out = block_address + 0x1000;
    *end = 0xea;  // jmp far
    std::memcpy(end + 1, &way_out, 4);
    std::memcpy(end + 5, &code64_selector, 2);
  } else {
    constexpr u8 jump[] = {0xff, 0x25, 0, 0, 0, 0};
    std::memcpy(end, jump, sizeof(jump));
    std::memcpy(end + sizeof(jump), &block()->exit, 8);
  }
  std::memcpy(block()->gpr, from.gpr.data(), sizeof(block()->gpr));
  block()->rflags = from.rflags;
  block()->target = rip;
  block()->far_offset = static_cast<u32>(rip);
  block()->far_selector = code32_selector;

  caught.signal = 0;
  caught.rip = reinterpret_cast<u64>(end);
  caught.running = true;
  if (compatibility_mode) {
    // 64-bit code does without data segments; 32-bit code does not.
    asm volatile("mov %0, %%ds\n mov %0, %%es" ::"r"(data_selector));
    doppel_native_enter_far();
    asm volatile("mov %0, %%ds\n mov %0, %%es" ::"r"(u16{0}));
  } else {
    doppel_native_enter();
  }
  caught.running = false;

  Registers to;
  std::memcpy(to.gpr.data(), block()->gpr, sizeof(block()->gpr));
  to.rflags = block()->rflags;
  to.rip = caught.rip;
  to.signal = caught.signal;
  return to;
}

}  // namespace doppel::testing
