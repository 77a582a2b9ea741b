// Test scripts: "out 43,34; tick 100; in 40" — commands with hexadecimal arguments, separated by semicolons. A test's
// check(script, expected) performs them and compares what they print.
#pragma once

#include <charconv>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/types.h"

namespace doppel::testing {

struct Command {
  std::string name;
  std::vector<u64> arguments;

  u64 operator[](std::size_t index) const { return index < arguments.size() ? arguments[index] : 0; }
};

inline std::vector<Command> parse_script(std::string_view script) {
  constexpr std::string_view separators = " ,\n";
  std::vector<Command> commands;
  while (!script.empty()) {
    std::string_view line = script.substr(0, script.find(';'));
    script.remove_prefix(line.size() < script.size() ? line.size() + 1 : line.size());
    Command command;
    while (true) {
      const std::size_t start = line.find_first_not_of(separators);
      if (start == line.npos) break;
      line.remove_prefix(start);
      const std::string_view word = line.substr(0, line.find_first_of(separators));
      line.remove_prefix(word.size());
      if (command.name.empty()) {
        command.name = word;
        continue;
      }
      u64 value = 0;
      const auto parsed = std::from_chars(word.data(), word.data() + word.size(), value, 16);
      CHECK(parsed.ec == std::errc() && parsed.ptr == word.data() + word.size());
      command.arguments.push_back(value);
    }
    if (!command.name.empty()) commands.push_back(std::move(command));
  }
  return commands;
}

}  // namespace doppel::testing
