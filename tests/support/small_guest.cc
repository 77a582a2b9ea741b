#include "support/small_guest.h"

#include <fmt/format.h>

#include <charconv>
#include <cstring>

#include "base/check.h"

namespace doppel::test {

using namespace x86;

namespace {

struct StillClock final : Clock {
  explicit StillClock(u64& now) : now_(now) {}
  Nanoseconds now() override { return now_; }
  std::unique_ptr<Alarm> make_alarm(std::function<void()>) override { return nullptr; }
  u64& now_;
};

struct FixedInterrupts final : LocalInterrupts {
  std::optional<u8> acknowledge() override { return vector; }
  u8 task_priority() override { return priority; }
  void set_task_priority(u8 cr8) override { priority = cr8; }
  std::optional<u64> read_msr(u32 index) override {
    return index == 0x1b ? std::optional<u64>{0xfee0'0900} : std::nullopt;
  }
  bool write_msr(u32 index, u64) override { return index == 0x1b; }
  u8 vector = 0x40;
  u8 priority = 0;
};

struct PortRecorder final : IoHandler {
  explicit PortRecorder(std::vector<u8>& written) : written_(written) {}
  u64 read(Access access) override { return 0x40 + access.offset; }
  void write(Access, u64 value) override { written_.push_back(static_cast<u8>(value)); }
  std::vector<u8>& written_;
};

constexpr u16 present = access_rights::present;
constexpr u16 code_rights = access_rights::flat_code, data_rights = access_rights::flat_data;
constexpr u16 page_granular = access_rights::granular, wide = access_rights::big;

u16 ring(unsigned dpl) { return access_rights::of_dpl(dpl); }
u16 system_rights(SystemType type, unsigned dpl = 0) {
  return static_cast<u16>(present | static_cast<u16>(type) | ring(dpl));
}

u64 gate(SystemType type, unsigned dpl, u16 selector, u32 offset, unsigned parameters = 0) {
  return u64{offset & 0xffff} | u64{selector} << 16 | u64{parameters} << 32 | u64{system_rights(type, dpl)} << 40 |
         u64{offset >> 16} << 48;
}

bool pushes_error(unsigned vector) { return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17; }

bool is_long(Mode mode) { return mode == Mode::long64 || mode == Mode::long64_user || mode == Mode::compat32_user; }

}  // namespace

struct SmallGuest::Wires {
  explicit Wires(SmallGuest& guest) : clock(guest.time), recorder(guest.ports_written) {
    CHECK(ports.map(0x80, 16, recorder, "recorder"));
    auto made = PhysicalMemory::create(at::ram_bytes, mmio);
    CHECK(made);
    memory = std::move(*made);
    CHECK(memory->map(0, 0, at::ram_bytes, PhysicalMemory::Kind::ram, "ram"));
  }
  Bus mmio{u64{1} << 40};
  Bus ports{0x10000};
  StillClock clock;
  PortRecorder recorder;
  FixedInterrupts interrupts;
  std::unique_ptr<PhysicalMemory> memory;
};

SmallGuest::SmallGuest(Mode mode, std::unique_ptr<Engine> engine)
    : mode_(mode), wires_(std::make_unique<Wires>(*this)), engine_(std::move(engine)) {
  auto made = engine_->create_vcpu({.index = 0,
                                    .count = 1,
                                    .memory = *wires_->memory,
                                    .ports = wires_->ports,
                                    .clock = wires_->clock,
                                    .interrupts = wires_->interrupts});
  CHECK(made);
  vcpu_ = std::move(*made);
  build_tables();
  enter(mode);
}
SmallGuest::~SmallGuest() = default;

void SmallGuest::write(u64 address, u64 value, unsigned bytes) {
  CHECK(address + bytes <= at::ram_bytes);
  std::memcpy(wires_->memory->ram() + address, &value, bytes);
}
u64 SmallGuest::read(u64 address, unsigned bytes) const {
  u64 value = 0;
  if (address + bytes <= at::ram_bytes) std::memcpy(&value, wires_->memory->ram() + address, bytes);
  return value;
}

void SmallGuest::code(std::string_view hex, u64 address) {
  std::string digits;
  for (char c : hex)
    if (c != ' ') digits += c;
  CHECK(digits.size() % 2 == 0);
  for (std::size_t i = 0; i < digits.size(); i += 2) {
    u8 byte = 0;
    std::from_chars(digits.data() + i, digits.data() + i + 2, byte, 16);
    write(address + i / 2, byte, 1);
  }
}

void SmallGuest::build_tables() {
  const bool long_mode = is_long(mode_);
  const auto put = [&](u16 selector, Descriptor descriptor) { write(at::gdt + (selector & ~7u), descriptor.raw, 8); };
  const auto flat = [](u16 rights) { return Descriptor::make(0, 0xfffff, static_cast<u16>(rights | page_granular)); };
  put(sel::code64, flat(code_rights | access_rights::long_mode));
  put(sel::data, flat(data_rights | wide));
  put(sel::code32, flat(code_rights | wide));
  put(sel::user_code64, flat(static_cast<u16>(code_rights | access_rights::long_mode | ring(3))));
  put(sel::user_data, flat(static_cast<u16>(data_rights | wide | ring(3))));
  put(sel::user_code32, flat(static_cast<u16>(code_rights | wide | ring(3))));
  put(sel::code16, Descriptor::make(at::code, 0xffff, code_rights));
  put(sel::data16, Descriptor::make(0, 0xffff, data_rights));
  put(sel::conforming32, flat(code_rights | access_rights::conforming | wide));
  put(sel::conforming64, flat(code_rights | access_rights::conforming | access_rights::long_mode));
  put(sel::absent, flat(static_cast<u16>((data_rights | wide) & ~present)));
  put(sel::execute_only, flat(static_cast<u16>((code_rights | wide) & ~access_rights::readable)));
  put(sel::read_only, flat(static_cast<u16>((data_rights | wide) & ~access_rights::writable)));
  put(sel::code_ring1, flat(static_cast<u16>(code_rights | wide | ring(1))));
  put(sel::data_ring1, flat(static_cast<u16>(data_rights | wide | ring(1))));
  put(sel::expand_down, Descriptor::make(0, 0x0fff, data_rights | access_rights::expand_down | wide));
  put(sel::tss, Descriptor::make(at::tss, 0xff, system_rights(SystemType::tss_available)));
  put(sel::tss2, Descriptor::make(at::tss2, 0xff, system_rights(SystemType::tss_available, 3)));
  put(sel::tss16, Descriptor::make(at::tss3, 0xff, system_rights(SystemType::tss16_available, 3)));
  put(sel::ldt, Descriptor::make(at::ldt, 0xff, system_rights(SystemType::ldt)));
  const u16 inner = long_mode ? sel::code64 : sel::code32;
  write(at::gdt + (sel::call_gate & ~7u), gate(SystemType::call_gate, 3, inner, at::inner_code, long_mode ? 0 : 2), 8);
  write(at::gdt + (sel::call_gate16 & ~7u), gate(SystemType::call_gate16, 3, sel::code32, 0xf000, 1), 8);
  write(at::gdt + (sel::task_gate & ~7u), gate(SystemType::task_gate, 3, sel::tss2, 0), 8);

  for (unsigned vector = 0; vector < 256; ++vector) {
    const u32 handler = static_cast<u32>(at::handlers + vector * 16);
    write(handler, 0xf4, 1);
    // Vectors from 80H on may be called by anyone.
    const unsigned dpl = vector >= 0x80 || vector == 3 || vector == 4 ? 3 : 0;
    const SystemType type = vector & 1 ? SystemType::trap_gate : SystemType::interrupt_gate;
    if (long_mode) {
      write(at::idt + vector * 16, gate(type, dpl, sel::code64, handler, vector == 8 ? 1 : 0), 8);
      write(at::idt + vector * 16 + 8, 0, 8);
    } else if (mode_ == Mode::real) {
      write(at::ivt + vector * 4, handler, 4);
    } else {
      write(at::idt + vector * 8, gate(type, dpl, sel::code32, handler), 8);
    }
  }
  if (long_mode) {
    write(at::tss + tss64::stacks, at::inner_stack, 8);
    write(at::tss + tss64::interrupt_stacks, at::interrupt_stack, 8);
  } else {
    write(at::tss + tss32::stacks, at::inner_stack, 4);
    write(at::tss + tss32::stacks + 4, sel::data, 2);
    write(at::tss + tss32::stacks + 8, at::interrupt_stack, 4);
    write(at::tss + tss32::stacks + 12, sel::data_ring1, 2);
  }
  write(at::tss + tss32::io_map_base, 0x80, 2);  // ports 0 and up: allowed where the bit is 0
  write(at::tss + 0x80 + 0x88 / 8, 0xff, 1);     // ports 88H–8FH are not
  if (long_mode || mode_ == Mode::protected32) build_long_mode_tables();
}

// The first 4 MiB identically, in 4 KiB pages (the page tables follow the directory in RAM's last 64 KiB).
void SmallGuest::build_long_mode_tables() {
  constexpr u64 rights = 7, tables = at::ram_bytes - 0x1'0000;
  write(at::pml4, at::pdpt | rights, 8);
  write(at::pdpt, at::directory | rights, 8);
  for (u64 table = 0; table < 2; ++table) {
    write(at::directory + table * 8, (tables + table * 0x1000) | rights, 8);
    for (u64 page = 0; page < 512; ++page) {
      const u64 address = table << 21 | page << 12;
      u64 entry = address | rights;
      if (address == at::read_only_page) entry &= ~u64{2};
      if (address == at::supervisor_page) entry &= ~u64{4};
      write(tables + table * 0x1000 + page * 8, entry, 8);
    }
  }
}

void SmallGuest::enter(Mode mode) {
  X86State& s = state_;
  const auto load = [&](Segment segment, u16 selector) {
    s.segments[segment] = Descriptor{read(at::gdt + (selector & ~7u), 8)}.to_register(selector);
  };
  s.rip = at::code;
  s.cr0 = cr0::et | cr0::ne;
  s.gpr[rsp] = at::kernel_stack;
  if (mode == Mode::real) {
    for (auto& segment : s.segments)
      segment = {.base = 0, .limit = 0xffff, .selector = 0, .attributes = access_rights::flat_data};
    s.segments[cs].selector = at::code >> 4;
    s.segments[cs].base = at::code;
    s.rip = 0;
    s.gpr[rsp] = 0x7f00;
    s.idtr = {.base = at::ivt, .limit = 0x3ff};
    return;
  }
  s.cr0 |= cr0::pe;
  s.gdtr = {.base = at::gdt, .limit = 0x1ff};
  s.idtr = {.base = at::idt, .limit = static_cast<u16>(is_long(mode) ? 0xfff : 0x7ff)};
  s.tr = Descriptor{read(at::gdt + sel::tss, 8)}.to_register(sel::tss);
  s.tr.attributes |= tss_busy_bit;
  write(at::gdt + sel::tss + 5, read(at::gdt + sel::tss + 5, 1) | tss_busy_bit, 1);
  const bool user = mode == Mode::user32 || mode == Mode::long64_user || mode == Mode::compat32_user;
  const u16 data = user ? sel::user_data : sel::data;
  for (Segment segment : {es, ss, ds, fs, gs}) load(segment, data);
  switch (mode) {
    case Mode::protected16:
      load(cs, sel::code16);
      s.rip = 0;
      break;
    case Mode::protected32: load(cs, sel::code32); break;
    case Mode::user32:
    case Mode::compat32_user: load(cs, sel::user_code32); break;
    case Mode::long64: load(cs, sel::code64); break;
    case Mode::long64_user: load(cs, sel::user_code64); break;
    default: break;
  }
  if (user) s.gpr[rsp] = at::user_stack;
  if (mode == Mode::vm86) {
    s.rflags |= rflags::vm;
    for (auto& segment : s.segments)
      segment = {.base = 0, .limit = 0xffff, .selector = 0, .attributes = data_rights | 0x60};
    s.segments[cs].selector = at::code >> 4;
    s.segments[cs].base = at::code;
    s.rip = 0;
    s.gpr[rsp] = 0x7f00;
  }
  if (is_long(mode)) {
    s.cr0 |= cr0::pg | cr0::wp;
    s.cr3 = at::pml4;
    s.cr4 = cr4::pae | cr4::pge | cr4::osfxsr;
    s.efer = efer::lme | efer::lma | efer::nxe | efer::sce;
  }
}

bool SmallGuest::in_handler(u64 linear, unsigned& vector) const {
  if (linear < at::handlers || linear >= at::handlers + 256 * 16) return false;
  vector = static_cast<unsigned>((linear - at::handlers) / 16);
  return true;
}

unsigned SmallGuest::frame_bytes() const { return is_long(mode_) ? 8 : mode_ == Mode::real ? 2 : 4; }

u64 SmallGuest::frame_word(unsigned index) const {
  const unsigned bytes = frame_bytes();
  const u64 top = state_.segments[ss].base + state_.gpr[rsp];
  return read((is_long(mode_) ? state_.gpr[rsp] : top) + (index + frame_has_error_) * bytes, bytes);
}

std::string SmallGuest::run(u64 budget) {
  vcpu_->set_state(state_);
  const VcpuExit exit = vcpu_->run(budget);
  state_ = vcpu_->get_state();
  if (std::holds_alternative<TripleFault>(exit)) return "triple fault";
  const u64 linear = state_.rip + (is_long(mode_) ? 0 : state_.segments[cs].base);
  if (!std::holds_alternative<Halted>(exit)) return fmt::format("running at {:x}", linear - at::code);
  unsigned vector = 0;
  if (!in_handler(linear - 1, vector)) return fmt::format("halt at {:x}", linear - at::code);
  frame_has_error_ = pushes_error(vector) && mode_ != Mode::real;
  const u64 saved = frame_word(0);
  const bool flat = is_long(mode_) || mode_ == Mode::protected32 || mode_ == Mode::user32;
  const std::string where = fmt::format("{:x}", flat ? saved - at::code : saved);
  if (!frame_has_error_) return fmt::format("#{} at {}", vector, where);
  frame_has_error_ = false;
  const u64 error = frame_word(0);
  frame_has_error_ = true;
  return fmt::format("#{}({:x}) at {}", vector, error, where);
}

u64 SmallGuest::value_of(std::string_view name) const {
  static constexpr std::string_view gprs[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                              "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
  static constexpr std::string_view segments[] = {"es", "cs", "ss", "ds", "fs", "gs"};
  for (unsigned i = 0; i < 16; ++i)
    if (gprs[i] == name) return state_.gpr[i];
  for (unsigned i = 0; i < 6; ++i)
    if (segments[i] == name) return state_.segments[i].selector;
  if (name == "cpl") return state_.rflags & rflags::vm ? 3 : state_.cpl();
  if (name == "rip") return state_.rip;
  if (name == "flags") return state_.rflags;
  if (name == "cr0") return state_.cr0;
  if (name == "cr2") return state_.cr2;
  if (name == "cr3") return state_.cr3;
  if (name == "cr4") return state_.cr4;
  if (name == "efer") return state_.efer;
  if (name == "dr6") return state_.dr[6];
  if (name == "dr7") return state_.dr[7];
  if (name == "tr") return state_.tr.selector;
  if (name == "ldtr") return state_.ldtr.selector;
  if (name == "fs.base") return state_.segments[fs].base;
  if (name == "gs.base") return state_.segments[gs].base;
  if (name == "frame.cs") return frame_word(1);
  if (name == "frame.flags") return frame_word(2);
  if (name == "frame.sp") return frame_word(3);
  if (name == "frame.ss") return frame_word(4);
  if (name.starts_with('[')) {
    u64 address = 0;
    std::from_chars(name.data() + 1, name.data() + name.size() - 1, address, 16);
    return read(address, 4);
  }
  CHECK(!"a name that values() knows");
  return 0;
}

std::string SmallGuest::values(std::string_view names) const {
  std::string text;
  while (!names.empty()) {
    const std::size_t end = std::min(names.find(' '), names.size());
    const std::string_view name = names.substr(0, end);
    names.remove_prefix(std::min(end + 1, names.size()));
    if (!text.empty()) text += ' ';
    text += fmt::format("{}={:x}", name, value_of(name));
  }
  return text;
}

}  // namespace doppel::test
