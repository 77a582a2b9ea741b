// The oracle: random instructions in random states, on the host CPU and on an engine; every architecturally defined difference is an error.
//
//   oracle [--cases N] [--seed S] [--row NAME] [--engine interpreter] [--all-flags] [--verbose]
//
// Cases are spread evenly over the rows. Rows whose result no user program can be compared on are listed, with the reason.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "compare.h"
#include "emulated.h"
#include "engine/interpreter/bind.h"
#include "engine/interpreter/interpreter.h"
#include "engine/translator/translator.h"
#include "native.h"
#include "vendor.h"

namespace doppel::oracle {
namespace {

using x86::CodeMode;

struct Options {
  u64 cases = 300'000;
  u64 seed = 1;
  std::string row;
  bool verbose = false;
  bool all_flags = false;
  std::string engine = "interpreter";
};

struct Tally {
  Row row;
  CodeMode mode;
  u64 cases = 0;
  u64 differences = 0;
  u64 faults = 0;
  std::string first;  // the first difference, in words
};

std::string describe(const Drawn& drawn, const std::string& what) {
  const Case& c = drawn.c;
  std::string bytes;
  for (unsigned i = 0; i < c.code_length; ++i) bytes += fmt::format("{:02x} ", c.code[i]);
  const auto mode = c.compat32 ? CodeMode::compat32 : CodeMode::long64;
  return fmt::format("{}[{}] {}: {}", c.compat32 ? "32-bit " : "", bytes.substr(0, bytes.size() - 1),
                     x86::disassemble(mode, c.registers.rip, c.code), what);
}

class Oracle {
 public:
  Oracle(const Options& options, std::vector<u8> pool, NativeCpu native, std::unique_ptr<EmulatedCpu> emulated)
      : options_(options),
        pool_(std::move(pool)),
        native_(std::move(native)),
        emulated_(std::move(emulated)),
        random_(options.seed) {}

  bool native_in_64() const { return native_in_64_; }

  // A row that never can be drawn (every draw decodes to something else) is a fault of the oracle itself and shows as 0 cases.
  Result<> check(Tally& tally, u64 wanted) {
    while (tally.cases < wanted) {
      std::vector<Drawn> drawn;
      const u64 batch = std::min<u64>(NativeCpu::batch_limit, wanted - tally.cases);
      for (u64 tries = 0; drawn.size() < batch && tries < batch * 200; ++tries)
        if (auto one = draw(decoder_, tally.mode, tally.row, random_, native_in_64_)) drawn.push_back(*one);
      if (drawn.empty()) return {};
      TRY(run_batch(tally, drawn));
    }
    return {};
  }

 private:
  Result<> run_batch(Tally& tally, const std::vector<Drawn>& drawn) {
    std::vector<Case> cases(drawn.size());
    for (std::size_t i = 0; i < drawn.size(); ++i) cases[i] = drawn[i].c;
    std::vector<Outcome> host(drawn.size());
    TRY(native_.run(cases, host));
    Outcome engine;
    for (std::size_t i = 0; i < drawn.size(); ++i) {
      emulated_->run(cases[i], engine);
      follow_host_vendor(drawn[i], pool_, host[i], engine);
      ++tally.cases;
      if (host[i].vector != no_vector) ++tally.faults;
      const std::string what = host[i].ran_away ? "the host never finished it"
                                                : difference(drawn[i], host[i], engine, options_.all_flags);
      if (what.empty()) continue;
      ++tally.differences;
      const std::string text = describe(drawn[i], what);
      if (options_.verbose && tally.differences <= 20) fmt::print("  {}\n", text);
      if (tally.first.empty()) tally.first = text;
    }
    return {};
  }

  Options options_;
  std::vector<u8> pool_;
  x86::Decoder decoder_{x86::host_cpu_model()};
  const bool native_in_64_ = !host_runs_32_bit_code();
  NativeCpu native_;
  std::unique_ptr<EmulatedCpu> emulated_;
  Random random_;
};

// All rows of 64-bit code; of 32-bit code all, too: most instructions differ there in addressing and operand size.
std::vector<Tally> all_rows(const Options& options) {
  const x86::Decoder decoder(x86::host_cpu_model());
  std::vector<Tally> tallies;
  for (CodeMode mode : {CodeMode::long64, CodeMode::compat32})
    for (Row& row : find_rows(decoder, mode))
      if (options.row.empty() || row.name == options.row)
        tallies.push_back({.row = std::move(row), .mode = mode, .first = {}});
  return tallies;
}

const char* mode_name(CodeMode mode) { return mode == CodeMode::long64 ? "64" : "32"; }

int report(const std::vector<Tally>& tallies, const Options& options, bool native_in_64) {
  constexpr u64 least = 500;
  u64 cases = 0, differences = 0, failed = 0, passed = 0, thin = 0, impossible = 0;
  for (const Tally& tally : tallies) {
    if (const auto why = not_checked(tally.row.mnemonic); !why.empty()) {
      if (options.verbose) fmt::print("{}/{}: not checked: {}\n", tally.row.name, mode_name(tally.mode), why);
      continue;
    }
    if (native_in_64 && tally.mode == CodeMode::compat32 && tally.cases == 0) {
      ++impossible;
      if (options.verbose) fmt::print("{}/32: not checked: this host runs no 32-bit code\n", tally.row.name);
      continue;
    }
    cases += tally.cases;
    differences += tally.differences;
    const bool too_few = options.row.empty() && tally.cases < std::min(least, options.cases / tallies.size());
    if (too_few) ++thin;
    if (tally.differences || too_few) {
      ++failed;
      fmt::print("FAIL oracle {}/{}: {} cases, {} differences{}\n", tally.row.name, mode_name(tally.mode), tally.cases,
                 tally.differences, tally.first.empty() ? "" : ": " + tally.first);
    } else {
      ++passed;
      if (options.verbose)
        fmt::print("{}/{}: {} cases, {} of them faults, 0 differences\n", tally.row.name, mode_name(tally.mode),
                   tally.cases, tally.faults);
    }
  }
  fmt::print("oracle: {} rows, {} cases, {} differences, {} rows with too few cases (seed {})\n", passed + failed,
             cases, differences, thin, options.seed);
  if (impossible)
    fmt::print("oracle: {} rows of 32-bit code not checked: this host runs none, and 64-bit code has not the like\n",
               impossible);
  if (!failed && cases) fmt::print("PASS oracle\n");
  return failed || !cases ? 1 : 0;
}

Result<std::unique_ptr<Engine>> make_engine(const std::string& name) {
  if (name == "interpreter") return make_interpreter();
  if (name == "translator") return make_translator({.repeatable = true, .longest_block = 1, .warm_up = 1});
  return usage_error(fmt::format("--engine: unknown engine '{}': use interpreter or translator", name));
}

Result<int> run(const Options& options) {
  std::vector<Tally> tallies = all_rows(options);
  if (tallies.empty()) return usage_error(fmt::format("there is no row '{}'", options.row));
  u64 checked = 0;
  for (const Tally& tally : tallies) checked += not_checked(tally.row.mnemonic).empty();
  auto engine = TRY(make_engine(options.engine));
  std::vector<u8> pool = make_pool(options.seed);
  auto native = TRY(NativeCpu::start(pool));
  auto emulated = TRY(EmulatedCpu::create(*engine, pool));
  Oracle oracle(options, pool, std::move(native), std::move(emulated));
  const u64 each = (options.cases + checked - 1) / std::max<u64>(checked, 1);
  for (Tally& tally : tallies)
    if (not_checked(tally.row.mnemonic).empty()) {
      Result<> done = oracle.check(tally, each);
      if (!done) return fail(fmt::format("{}/{}: {}", tally.row.name, mode_name(tally.mode), done.error().message));
    }
  return report(tallies, options, oracle.native_in_64());
}

}  // namespace
}  // namespace doppel::oracle

int main(int argc, char** argv) {
  doppel::oracle::Options options;
  CLI::App app{"Compares an engine with the host CPU, instruction by instruction."};
  app.add_option("--cases", options.cases, "cases in all, spread evenly over the rows")->capture_default_str();
  app.add_option("--seed", options.seed, "of the random source; a run is repeatable")->capture_default_str();
  app.add_option("--engine", options.engine, "interpreter, or translator: all that it can is translated")
      ->capture_default_str();
  app.add_option("--row", options.row, "only this mnemonic, e.g. add");
  app.add_flag("--verbose", options.verbose, "every row, and up to 20 differences of each");
  app.add_flag("--all-flags", options.all_flags,
               "also what the architecture leaves undefined: engines do there what this host does, so that they agree");
  CLI11_PARSE(app, argc, argv);
  const auto code = doppel::oracle::run(options);
  if (!code) {
    fmt::print(stderr, "oracle: {}\n", code.error().message);
    return 1;
  }
  return *code;
}
