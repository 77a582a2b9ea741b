// A text as JSON writes it (RFC 8259 §7), for the commands' --json.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace doppel::cli {

inline std::string json_text(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      result += fmt::format("\\u{:04x}", c);
    } else {
      result += c;
    }
  }
  return result + '"';
}

}  // namespace doppel::cli
