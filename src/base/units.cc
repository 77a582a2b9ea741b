// Sizes: see units.h.
#include "base/units.h"

#include <fmt/format.h>

#include <array>
#include <charconv>

namespace doppel {

namespace {

struct Unit {
  char letter;
  u64 bytes;
};
constexpr std::array units{Unit{'T', GiB << 10}, Unit{'G', GiB}, Unit{'M', MiB}, Unit{'K', KiB}};

char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

}  // namespace

Result<u64> parse_size(std::string_view text) {
  const auto malformed = [&] {
    return usage_error(
        fmt::format("'{}' is not a size: give a number with an optional K, M, G or T, such as 512M", text));
  };
  u64 number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, problem] = std::from_chars(text.data(), end, number);
  if (problem == std::errc::result_out_of_range) return usage_error(fmt::format("the size '{}' is too large", text));
  if (problem != std::errc{}) return malformed();

  std::string_view suffix(rest, static_cast<std::size_t>(end - rest));
  u64 scale = 1;
  if (!suffix.empty()) {
    for (const Unit& unit : units) {
      if (unit.letter == upper(suffix[0])) scale = unit.bytes;
    }
    if (scale == 1) return malformed();
    suffix.remove_prefix(1);
    if (!suffix.empty() && suffix != "iB" && suffix != "B") return malformed();
  }
  u64 bytes = 0;
  if (__builtin_mul_overflow(number, scale, &bytes))
    return usage_error(fmt::format("the size '{}' is too large", text));
  return bytes;
}

std::string format_size(u64 bytes) {
  for (const Unit& unit : units) {
    if (bytes != 0 && bytes % unit.bytes == 0) return fmt::format("{} {}iB", bytes / unit.bytes, unit.letter);
  }
  return fmt::format("{} bytes", bytes);
}

}  // namespace doppel
