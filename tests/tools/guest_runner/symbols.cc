// The assembler's map file, and expressions over it.
#include <fmt/format.h>

#include <charconv>
#include <fstream>
#include <sstream>

#include "guest_case.h"

namespace doppel::guest {

namespace {

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::optional<u64> number(std::string_view text) {
  const bool hex = text.starts_with("0x");
  if (hex) text.remove_prefix(2);
  u64 value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, hex ? 16 : 10);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

// Lines "00001234  NAME" (constants) and "  8000  8000  NAME" (labels).
Result<Symbols> Symbols::read(const std::string& map_path) {
  std::ifstream file(map_path);
  if (!file) return fail_errno(fmt::format("cannot open '{}'", map_path));
  Symbols symbols;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::vector<std::string> fields;
    for (std::string word; words >> word;) fields.push_back(word);
    if (fields.size() != 2 && fields.size() != 3) continue;
    if (const auto value = number("0x" + fields[fields.size() - 2])) symbols.values_[fields.back()] = *value;
  }
  return symbols;
}

Result<u64> Symbols::term(std::string_view text, std::string_view scope) const {
  if (const auto value = number(text)) return *value;
  const std::string name = text.starts_with('.') ? fmt::format("{}{}", scope, text) : std::string(text);
  const auto found = values_.find(name);
  if (found == values_.end()) return fail(fmt::format("nothing is called '{}'", name));
  return found->second;
}

Result<u64> Symbols::evaluate(std::string_view expression, std::string_view scope) const {
  u64 sum = 0;
  char operation = '+';
  while (true) {
    const auto end = expression.find_first_of("+-|");
    const u64 value = TRY(term(trim(expression.substr(0, end)), scope));
    switch (operation) {
      case '+': sum += value; break;
      case '-': sum -= value; break;
      default: sum |= value; break;
    }
    if (end == std::string_view::npos) return sum;
    operation = expression[end];
    expression.remove_prefix(end + 1);
  }
}

}  // namespace doppel::guest
