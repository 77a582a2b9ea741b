// Device tests as data: a script of accesses and passing time, and the transcript that it must leave. check_script() also cuts
// the script at every command, saves the devices there, loads them into new ones and wants the same transcript.
//
//   out PORT,VALUE  outw  outl  outq   in PORT  inw  inl  inq   all numbers hexadecimal; reads append the value
//   ns N  us N  ms N  s N              time passes (decimal); appends "|"
//   Anything else is a command of the rig. Interrupt lines append "+name" and "-name" when they change.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <charconv>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "device/device.h"
#include "device/irq_line.h"
#include "device/testing/fake_clock.h"
#include "memory/bus.h"

namespace doppel::testing {

inline u64 parse_number(std::string_view text, int base) {
  u64 value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value, base);
  EXPECT_TRUE(result.ec == std::errc() && result.ptr == text.data() + text.size()) << "not a number: " << text;
  return value;
}

// A device with its clock, bus and lines. A derived rig owns the device, and attaches it in its constructor.
class ScriptRig {
 public:
  virtual ~ScriptRig() = default;

  FakeClock clock;
  Bus bus{u64{1} << 32};
  std::string transcript;

  IrqLine line(const std::string& name) {
    levels_[name] = false;
    return IrqLine([this, name](bool level) {
      if (levels_[name] != level) say((level ? "+" : "-") + name);
      levels_[name] = level;
    });
  }
  void attach(Device& device) {
    devices_.push_back(&device);
    device.reset();
  }
  void map(u64 base, u64 size, IoHandler& handler) { EXPECT_TRUE(bus.map(base, size, handler, "device")); }
  void say(const std::string& text) { transcript += (transcript.empty() ? "" : " ") + text; }
  void pass(Nanoseconds time) {
    clock.advance(time);
    say("|");
  }

  // A command of this rig's own: its name and the rest of the line. Returns false for an unknown one.
  virtual bool command(std::string_view, std::string_view) { return false; }

  void run(std::string_view line) {
    const auto space = std::min(line.find(' '), line.size());
    const std::string_view name = line.substr(0, space), rest = line.substr(std::min(space + 1, line.size()));
    constexpr std::string_view widths = "bwlq";
    static const std::map<std::string_view, Nanoseconds> units{
        {"ns", 1}, {"us", 1000}, {"ms", 1'000'000}, {"s", 1'000'000'000}};
    const auto unit = units.find(name);
    const std::string_view access = name.starts_with("out") ? "out" : name.starts_with("in") ? "in" : "";
    const auto suffix = name.substr(access.size());
    const auto width = suffix.empty() ? 0 : widths.find(suffix);
    if (unit != units.end()) return pass(unit->second * parse_number(rest, 10));
    if (command(name, rest)) return;
    ASSERT_TRUE(!access.empty() && width != widths.npos) << "unknown command: " << line;
    const unsigned bytes = 1u << width;
    if (access == "in") return say(fmt::format("{:x}", bus.read(parse_number(rest, 16), bytes)));
    const auto comma = rest.find(',');
    ASSERT_NE(comma, rest.npos) << line;
    bus.write(parse_number(rest.substr(0, comma), 16), bytes, parse_number(rest.substr(comma + 1), 16));
  }

  std::vector<u8> save() {
    state::Archive archive = state::Archive::for_saving();
    for (Device* device : devices_) device->state(archive);
    return archive.take();
  }
  // Takes the place of `other`: same time, same levels on the wires, which the devices must leave so.
  void load_from(ScriptRig& other) {
    clock.advance(other.clock.now());
    levels_ = other.levels_;
    transcript = other.transcript;
    state::Archive archive = state::Archive::for_loading(other.save());
    for (Device* device : devices_) device->state(archive);
    EXPECT_TRUE(archive.ok()) << archive.status().error().message;
  }

 private:
  std::vector<Device*> devices_;
  std::map<std::string, bool> levels_;
};

inline std::vector<std::string_view> commands_of(std::string_view script) {
  std::vector<std::string_view> commands;
  while (!script.empty()) {
    const auto end = std::min(script.find(';'), script.size());
    std::string_view command = script.substr(0, end);
    script.remove_prefix(std::min(end + 1, script.size()));
    command.remove_prefix(std::min(command.find_first_not_of(' '), command.size()));
    if (!command.empty()) commands.push_back(command);
  }
  return commands;
}

template <class Rig>
void check_script(std::string_view script, std::string_view expected) {
  SCOPED_TRACE(script);
  const std::vector<std::string_view> commands = commands_of(script);
  Rig whole;
  for (const std::string_view command : commands) whole.run(command);
  ASSERT_EQ(whole.transcript, expected);
  for (std::size_t cut = 0; cut <= commands.size(); ++cut) {
    Rig first, second;
    for (std::size_t i = 0; i < cut; ++i) first.run(commands[i]);
    second.load_from(first);
    for (std::size_t i = cut; i < commands.size(); ++i) second.run(commands[i]);
    ASSERT_EQ(second.transcript, expected) << "saved and loaded after command " << cut;
  }
}

}  // namespace doppel::testing
