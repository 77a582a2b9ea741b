#include "emulated.h"

#include <cstring>

#include "isa/x86/cpu_model.h"
#include "memory/physical_memory.h"

namespace doppel::oracle {

using namespace x86;

namespace {

constexpr u64 ram_bytes = u64{1} << 20;
// Guest-physical: the tables, then the pages that the linear windows map to.
constexpr u64 pml4 = 0x1000, pdpt = 0x2000, directory = 0x3000, code_table = 0x4000, data_table = 0x5000;
constexpr u64 code_physical = 0x10000, data_physical = 0x20000;

class StillClock final : public Clock {
 public:
  Nanoseconds now() override { return 0; }
  std::unique_ptr<Alarm> make_alarm(std::function<void()>) override {
    struct Never final : Alarm {
      void set(Nanoseconds) override {}
      void cancel() override {}
    };
    return std::make_unique<Never>();
  }
};

class NoInterrupts final : public LocalInterrupts {
 public:
  std::optional<u8> acknowledge() override { return std::nullopt; }
  u8 task_priority() override { return 0; }
  void set_task_priority(u8) override {}
  std::optional<u64> read_msr(u32) override { return std::nullopt; }
  bool write_msr(u32, u64) override { return false; }
};

constexpr u64 table_entry = 7;  // present, writable, user

void write_word(PhysicalMemory& memory, u64 physical, u64 value) { std::memcpy(memory.ram() + physical, &value, 8); }

void map_pages(PhysicalMemory& memory, u64 table, u64 linear, u64 physical, u64 bytes, u64 rights) {
  for (u64 offset = 0; offset < bytes; offset += page_size)
    write_word(memory, table + ((linear + offset) >> 12 & 0x1ff) * 8, (physical + offset) | rights);
}

void build_tables(PhysicalMemory& memory) {
  constexpr u64 accessed_dirty = 0x60, no_execute = u64{1} << 63;
  write_word(memory, pml4, pdpt | table_entry);
  write_word(memory, pdpt, directory | table_entry);
  write_word(memory, directory + (code_base >> 21) * 8, code_table | table_entry);
  write_word(memory, directory + (data_base >> 21) * 8, data_table | table_entry);
  map_pages(memory, code_table, code_base, code_physical, code_bytes, table_entry | accessed_dirty);
  map_pages(memory, data_table, data_base, data_physical, data_bytes, table_entry | accessed_dirty | no_execute);
  map_pages(memory, data_table, read_only_base, data_physical + data_bytes, read_only_bytes,
            5 | accessed_dirty | no_execute);
}

SegmentRegister flat(u16 selector, u16 attributes, u64 base = 0) {
  return {.base = base, .limit = 0xffff'ffff, .selector = selector, .attributes = attributes};
}

constexpr u16 user_code64 = 0xa0fb, user_code32 = 0xc0fb, user_data = 0xc0f3;

X86State user_state(bool compat32, u64 xcr0) {
  X86State s;
  x86::reset(s);
  s.cr0 = cr0::pe | cr0::mp | cr0::et | cr0::ne | cr0::wp | cr0::am | cr0::pg;
  s.cr3 = pml4;
  s.cr4 = cr4::pae | cr4::osfxsr | cr4::osxmmexcpt | cr4::fsgsbase | cr4::osxsave;
  s.xcr0 = xcr0;
  s.efer = efer::sce | efer::lme | efer::lma | efer::nxe;
  s.segments[cs] = compat32 ? flat(0x23, user_code32) : flat(0x33, user_code64);
  s.segments[ss] = s.segments[ds] = s.segments[es] = flat(0x2b, user_data);
  s.segments[fs] = flat(0, user_data, user_fs_base);
  s.segments[gs] = flat(0, user_data, user_gs_base);
  s.idtr = {0, 0};
  s.gdtr = {0, 0};
  s.tr.limit = 0x10;  // too short for an I/O permission bitmap: every port is refused
  return s;
}

void fpu_from_image(const std::array<u8, 512>& image, X86State& s) {
  const auto word = [&](unsigned at) {
    u16 v;
    std::memcpy(&v, &image[at], 2);
    return v;
  };
  s.fpu.control = word(fx::fcw);
  s.fpu.status = word(fx::fsw);
  s.fpu.valid = image[fx::tags];
  std::memcpy(&s.mxcsr, &image[fx::mxcsr], 4);
  const unsigned top = (s.fpu.status >> 11) & 7;
  for (unsigned i = 0; i < 8; ++i) {
    Float80& reg = s.fpu.registers[(top + i) & 7];
    std::memcpy(&reg.significand, &image[fx::st0 + 16 * i], 8);
    std::memcpy(&reg.sign_exponent, &image[fx::st0 + 16 * i + 8], 2);
  }
  for (unsigned i = 0; i < 16; ++i) std::memcpy(s.vectors[i].words.data(), &image[fx::xmm0 + 16 * i], 16);
}

void fpu_to_image(const X86State& s, std::array<u8, 512>& image) {
  image.fill(0);
  std::memcpy(&image[fx::fcw], &s.fpu.control, 2);
  std::memcpy(&image[fx::fsw], &s.fpu.status, 2);
  image[fx::tags] = s.fpu.valid;
  std::memcpy(&image[fx::mxcsr], &s.mxcsr, 4);
  const unsigned top = (s.fpu.status >> 11) & 7;
  for (unsigned i = 0; i < 8; ++i) {
    const Float80& reg = s.fpu.registers[(top + i) & 7];
    std::memcpy(&image[fx::st0 + 16 * i], &reg.significand, 8);
    std::memcpy(&image[fx::st0 + 16 * i + 8], &reg.sign_exponent, 2);
  }
  for (unsigned i = 0; i < 16; ++i) std::memcpy(&image[fx::xmm0 + 16 * i], s.vectors[i].words.data(), 16);
}

void ymm_from_registers(const Registers& registers, X86State& s) {
  for (unsigned i = 0; i < 16; ++i) std::memcpy(&s.vectors[i].words[2], &registers.ymm_high[2 * i], 16);
}

void ymm_to_registers(const X86State& s, Registers& registers) {
  for (unsigned i = 0; i < 16; ++i) std::memcpy(&registers.ymm_high[2 * i], &s.vectors[i].words[2], 16);
}

void registers_from_state(const X86State& s, Registers& registers) {
  registers.gpr = s.gpr;
  registers.rip = s.rip;
  registers.rflags = s.rflags & ~(rflags::tf | rflags::rf);
  fpu_to_image(s, registers.fx);
  ymm_to_registers(s, registers);
}

}  // namespace

struct EmulatedCpu::Parts {
  Bus ports{0x10000};
  Bus mmio{u64{1} << 40};
  std::unique_ptr<PhysicalMemory> memory;
  const u64 xcr0 = host_cpu_model().xcr0();
  StillClock clock;
  NoInterrupts interrupts;
  std::unique_ptr<Vcpu> vcpu;
  TraceHooks hooks;
  Outcome* outcome = nullptr;
};

EmulatedCpu::EmulatedCpu(std::span<const u8> pool) : pool_(pool), parts_(std::make_shared<Parts>()) {}

Result<std::unique_ptr<EmulatedCpu>> EmulatedCpu::create(Engine& engine, std::span<const u8> pool) {
  std::unique_ptr<EmulatedCpu> cpu(new EmulatedCpu(pool));
  Parts& parts = *cpu->parts_;
  parts.memory = TRY(PhysicalMemory::create(ram_bytes, parts.mmio));
  TRY(parts.memory->map(0, 0, ram_bytes, PhysicalMemory::Kind::ram, "ram"));
  build_tables(*parts.memory);
  parts.vcpu = TRY(engine.create_vcpu({0, 1, *parts.memory, parts.ports, parts.clock, parts.interrupts}));
  parts.hooks.exception = [&parts](u8 vector, u64 error_code, const X86State& s) {
    if (parts.outcome->vector != no_vector) return;  // what the missing IDT makes of it
    parts.outcome->vector = vector;
    parts.outcome->error_code = static_cast<u32>(error_code);
    registers_from_state(s, parts.outcome->registers);
    std::memcpy(parts.outcome->data.data(), parts.memory->ram() + data_physical, data_bytes);
  };
  parts.vcpu->set_trace(&parts.hooks);
  return cpu;
}

void EmulatedCpu::run(const Case& c, Outcome& outcome) {
  Parts& parts = *parts_;
  Dma dma(*parts.memory);
  dma.write(code_physical + (c.registers.rip - code_base), c.code.data(), c.code_length);
  fill_data(parts.memory->ram() + data_physical, pool_.data(), c);

  X86State s = user_state(c.compat32, parts.xcr0);
  s.gpr = c.registers.gpr;
  s.rip = c.registers.rip;
  s.rflags = c.registers.rflags;
  fpu_from_image(c.registers.fx, s);
  ymm_from_registers(c.registers, s);
  parts.vcpu->set_state(s);
  outcome.vector = no_vector;
  outcome.error_code = 0;
  outcome.ran_away = false;
  parts.outcome = &outcome;
  parts.vcpu->run(1);
  if (outcome.vector == no_vector) {
    registers_from_state(parts.vcpu->get_state(), outcome.registers);
    std::memcpy(outcome.data.data(), parts.memory->ram() + data_physical, data_bytes);
  }
  outcome.fault_address = outcome.vector == page_fault ? parts.vcpu->get_state().cr2 : 0;
}

}  // namespace doppel::oracle
