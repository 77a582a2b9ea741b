#include "engine/translator/statistics.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "isa/x86/decoder.h"

namespace doppel::translator {
namespace {

constexpr std::size_t most_shown = 12;

double percent(u64 part, u64 whole) {
  return whole ? 100.0 * static_cast<double>(part) / static_cast<double>(whole) : 0;
}

}  // namespace

std::string Statistics::text(unsigned vcpu, u64 instructions) const {
  const auto departed = [&](DepartureKind kind) { return departures[static_cast<unsigned>(kind)]; };
  std::string out = fmt::format("vcpu {}: {} instructions, {:.2f}% of them interpreted\n", vcpu, instructions,
                                percent(interpreted_instructions, instructions));
  out += fmt::format("  translated {} blocks to {} bytes in {:.1f} ms; all dropped {} times; {} code changes\n",
                     translated_blocks, translated_bytes,
                     std::chrono::duration<double, std::milli>(translating).count(), flushes, code_changes);
  out += fmt::format(
      "  left translated code: {} for an instruction, {} for a TLB miss, {} at a direct exit, {} at an indirect "
      "branch, {} when polled\n",
      departed(DepartureKind::site) - tlb_misses, tlb_misses, departed(DepartureKind::exit),
      departed(DepartureKind::lookup), departed(DepartureKind::poll));
  std::vector<std::pair<u64, x86::Mnemonic>> most;
  for (const auto& [mnemonic, count] : outlined) most.emplace_back(count, mnemonic);
  std::sort(most.rbegin(), most.rend());
  if (most.size() > most_shown) most.resize(most_shown);
  for (const auto& [count, mnemonic] : most) out += fmt::format("  {:>12} {}\n", count, x86::mnemonic_name(mnemonic));
  return out;
}

}  // namespace doppel::translator
