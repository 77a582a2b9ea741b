// Reads the comment blocks of a guest test.
#include "guest_case.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "base/units.h"

namespace doppel::guest {

namespace {

constexpr std::array<std::pair<std::string_view, u32>, 9> mode_words{{
    {"real16", 0},
    {"protected32", 1},
    {"paged32", 2},
    {"pae32", 3},
    {"long64", 4},
    {"compat32", 5},
    {"vm86", 6},
    {"user", 0x100},
    {"iopl3", 0x200},
}};

constexpr std::array<std::string_view, 20> vector_names{"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD",
                                                        "#NM", "#DF", "",    "#TS", "#NP", "#SS", "#GP",
                                                        "#PF", "",    "#MF", "#AC", "#MC", "#XM"};

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const auto end = text.find(separator);
    if (const auto part = trim(text.substr(0, end)); !part.empty()) parts.push_back(part);
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

using Settings = std::map<std::string, std::string, std::less<>>;

constexpr std::array<std::string_view, 7> keys{"mode", "cpus", "memory", "budget", "exit", "events", "expect"};

// "; mode: long64" into `settings`; a deeper comment goes on with the last key. True if the line was a setting.
bool read_setting(std::string_view line, Settings& settings, std::string& last) {
  const std::string_view text = line.substr(1);
  if (text.starts_with("   ") && !last.empty()) {
    settings[last] += fmt::format(" {}", trim(text));
    return true;
  }
  last.clear();
  const std::string_view body = trim(text);
  const auto colon = body.find(':');
  if (colon == std::string_view::npos) return false;
  for (const std::string_view key : keys) {
    if (body.substr(0, colon) != key) continue;
    last = key;
    std::string& value = settings[last];
    value = value.empty() || (key != "events" && key != "expect")
                ? std::string(trim(body.substr(colon + 1)))
                : fmt::format("{}, {}", value, trim(body.substr(colon + 1)));
    return true;
  }
  return false;
}

std::optional<std::string_view> global_label(std::string_view line) {
  const auto end = line.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_");
  if (end == 0 || end == std::string_view::npos || line[end] != ':') return std::nullopt;
  return line.substr(0, end);
}

// "a=b" at the first '='; "rflags&RF=RF" has a mask.
Result<ExpectedValue> parse_value(std::string_view text, const Symbols& symbols, std::string_view scope) {
  ExpectedValue result{.text = std::string(text)};
  const auto equals = text.find('=');
  if (equals == std::string_view::npos) return fail(fmt::format("'{}' has no '='", text));
  std::string_view left = trim(text.substr(0, equals));
  result.value = TRY(symbols.evaluate(trim(text.substr(equals + 1)), scope));
  if (const auto mask = left.find('&'); mask != std::string_view::npos) {
    result.mask = TRY(symbols.evaluate(trim(left.substr(mask + 1)), scope));
    left = trim(left.substr(0, mask));
  }
  const auto bracket = left.find('[');
  if (bracket == std::string_view::npos) {
    result.name = left;
    return result;
  }
  const std::string_view size = trim(left.substr(0, bracket));
  result.bytes = size == "byte"                    ? 1
                 : size == "word"                  ? 2
                 : size == "qword"                 ? 8
                 : size.empty() || size == "dword" ? 4
                                                   : 0;
  if (result.bytes == 0 || !left.ends_with(']')) return fail(fmt::format("'{}' is no place in memory", left));
  result.address = TRY(symbols.evaluate(trim(left.substr(bracket + 1, left.size() - bracket - 2)), scope));
  return result;
}

// Vector and error code: "#PF(7)", "NMI", "int(0x40)".
Result<> parse_event_name(std::string_view name, const Symbols& symbols, std::string_view scope, ExpectedEvent& event) {
  std::optional<u64> argument;
  if (const auto open = name.find('('); open != std::string_view::npos) {
    const auto close = name.find(')');
    if (close == std::string_view::npos) return fail(fmt::format("'{}' lacks a ')'", name));
    argument = TRY(symbols.evaluate(trim(name.substr(open + 1, close - open - 1)), scope));
    name = trim(name.substr(0, open));
  }
  if (name == "int") {
    event.vector = static_cast<u8>(argument.value_or(0));
    return {};
  }
  for (unsigned i = 0; i < vector_names.size(); ++i)
    if (vector_names[i] == name) {
      event.vector = static_cast<u8>(i);
      event.error = argument;
      return {};
    }
  return fail(fmt::format("no event is called '{}'", name));
}

// "#GP(0)@.label" or "#GP(0) x3".
Result<> parse_event(std::string_view text, const Symbols& symbols, std::string_view scope,
                     std::vector<ExpectedEvent>& events) {
  ExpectedEvent event{.text = std::string(text)};
  unsigned times = 1;
  if (const auto x = text.rfind(" x"); x != std::string_view::npos) {
    times = static_cast<unsigned>(TRY(symbols.evaluate(trim(text.substr(x + 2)), scope)));
    text = trim(text.substr(0, x));
  }
  if (const auto at = text.find('@'); at != std::string_view::npos) {
    event.rip = TRY(symbols.evaluate(trim(text.substr(at + 1)), scope));
    text = trim(text.substr(0, at));
  }
  TRY(parse_event_name(text, symbols, scope, event));
  events.insert(events.end(), times, event);
  return {};
}

Result<u32> parse_mode(std::string_view text) {
  u32 mode = 0;
  for (const std::string_view word : split(text, ' ')) {
    bool known = false;
    for (const auto& [name, value] : mode_words)
      if (name == word) {
        mode |= value;
        known = true;
      }
    if (!known) return fail(fmt::format("no mode is called '{}'", word));
  }
  return mode;
}

Result<> add_cases(const std::string& file, std::string_view label, const Settings& settings, Program& program) {
  const auto setting = [&](std::string_view key) -> std::string_view {
    const auto found = settings.find(key);
    return found == settings.end() ? std::string_view{} : std::string_view(found->second);
  };
  const auto modes = split(setting("mode"), '|');
  if (modes.empty()) return fail("no mode is given");
  Case common;
  common.entry = TRY(program.symbols.evaluate(label, ""));
  if (const auto text = setting("cpus"); !text.empty())
    common.cpus = static_cast<unsigned>(TRY(program.symbols.evaluate(text, "")));
  if (const auto text = setting("memory"); !text.empty()) common.memory_bytes = TRY(parse_size(text));
  if (const auto text = setting("budget"); !text.empty()) common.budget = TRY(program.symbols.evaluate(text, ""));
  if (const auto text = setting("exit"); !text.empty()) common.exit = text;
  for (const auto part : split(setting("events"), ',')) TRY(parse_event(part, program.symbols, label, common.events));
  for (const auto part : split(setting("expect"), ','))
    common.values.push_back(TRY(parse_value(part, program.symbols, label)));
  for (const auto mode : modes) {
    Case each = common;
    each.mode = TRY(parse_mode(mode));
    each.name = fmt::format("{}.{}", file, label);
    if (modes.size() > 1) {
      each.name += fmt::format(".{}", mode);
      for (char& c : each.name)
        if (c == ' ') c = '_';
    }
    program.cases.push_back(std::move(each));
  }
  return {};
}

Result<std::vector<u8>> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return fail_errno(fmt::format("cannot open '{}'", path));
  return std::vector<u8>(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

std::string vector_name(u8 vector) {
  if (vector < vector_names.size() && !vector_names[vector].empty()) return std::string(vector_names[vector]);
  return fmt::format("int({:#x})", vector);
}

Result<Program> load_program(const std::string& source, const std::string& binaries) {
  const std::string stem = std::filesystem::path(source).stem();
  Program program;
  program.image = TRY(read_file(fmt::format("{}/{}.bin", binaries, stem)));
  program.symbols = TRY(Symbols::read(fmt::format("{}/{}.map", binaries, stem)));
  program.load_address = TRY(program.symbols.evaluate("IMAGE", ""));

  std::ifstream file(source);
  if (!file) return fail_errno(fmt::format("cannot open '{}'", source));
  Settings defaults, current;
  std::string last;
  bool in_header = true;  // until the first include: settings are every case's
  unsigned number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    if (line.starts_with(';')) {
      read_setting(line, in_header ? defaults : current, last);
      continue;
    }
    last.clear();
    if (line.starts_with("%include")) in_header = false;
    const auto label = global_label(line);
    if (!label || current.empty()) continue;
    Settings all = defaults;
    for (const auto& [key, value] : current) all[key] = value;
    if (auto added = add_cases(stem, *label, all, program); !added)
      return fail(fmt::format("{}:{}: {}", source, number, added.error().message));
    current.clear();
  }
  return program;
}

}  // namespace doppel::guest
