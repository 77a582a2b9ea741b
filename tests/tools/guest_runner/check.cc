#include "check.h"

#include <fmt/format.h>

#include <array>
#include <cstring>

namespace doppel::guest {

using namespace x86;

namespace {

// An event record as the guest's recorder writes it; tests/guest/include/recorder.inc.
struct Event {
  u64 vector, error, rip, cs, rflags, rsp, ss, cr2, dr6, handler_rsp, handler_ss, handler_cs, expected_rip, unused[3];
};
static_assert(sizeof(Event) == 128);
constexpr u64 event_count_at = 0x520, events_at = 0x1000, event_limit = 31;

u64 read_memory(const PhysicalMemory& memory, u64 address, unsigned bytes) {
  u64 value = 0;
  const auto range = memory.host_range(address);
  if (range.data && range.size >= bytes) std::memcpy(&value, range.data, bytes);
  return value;
}

std::vector<Event> recorded_events(const PhysicalMemory& memory) {
  const u64 count = std::min(read_memory(memory, event_count_at, 4), event_limit);
  std::vector<Event> events(count);
  if (count) std::memcpy(events.data(), memory.ram() + events_at, count * sizeof(Event));
  return events;
}

bool has_error_code(u64 vector) { return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17; }

std::string describe(const Event& event) {
  const auto name = vector_name(static_cast<u8>(event.vector));
  if (has_error_code(event.vector)) return fmt::format("{}({:#x})@{:#x}", name, event.error, event.rip);
  return fmt::format("{}@{:#x}", name, event.rip);
}

std::optional<u64> value_in_event(const Event& event, std::string_view name) {
  struct Field {
    std::string_view name;
    u64 Event::* value;
  };
  static constexpr Field fields[] = {{"vector", &Event::vector},
                                     {"error", &Event::error},
                                     {"rip", &Event::rip},
                                     {"cs", &Event::cs},
                                     {"rflags", &Event::rflags},
                                     {"rsp", &Event::rsp},
                                     {"ss", &Event::ss},
                                     {"cr2", &Event::cr2},
                                     {"dr6", &Event::dr6},
                                     {"frame", &Event::handler_rsp},
                                     {"handler_ss", &Event::handler_ss},
                                     {"handler_cs", &Event::handler_cs}};
  for (const Field& field : fields)
    if (field.name == name) return event.*field.value;
  return std::nullopt;
}

constexpr std::array<std::string_view, 16> gpr_names{"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                                     "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
constexpr std::array<std::string_view, 8> gpr32_names{"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"};
constexpr std::array<std::string_view, 6> segment_names{"es", "cs", "ss", "ds", "fs", "gs"};

std::optional<u64> value_of_segment(const SegmentRegister& segment, std::string_view part) {
  if (part.empty()) return segment.selector;
  if (part == ".base") return segment.base;
  if (part == ".limit") return segment.limit;
  if (part == ".rights") return segment.attributes;
  return std::nullopt;
}

std::optional<u64> value_of_system_register(const X86State& s, std::string_view name) {
  struct Field {
    std::string_view name;
    u64 X86State::* value;
  };
  static constexpr Field fields[] = {{"rip", &X86State::rip},   {"rflags", &X86State::rflags},
                                     {"cr0", &X86State::cr0},   {"cr2", &X86State::cr2},
                                     {"cr3", &X86State::cr3},   {"cr4", &X86State::cr4},
                                     {"efer", &X86State::efer}, {"kernel_gs_base", &X86State::kernel_gs_base}};
  for (const Field& field : fields)
    if (field.name == name) return s.*field.value;
  if (name.size() == 3 && name.starts_with("dr") && name[2] >= '0' && name[2] <= '7')
    return s.dr[static_cast<unsigned>(name[2] - '0')];
  if (name == "cpl") return s.cpl();
  if (name == "gdtr.base") return s.gdtr.base;
  if (name == "gdtr.limit") return s.gdtr.limit;
  if (name == "idtr.base") return s.idtr.base;
  if (name == "idtr.limit") return s.idtr.limit;
  if (name == "mxcsr") return s.mxcsr;
  if (name == "fsw") return s.fpu.status;
  if (name == "fcw") return s.fpu.control;
  return std::nullopt;
}

std::optional<u64> value_of_register(const X86State& s, std::string_view name) {
  for (unsigned i = 0; i < 16; ++i)
    if (gpr_names[i] == name) return s.gpr[i];
  for (unsigned i = 0; i < 8; ++i)
    if (gpr32_names[i] == name) return s.gpr[i] & 0xffff'ffff;
  if (const auto value = value_of_system_register(s, name)) return value;
  const auto dot = name.find('.');
  const std::string_view which = name.substr(0, dot);
  const std::string_view part = dot == std::string_view::npos ? std::string_view{} : name.substr(dot);
  for (unsigned i = 0; i < 6; ++i)
    if (segment_names[i] == which) return value_of_segment(s.segments[i], part);
  if (which == "tr") return value_of_segment(s.tr, part);
  if (which == "ldtr") return value_of_segment(s.ldtr, part);
  return std::nullopt;
}

class Checker {
 public:
  Checker(const Case& test, const X86State& state, const PhysicalMemory& memory)
      : test_(test), state_(state), memory_(memory), events_(recorded_events(memory)) {}

  std::vector<std::string> run(const std::string& exit) {
    if (exit != test_.exit)
      problems_.push_back(fmt::format("ended with {} at {:#x} instead of {}", exit, state_.rip, test_.exit));
    check_events();
    for (const ExpectedValue& value : test_.values) check_value(value);
    return std::move(problems_);
  }

 private:
  void check_events() {
    const std::size_t count = std::max(events_.size(), test_.events.size());
    for (std::size_t i = 0; i < count; ++i) {
      if (i >= events_.size())
        problems_.push_back(fmt::format("event {}: {} did not happen", i, test_.events[i].text));
      else if (i >= test_.events.size())
        problems_.push_back(fmt::format("event {}: {} was not expected", i, describe(events_[i])));
      else
        check_event(i, events_[i], test_.events[i]);
    }
  }

  void check_event(std::size_t i, const Event& event, const ExpectedEvent& expected) {
    const bool same = event.vector == expected.vector && (!expected.error || event.error == *expected.error) &&
                      (!expected.rip || event.rip == *expected.rip);
    if (!same) {
      std::string wanted = expected.text;
      if (expected.rip) wanted += fmt::format(" ({:#x})", *expected.rip);
      problems_.push_back(fmt::format("event {}: {} instead of {}", i, describe(event), wanted));
    } else if (event.expected_rip && event.rip != event.expected_rip) {
      problems_.push_back(fmt::format("event {}: {} came from {:#x}", i, describe(event), event.expected_rip));
    }
  }

  std::optional<u64> find(const ExpectedValue& expected) const {
    if (expected.bytes) return read_memory(memory_, expected.address, expected.bytes);
    const std::string_view name = expected.name;
    const auto dot = name.find('.');
    if (name.size() < 4 || name[0] != 'e' || name[1] < '0' || name[1] > '9' || dot == std::string_view::npos)
      return value_of_register(state_, name);
    const u64 index = std::stoul(std::string(name.substr(1, dot - 1)));
    if (index >= events_.size()) return 0;  // has been said already
    return value_in_event(events_[index], name.substr(dot + 1));
  }

  void check_value(const ExpectedValue& expected) {
    const auto value = find(expected);
    if (!value)
      problems_.push_back(fmt::format("nothing is called '{}'", expected.name));
    else if ((*value ^ expected.value) & expected.mask)
      problems_.push_back(fmt::format("{}: is {:#x}", expected.text, *value & expected.mask));
  }

  const Case& test_;
  const X86State& state_;
  const PhysicalMemory& memory_;
  const std::vector<Event> events_;
  std::vector<std::string> problems_;
};

}  // namespace

std::vector<std::string> check(const Case& test, const std::string& exit, const X86State& state,
                               const PhysicalMemory& memory) {
  return Checker(test, state, memory).run(exit);
}

}  // namespace doppel::guest
