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

std::string Statistics::text(unsigned vcpu, u64 instructions, u64 walks, u64 epochs) const {
  const auto departed = [&](DepartureKind kind) { return departures[static_cast<unsigned>(kind)]; };
  std::string out = fmt::format("vcpu {}: {} instructions, {:.2f}% of them interpreted\n", vcpu, instructions,
                                percent(interpreted_instructions, instructions));
  const auto milliseconds = [](std::chrono::nanoseconds time) {
    return std::chrono::duration<double, std::milli>(time).count();
  };
  out += fmt::format(
      "  translated {} blocks to {} bytes, {} of them seldom used, in {:.1f} ms; all dropped {} times, in {:.2f} ms at "
      "most; {} code changes\n",
      translated_blocks, translated_bytes, translated_bytes - hot_bytes, milliseconds(translating), flushes,
      milliseconds(longest_flush), code_changes);
  // Accesses are not counted, so that they cost nothing: the rate is a bound, as if each instruction made one.
  const u64 probes_missed = tlb_misses + refills;
  out += fmt::format(
      "  TLB: {} probes of translated code missed, or met pages that are watched, devices or page boundaries: one in "
      "{:.0f} instructions; {} of them only needed a walk; {} walks of page tables, for code and in the interpreter "
      "too; "
      "{} faults\n",
      probes_missed, probes_missed ? static_cast<double>(instructions) / static_cast<double>(probes_missed) : 0,
      refills, walks, faults);
  out += fmt::format(
      "  jump cache: {} targets were not in it, but translated; emptied {} times; {} links between pages\n"
      "  {} groups of accesses met the end of a page\n",
      lookups, epochs, links, narrowed);
  out += fmt::format(
      "  left translated code: {} for an instruction, {} for a probe that missed, {} at a direct exit, {} at an "
      "indirect "
      "branch, {} when polled\n",
      departed(DepartureKind::site) - tlb_misses, tlb_misses, departed(DepartureKind::exit),
      departed(DepartureKind::lookup), departed(DepartureKind::poll));
  std::vector<std::pair<u64, x86::Mnemonic>> most;
  for (std::size_t i = 0; i < outlined.size(); ++i)
    if (outlined[i]) most.emplace_back(outlined[i], static_cast<x86::Mnemonic>(i));
  std::sort(most.rbegin(), most.rend());
  if (most.size() > most_shown) most.resize(most_shown);
  for (const auto& [count, mnemonic] : most) out += fmt::format("  {:>12} {}\n", count, x86::mnemonic_name(mnemonic));
  return out;
}

}  // namespace doppel::translator
