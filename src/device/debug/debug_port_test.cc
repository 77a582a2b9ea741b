// The debug console gives whole lines; the exit port its value.
#include "device/debug/debug_port.h"

#include "device/testing/port_script.h"

namespace doppel {
namespace {

class DebugRig : public testing::ScriptRig {
 public:
  DebugRig() {
    attach(console);
    attach(exit);
    map(0xe9, 1, console);
    map(0xf4, 4, exit);
  }
  bool command(std::string_view name, std::string_view) override {
    if (name == "flush") console.flush();
    return name == "flush";
  }
  DebugConsole console{[this](std::span<const u8> line) { say("'" + std::string(line.begin(), line.end()) + "'"); }};
  DebugExit exit{[this](u32 value) { say(fmt::format("exit {:x}", value)); }};
};

constexpr auto check = testing::check_script<DebugRig>;

TEST(DebugPort, Scripts) {
  check("in e9; out e9,61; out e9,62; out e9,a; out e9,63; flush; flush", "e9 'ab\n' 'c'");
  check("in f4; out f4,10; outl f4,12345678", "0 exit 10 exit 12345678");
}

TEST(DebugPort, LongLinesAreCut) {
  std::size_t calls = 0, bytes = 0;
  DebugConsole console([&](std::span<const u8> line) { ++calls, bytes += line.size(); });
  for (std::size_t i = 0; i < 3 * DebugConsole::longest_line; ++i) console.write({0, 1}, 'x');
  EXPECT_EQ(calls, 3u);
  EXPECT_EQ(bytes, 3 * DebugConsole::longest_line);
}

}  // namespace
}  // namespace doppel
