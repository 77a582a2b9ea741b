// Runs the guest tests: small programs in assembly that carry what must come of them (tests/guest/README.md), on every engine.
//
//   guest_runner [--engine NAME] [--sources FOLDER] [--binaries FOLDER] [--trace|--events] [--list] [NAME...]
//
// A NAME chooses cases: "paging", "paging.write_to_read_only". Prints one line PASS or FAIL for each.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>

#include "base/check.h"
#include "base/log.h"
#include "check.h"
#include "engine/interpreter/interpreter.h"
#include "engine/translator/translator.h"
#include "laboratory.h"

namespace doppel::guest {
namespace {

// One that translates what it executes for the n-th time.
std::unique_ptr<Engine> translator(u32 warm_up, bool repeatable = true) {
  auto made = make_translator({.repeatable = repeatable, .warm_up = warm_up});
  CHECK(made);
  return std::move(*made);
}

struct NamedEngine {
  std::string_view name;
  std::unique_ptr<Engine> (*make)();
};
constexpr NamedEngine engines[] = {
    {"interpreter", [] { return make_interpreter({.repeatable = true}); }},
    {"translator", [] { return translator(1); }},
    {"translator, warming up", [] { return translator(3); }},
};
// Its translated code keeps no budgets, and so executes only where none are given.
constexpr NamedEngine free_engine{"translator, running freely", [] { return translator(1, false); }};

// How a case is run. Several processors take turns of different lengths, and then run on threads.
struct Way {
  std::string_view name;
  Schedule schedule;
  u64 quantum;
};
constexpr Way alone[] = {{"", Schedule::turns, 100'000}};
constexpr Way together[] = {{"turns of 1", Schedule::turns, 1},
                            {"turns of 17", Schedule::turns, 17},
                            {"turns of 1000", Schedule::turns, 1000},
                            {"threads", Schedule::threads, 0}};
constexpr Way freely[] = {{"", Schedule::freely, 0}};

struct Options {
  std::string engine;
  std::string sources = "tests/guest";
  std::string binaries = "build/tests/guest";
  std::vector<std::string> names;
  bool trace = false;   // instructions and events
  bool events = false;  // these alone: engines run as they do untraced
  bool list = false;
};

void print_events(TraceHooks& hooks) {
  hooks.exception = [](u8 vector, u64 error, const x86::X86State& s) {
    fmt::print("  {}({:#x}) at {:#x}\n", vector_name(vector), error, s.rip);
  };
  hooks.interrupt = [](u8 vector, const x86::X86State& s) { fmt::print("  {} at {:#x}\n", vector_name(vector), s.rip); };
}

void print_instructions(TraceHooks& hooks) {
  hooks.instruction = [](const x86::X86State& s) {
    fmt::print("  {:04x}:{:08x}  rax={:x} rbx={:x} rcx={:x} rdx={:x} rsi={:x} rdi={:x} rsp={:x} rflags={:x}\n",
               s.segments[x86::cs].selector, s.rip, s.gpr[x86::rax], s.gpr[x86::rbx], s.gpr[x86::rcx], s.gpr[x86::rdx],
               s.gpr[x86::rsi], s.gpr[x86::rdi], s.gpr[x86::rsp], s.rflags);
  };
}

class Runner {
 public:
  explicit Runner(Options options) : options_(std::move(options)) {
    if (options_.trace || options_.events) print_events(hooks_);
    if (options_.trace) print_instructions(hooks_);
  }

  Result<int> run() {
    std::vector<std::string> sources;
    for (const auto& entry : std::filesystem::directory_iterator(options_.sources))
      if (entry.path().extension() == ".asm") sources.push_back(entry.path());
    std::sort(sources.begin(), sources.end());
    for (const std::string& source : sources) {
      const Program program = TRY(load_program(source, options_.binaries));
      for (const Case& test : program.cases)
        if (wanted(test)) TRY(run_case(program, test));
    }
    if (ran_ == 0) return fail("no case was run");
    return failed_ ? 1 : 0;
  }

 private:
  bool wanted(const Case& test) const {
    const auto chosen = [&](const std::string& name) { return test.name == name || test.name.starts_with(name + "."); };
    return options_.names.empty() || std::any_of(options_.names.begin(), options_.names.end(), chosen);
  }

  Result<> run_case(const Program& program, const Case& test) {
    for (const NamedEngine& engine : engines)
      TRY(run_under(engine, program, test, test.cpus > 1 ? std::span<const Way>(together) : alone));
    if (test.cpus > 1) TRY(run_under(free_engine, program, test, freely));
    return {};
  }

  Result<> run_under(const NamedEngine& engine, const Program& program, const Case& test, std::span<const Way> ways) {
    if (!options_.engine.empty() && options_.engine != engine.name) return {};
    ++ran_;
    const std::string name = fmt::format("guest/{}/{}", engine.name, test.name);
    if (options_.list) {
      fmt::print("{}\n", name);
      return {};
    }
    std::vector<std::string> problems;
    for (const Way& way : ways) {
      for (std::string& problem : TRY(run_once(engine, program, test, way)))
        problems.push_back(way.name.empty() ? std::move(problem) : fmt::format("{}: {}", way.name, problem));
    }
    if (problems.empty()) {
      fmt::print("PASS {}\n", name);
      return {};
    }
    ++failed_;
    fmt::print("FAIL {}: {}\n", name, fmt::join(problems, "; "));
    return {};
  }

  Result<std::vector<std::string>> run_once(const NamedEngine& named, const Program& program, const Case& test,
                                            const Way& way) {
    const auto engine = named.make();
    const auto laboratory = TRY(Laboratory::create(*engine, program, test, way.schedule, way.quantum,
                                                   options_.trace || options_.events ? &hooks_ : nullptr));
    const std::string exit = laboratory->run();
    return check(test, exit, laboratory->state(), laboratory->memory());
  }

  const Options options_;
  TraceHooks hooks_;
  unsigned ran_ = 0;
  unsigned failed_ = 0;
};

int run(int argc, char** argv) {
  Options options;
  CLI::App app{"Runs guest tests on every engine."};
  std::vector<std::string> known;
  for (const NamedEngine& engine : engines) known.emplace_back(engine.name);
  known.emplace_back(free_engine.name);
  app.add_option("--engine", options.engine, "only this engine")->check(CLI::IsMember(known));
  app.add_option("--sources", options.sources, "the folder of the .asm files");
  app.add_option("--binaries", options.binaries, "the folder of what they were assembled to");
  app.add_flag("--trace", options.trace, "print every instruction and exception");
  app.add_flag("--events", options.events, "print exceptions and interrupts only");
  app.add_flag("--list", options.list, "only name the cases");
  app.add_option("names", options.names, "cases or files");
  CLI11_PARSE(app, argc, argv);
  if (!log::configure("error")) return 1;
  const auto status = Runner(std::move(options)).run();
  if (status) return *status;
  fmt::print(stderr, "guest_runner: {}\n", status.error().message);
  return 1;
}

}  // namespace
}  // namespace doppel::guest

int main(int argc, char** argv) { return doppel::guest::run(argc, argv); }
