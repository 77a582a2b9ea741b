// Runs one x87 instruction twice on the same state and memory: on the host's processor, and through the interpreter's handler.
// The memory operand of an instruction under test is [RBX].
#pragma once

#include <sys/mman.h>

#include <array>
#include <cstring>
#include <optional>
#include <span>

#include "base/check.h"
#include "engine/interpreter/cpu.h"
#include "engine/interpreter/fpu_environment.h"
#include "engine/interpreter/x87/save_area.h"
#include "isa/x86/cpu_model.h"

namespace doppel::interpreter::testing {

constexpr unsigned memory_bytes = 1024;

struct State {
  x86::FpuState fpu;
  std::array<x86::VectorRegister, 16> vectors{};
  u32 mxcsr = 0x1f80;
  u64 rax = 0, rdx = 0;
  u64 flags = 0;  // status flags
  alignas(64) std::array<u8, memory_bytes> memory{};
  std::optional<u8> fault;  // vector
};

inline u64 host_xcr0() { return x86::host_cpu_model().xcr0(); }

class HostUnit {
 public:
  HostUnit() {
    void* pages = mmap(nullptr, 3 * page_size, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED);
    code_ = static_cast<u8*>(pages);
    frame_ = new (code_ + page_size) Frame{};
    constexpr u8 nop = 0x90;
    run({}, {&nop, 1});
    loads_are_use_ = frame_->out.xstate_bv != 0;
  }
  ~HostUnit() { munmap(code_, 3 * page_size); }
  HostUnit(const HostUnit&) = delete;
  HostUnit& operator=(const HostUnit&) = delete;

  // The state must have no unmasked exception pending, and the instruction must not fault.
  State run(const State& before, std::span<const u8> instruction) {
    std::memcpy(code_, instruction.data(), instruction.size());
    code_[instruction.size()] = 0xc3;
    State after = before;
    to_image(before, frame_->in);
    std::memcpy(frame_->memory, before.memory.data(), memory_bytes);
    u64 flags = before.flags | 0x202;
    u32 low = static_cast<u32>(components), high = 0;
    frame_->rax = before.rax;
    frame_->rdx = before.rdx;
    // The red zone is stepped over; no waiting x87 instruction follows the one under test before FNINIT.
    asm volatile(
        "leaq -128(%%rsp), %%rsp\n\txrstor64 %[in]\n\tmovq %[rax], %%rax\n\tmovq %[rdx], %%rdx\n\t"
        "pushq %[flags]\n\tpopfq\n\tcallq *%[code]\n\tpushfq\n\tpopq %[flags]\n\t"
        "movq %%rax, %[rax]\n\tmovq %%rdx, %[rdx]\n\tmovl $7, %%eax\n\txorl %%edx, %%edx\n\t"
        "xsave64 %[out]\n\tfninit\n\tldmxcsr %[mxcsr]\n\tleaq 128(%%rsp), %%rsp"
        : [flags] "+r"(flags), "+a"(low),
          "+d"(high), [out] "=m"(frame_->out), [rax] "+m"(frame_->rax), [rdx] "+m"(frame_->rdx)
        : [in] "m"(frame_->in), [code] "r"(code_), [mxcsr] "m"(frame_->default_mxcsr), "b"(frame_->memory)
        : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
          "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)",
          "st(7)");
    from_image(frame_->out, after);
    std::memcpy(after.memory.data(), frame_->memory, memory_bytes);
    after.flags = flags & x86::rflags::status;
    after.rax = frame_->rax;
    after.rdx = frame_->rdx;
    if (host_xcr0() & 4) asm volatile("vzeroupper");
    return after;
  }

  u64 memory_address() const { return reinterpret_cast<u64>(frame_->memory); }

 private:
  struct Frame {
    SaveArea in, out;
    alignas(64) u8 memory[memory_bytes];
    u64 rax, rdx;
    u32 default_mxcsr = 0x1f80;
  };
  static constexpr u64 components = 7;  // of XCR0: x87, SSE, AVX where the host has it

  // Of the components in the image.
  static u64 not_initial(const SaveArea& image) {
    const auto any = [](const auto& registers) {
      u64 bits = 0;
      for (const RegisterImage& value : registers) bits |= value.low | value.high;
      return bits != 0;
    };
    const bool x87 = image.control != fcw::initial || image.status || image.valid || any(image.st);
    return (x87 ? 1 : 0) | (any(image.xmm) ? 2 : 0) | (any(image.ymm_high) ? 4 : 0);
  }
  void to_image(const State& state, SaveArea& image) const {
    const Fpu& f = state.fpu;
    image = {};
    image.control = f.control;
    image.status = f.status;
    image.valid = f.valid;
    image.mxcsr = state.mxcsr;
    image.xstate_bv = components & host_xcr0();
    for (unsigned i = 0; i < 8; ++i) {
      const x86::Float80& value = f.registers[physical(f, i)];
      image.st[i] = {value.significand, value.sign_exponent};
    }
    for (unsigned i = 0; i < 16; ++i) {
      image.xmm[i] = {state.vectors[i].words[0], state.vectors[i].words[1]};
      image.ymm_high[i] = {state.vectors[i].words[2], state.vectors[i].words[3]};
    }
    if (loads_are_use_) image.xstate_bv &= not_initial(image);
  }
  static void from_image(const SaveArea& image, State& state) {
    Fpu& f = state.fpu;
    f.control = image.control;
    f.status = image.status;
    f.valid = image.valid;
    f.opcode = image.opcode;
    f.data_pointer = image.data_pointer;
    f.instruction_pointer = image.instruction_pointer;
    state.mxcsr = image.mxcsr;
    for (unsigned i = 0; i < 8; ++i)
      f.registers[physical(f, i)] = {image.st[i].low, static_cast<u16>(image.st[i].high)};
    for (unsigned i = 0; i < 16; ++i)
      state.vectors[i].words = {image.xmm[i].low, image.xmm[i].high, image.ymm_high[i].low, image.ymm_high[i].high};
  }

  u8* code_;
  Frame* frame_;
  // Whether a component in its initial state counts as in use once it was loaded (both are allowed, SDM vol. 1 §13.6). On such a host
  // it is loaded by a clear bit in XSTATE_BV instead.
  bool loads_are_use_ = false;
};

class NoClock final : public Clock {
 public:
  Nanoseconds now() override { return 0; }
  std::unique_ptr<Alarm> make_alarm(std::function<void()>) override { return nullptr; }
};

class NoInterrupts final : public LocalInterrupts {
 public:
  std::optional<u8> acknowledge() override { return {}; }
  u8 task_priority() override { return 0; }
  void set_task_priority(u8) override {}
  std::optional<u64> read_msr(u32) override { return {}; }
  bool write_msr(u32, u64) override { return false; }
};

// A processor with its memory and nothing else, in 64-bit mode with linear = physical addresses unless a test changes that.
class GuestUnit {
 public:
  static constexpr u64 code = 0x1000, memory_address = 0x4000, ram_bytes = 0x10000;

  GuestUnit() {
    CHECK(memory_->map(0, 0, ram_bytes, PhysicalMemory::Kind::ram, "ram"));
    x86::X86State s;
    for (x86::SegmentRegister& segment : s.segments)
      segment = {.limit = 0xffff'ffff, .selector = 0x18, .attributes = 0xc093};
    s.cr0 = x86::cr0::pe | x86::cr0::ne | x86::cr0::et;
    s.cr4 = x86::cr4::osfxsr | x86::cr4::osxsave;
    s.xcr0 = host_xcr0();
    s.efer = x86::efer::lme | x86::efer::lma;
    s.segments[x86::cs] = {.limit = 0xffff'ffff, .selector = 0x10, .attributes = 0xa09b};
    cpu.load_state(s);
  }

  State run(const State& before, std::span<const u8> bytes) {
    forget_host_flags();
    return run_on(before, bytes);
  }
  // The same, with whatever sticky flags the host's unit has from the instruction before.
  State run_on(const State& before, std::span<const u8> bytes) {
    State after = before;
    cpu.s.fpu = before.fpu;
    cpu.s.vectors = before.vectors;
    cpu.s.mxcsr = before.mxcsr;
    apply_mxcsr(cpu);
    cpu.flags.unpack(before.flags);
    cpu.gpr[x86::rax] = before.rax;
    cpu.gpr[x86::rdx] = before.rdx;
    cpu.gpr[x86::rbx] = cpu.gpr[x86::rbp] = memory_address;  // [BP+DI] is what encodes [RBX] in 16-bit code
    cpu.gpr[x86::rdi] = 0;
    std::memcpy(cpu.ram + memory_address, before.memory.data(), memory_bytes);
    after.fault = execute(bytes);
    collect_mxcsr(cpu);
    _mm_setcsr(0x1f80);
    after.fpu = cpu.s.fpu;
    after.vectors = cpu.s.vectors;
    after.mxcsr = cpu.s.mxcsr;
    after.flags = cpu.flags.pack();
    after.rax = cpu.gpr[x86::rax];
    after.rdx = cpu.gpr[x86::rdx];
    std::memcpy(after.memory.data(), cpu.ram + memory_address, memory_bytes);
    return after;
  }

  // Another mode or another setting of control registers.
  template <class F>
  void change(F f) {
    cpu.store_state();
    x86::X86State s = cpu.s;
    f(s);
    cpu.load_state(s);
  }

  bool decodes(std::span<const u8> bytes) const {
    x86::Instruction instruction;
    return decoder_.decode(cpu.mode, bytes, instruction) == x86::DecodeStatus::ok;
  }

 private:
  // The vector that it faults with, if it does.
  std::optional<u8> execute(std::span<const u8> bytes) {
    x86::Instruction instruction;
    CHECK(decoder_.decode(cpu.mode, bytes, instruction) == x86::DecodeStatus::ok);
    Block& block = *new (storage_) Block{};
    block.count = 1;
    block.mode = cpu.mode;
    block.ops[0].offset = 0;
    bind(instruction, block.ops[0]);
    block.ops[1] = {.handler = execute_end_of_block, .offset = instruction.length};
    cpu.leave = Leave::next_block;
    cpu.request_attention();
    enter(cpu, &block, code);
    while (cpu.next_op) cpu.next_op->handler(cpu, cpu.next_op);
    return cpu.leave == Leave::fault ? std::optional<u8>(cpu.fault.vector) : std::nullopt;
  }

  alignas(Block) u8 storage_[sizeof(Block) + 2 * sizeof(Op)];
  Bus ports_{0x10000}, mmio_{u64{1} << x86::physical_address_bits};
  NoClock clock_;
  NoInterrupts interrupts_;
  x86::Decoder decoder_;
  std::unique_ptr<PhysicalMemory> memory_ = std::move(*PhysicalMemory::create(ram_bytes, mmio_));

 public:
  Cpu cpu{{.index = 0, .count = 1, .memory = *memory_, .ports = ports_, .clock = clock_, .interrupts = interrupts_},
          decoder_,
          u64{1} << 20};
};

}  // namespace doppel::interpreter::testing
