#include "native.h"

#include <asm/prctl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "isa/x86/cpu_model.h"

namespace doppel::oracle {

struct NativeCpu::Shared {
  u32 count;
  u32 current;  // for the report when the child dies
  Case cases[batch_limit];
  Outcome outcomes[batch_limit];
  u8 pool[pool_bytes];
};

namespace {

constexpr u64 trap_flag = 1 << 8;
constexpr u64 resume_flag = 1 << 16;
constexpr u16 code64_selector = 0x33, code32_selector = 0x23, data_selector = 0x2b;
constexpr unsigned repetition_limit = 4096;
constexpr u8 trap_debug = 1;
constexpr u8 address_size_prefix = 0x67;
// In the kernel's signal frame, which has the XSAVE area's standard format.
constexpr unsigned xstate_bv_offset = 512, ymm_offset = 576;
constexpr u64 fpu_and_sse = 3, avx = 4;

// The child's own; it is a process of one thread and one purpose.
struct Child {
  NativeCpu::Shared* shared;
  int requests, replies;
  unsigned repetitions;
  bool running;
  bool has_avx;
};
Child child;

// The C library's wrappers look at thread-local storage, and FS is not the library's here.
long raw_syscall(long number, long a, long b = 0, long c = 0) {
  long result;
  asm volatile("syscall" : "=a"(result) : "0"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
  return result;
}

void wait_for_batch() {
  char byte;
  if (raw_syscall(SYS_read, child.requests, reinterpret_cast<long>(&byte), 1) != 1) raw_syscall(SYS_exit, 0);
  child.shared->current = 0;
  child.running = false;
}

constexpr int gpr_of[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                            REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

u64 frame_components(const ucontext_t& frame) {
  u64 components;
  std::memcpy(&components, reinterpret_cast<const u8*>(frame.uc_mcontext.fpregs) + xstate_bv_offset, 8);
  return components;
}

void take_ymm(const ucontext_t& frame, Registers& registers) {
  registers.ymm_high.fill(0);
  if (frame_components(frame) & avx)
    std::memcpy(registers.ymm_high.data(), reinterpret_cast<const u8*>(frame.uc_mcontext.fpregs) + ymm_offset, 256);
}

// Where the host finds the instruction: with the prefix in front it ends where it should.
u64 native_rip(const Case& c) { return c.registers.rip - (c.native_in_64 ? 1 : 0); }

void take_outcome(ucontext_t& frame, const Case& c, Outcome& outcome) {
  const greg_t* regs = frame.uc_mcontext.gregs;
  for (unsigned i = 0; i < 16; ++i) outcome.registers.gpr[i] = static_cast<u64>(regs[gpr_of[i]]);
  outcome.registers.rip = static_cast<u64>(regs[REG_RIP]);
  if (outcome.registers.rip == native_rip(c)) outcome.registers.rip = c.registers.rip;
  outcome.registers.rflags = static_cast<u64>(regs[REG_EFL]) & ~(trap_flag | resume_flag);
  std::memcpy(outcome.registers.fx.data(), frame.uc_mcontext.fpregs, 512);
  take_ymm(frame, outcome.registers);
  const auto vector = static_cast<u8>(regs[REG_TRAPNO]);
  outcome.vector = vector == trap_debug ? no_vector : vector;
  outcome.error_code = vector == trap_debug ? 0 : static_cast<u32>(regs[REG_ERR]);
  outcome.fault_address = static_cast<u64>(regs[REG_CR2]);
  std::memcpy(outcome.data.data(), reinterpret_cast<const void*>(data_base), data_bytes);
}

void place_case(ucontext_t& frame, const Case& c) {
  greg_t* regs = frame.uc_mcontext.gregs;
  for (unsigned i = 0; i < 16; ++i) regs[gpr_of[i]] = static_cast<greg_t>(c.registers.gpr[i]);
  regs[REG_RIP] = static_cast<greg_t>(native_rip(c));
  regs[REG_EFL] = static_cast<greg_t>(c.registers.rflags | trap_flag);
  const u64 selector = c.compat32 && !c.native_in_64 ? code32_selector : code64_selector;
  regs[REG_CSGSFS] = static_cast<greg_t>(selector | u64{data_selector} << 48);
  auto* fp = reinterpret_cast<u8*>(frame.uc_mcontext.fpregs);
  std::memcpy(fp, c.registers.fx.data(), 464);  // the rest is the kernel's (reserved for software)
  const u64 components = frame_components(frame) | fpu_and_sse | (child.has_avx ? avx : 0);
  std::memcpy(fp + xstate_bv_offset, &components, 8);
  if (child.has_avx) std::memcpy(fp + ymm_offset, c.registers.ymm_high.data(), 256);
  if (c.native_in_64) *reinterpret_cast<u8*>(native_rip(c)) = address_size_prefix;
  std::memcpy(reinterpret_cast<void*>(c.registers.rip), c.code.data(), c.code_length);
  fill_data(reinterpret_cast<u8*>(data_base), child.shared->pool, c);
}

void on_signal(int, siginfo_t*, void* context) {
  auto& frame = *static_cast<ucontext_t*>(context);
  NativeCpu::Shared& shared = *child.shared;
  if (child.running) {
    const Case& c = shared.cases[shared.current];
    Outcome& outcome = shared.outcomes[shared.current];
    take_outcome(frame, c, outcome);
    outcome.ran_away = false;
    const bool again = c.repeats && outcome.vector == no_vector && outcome.registers.rip == c.registers.rip;
    if (again && ++child.repetitions < repetition_limit) return;  // TF is still set in the frame
    outcome.ran_away = again;
    if (++shared.current == shared.count) {
      const char done = 1;
      if (raw_syscall(SYS_write, child.replies, reinterpret_cast<long>(&done), 1) != 1) raw_syscall(SYS_exit, 0);
      wait_for_batch();
    }
  } else {
    wait_for_batch();
  }
  child.running = true;
  child.repetitions = 0;
  place_case(frame, shared.cases[shared.current]);
}

void map_fixed(u64 base, u64 size, int protection) {
  void* at = mmap(reinterpret_cast<void*>(base), size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
                  -1, 0);
  if (at != reinterpret_cast<void*>(base)) _exit(3);
}

[[noreturn]] void run_child(NativeCpu::Shared* shared, int requests, int replies) {
  child = {shared, requests, replies, 0, false, x86::host_features().has(x86::Feature::avx)};
  map_fixed(code_base, code_bytes, PROT_READ | PROT_WRITE | PROT_EXEC);
  map_fixed(data_base, data_bytes, PROT_READ | PROT_WRITE);
  map_fixed(read_only_base, read_only_bytes, PROT_READ);
  (void)*reinterpret_cast<volatile const u8*>(read_only_base);  // present from the start, as in the guest
  constexpr u64 stack_bytes = u64{1} << 20;
  stack_t stack{.ss_sp = mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
                .ss_flags = 0,
                .ss_size = stack_bytes};
  sigaltstack(&stack, nullptr);
  struct sigaction action{};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP}) sigaction(signal, &action, nullptr);
  asm volatile("mov %0, %%ds\n\tmov %0, %%es" ::"r"(u32{data_selector}));
  syscall(SYS_arch_prctl, ARCH_SET_GS, user_gs_base);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // The handler's own thread-local storage is not used from here on: FS belongs to the cases. A kernel that does not use FSGSBASE
  // itself knows the base only from this call.
  raw_syscall(SYS_arch_prctl, ARCH_SET_FS, static_cast<long>(user_fs_base));
  if (raw_syscall(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) raw_syscall(SYS_exit, 4);
  asm volatile("int3");
  __builtin_unreachable();
}

}  // namespace

bool host_runs_32_bit_code() {
  bool there;
  u32 rights;
  asm volatile("lar %2, %0" : "=r"(rights), "=@ccz"(there) : "r"(u32{code32_selector}));
  return there;
}

Result<NativeCpu> NativeCpu::start(std::span<const u8> pool) {
  NativeCpu cpu;
  void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return fail_errno("cannot map memory for the native runner");
  cpu.shared_ = static_cast<Shared*>(memory);
  std::memcpy(cpu.shared_->pool, pool.data(), pool_bytes);
  int requests[2], replies[2];
  if (pipe(requests) != 0 || pipe(replies) != 0) return fail_errno("cannot make a pipe");
  cpu.pid_ = fork();
  if (cpu.pid_ < 0) return fail_errno("cannot fork");
  if (cpu.pid_ == 0) {
    close(requests[1]);
    close(replies[0]);
    run_child(cpu.shared_, requests[0], replies[1]);
  }
  close(requests[0]);
  close(replies[1]);
  cpu.to_child_ = Fd(requests[1]);
  cpu.from_child_ = Fd(replies[0]);
  return cpu;
}

NativeCpu::NativeCpu(NativeCpu&& other) noexcept
    : shared_(std::exchange(other.shared_, nullptr)),
      to_child_(std::move(other.to_child_)),
      from_child_(std::move(other.from_child_)),
      pid_(std::exchange(other.pid_, -1)) {}

NativeCpu::~NativeCpu() {
  to_child_.reset();
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  if (shared_) munmap(shared_, sizeof(Shared));
}

// A batch may take long: some systems let few bus locks through in a second, and many cases take one. But it goes on.
bool NativeCpu::finished() {
  pollfd wait{.fd = from_child_.get(), .events = POLLIN, .revents = 0};
  constexpr int limit_ms = 30'000;
  const std::atomic_ref<u32> current(shared_->current);
  u32 before = ~0u;
  int ready;
  while ((ready = poll(&wait, 1, limit_ms)) == 0)
    if (std::exchange(before, current.load()) == before) return false;
  char byte;
  return ready == 1 && read(from_child_.get(), &byte, 1) == 1;
}

Result<> NativeCpu::run(std::span<const Case> cases, std::span<Outcome> outcomes) {
  shared_->count = static_cast<u32>(cases.size());
  std::memcpy(static_cast<void*>(shared_->cases), cases.data(), cases.size_bytes());
  const u8 go = 1;
  TRY(write_all(to_child_.get(), std::span(&go, 1)));
  if (!finished()) return fail(fmt::format("the native runner died or hung at case {} of its batch", shared_->current));
  std::memcpy(static_cast<void*>(outcomes.data()), shared_->outcomes, outcomes.size_bytes());
  return {};
}

}  // namespace doppel::oracle
