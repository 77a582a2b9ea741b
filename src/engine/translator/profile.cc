#include "engine/translator/profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace doppel::translator {

namespace {
constexpr std::size_t most_shown = 12;
}

void Profile::add(const CodePlace& place, u64 entered) {
  instructions_[{place.rip, place.user}] += entered * place.instructions;
}

std::string Profile::text() const {
  std::vector<std::pair<u64, std::pair<u64, bool>>> most;
  u64 total = 0;
  for (const auto& [place, count] : instructions_) {
    most.emplace_back(count, place);
    total += count;
  }
  if (total == 0) return {};
  std::sort(most.rbegin(), most.rend());
  if (most.size() > most_shown) most.resize(most_shown);
  std::string out = "  blocks with most instructions:\n";
  for (const auto& [count, place] : most)
    out += fmt::format("  {:>11.2f}% {:016x} {}\n", 100.0 * static_cast<double>(count) / static_cast<double>(total),
                       place.first, place.second ? "user" : "kernel");
  return out;
}

}  // namespace doppel::translator
