// See run_command.h.
#include "cli/run_command.h"

#include <fmt/format.h>

#include "base/log.h"
#include "base/units.h"
#include "cli/console.h"
#include "machine/factory.h"

namespace doppel::cli {

namespace {

constexpr const char* notes =
    "The guest's serial port is this terminal: every key goes to the guest, Ctrl-] leaves and ends the machine. "
    "Without a terminal "
    "its output goes to standard output as it is, and standard input goes to the guest.\n"
    "The exit status is 0 when the guest powers off, 1 when something failed, 2 for a mistake in the arguments.\n"
    "\n"
    "Boot a kernel to its initramfs:\n"
    "  doppel run --kernel vmlinuz --initrd initrd.img --append \"console=ttyS0\"\n"
    "Try something on a disk and forget it:\n"
    "  doppel run --kernel vmlinuz --append \"console=ttyS0 root=/dev/vda\" --disk root.img,snapshot\n"
    "See what a guest does until it goes wrong:\n"
    "  doppel run --kernel vmlinuz --no-reboot --trace exceptions+interrupts,trace.txt";

Result<ConsoleOptions> parse_serial(const std::string& text, ClockMode clock) {
  ConsoleOptions options;
  options.reproducible = clock == ClockMode::instructions;
  if (text == "none") {
    options.output = ConsoleOptions::Output::none;
  } else if (text.starts_with("file:") && text.size() > 5) {
    options.output = ConsoleOptions::Output::file;
    options.path = text.substr(5);
  } else if (text != "stdio") {
    return usage_error(fmt::format("--serial: unknown connection '{}': use stdio, none or file:PATH", text));
  }
  return options;
}

}  // namespace

RunCommand::RunCommand(CLI::App& app) {
  command_ = app.add_subcommand("run", "Run a machine in this terminal");
  machine_.add_to(*command_);
  command_->add_option("--serial", serial_, "Where the console goes: stdio, none or file:PATH")
      ->group("Running")
      ->capture_default_str();
  command_->add_flag("--no-reboot", no_reboot_, "End when the guest resets the machine, instead of booting again")
      ->group("Running");
  command_
      ->add_option("--save-at", save_at_,
                   "Save the whole machine to FILE when INSTRUCTIONS were executed; it goes on after that")
      ->group("Running")
      ->expected(2)
      ->type_name("INSTRUCTIONS FILE");
  command_->add_option("--load", load_, "Go on from a saved machine; give the options that it was started with")
      ->group("Running");
  command_->add_option("--log", log_, "Doppel's own messages: LEVEL[,FILE] with error, warning, info or debug")
      ->group("Looking inside");
  command_
      ->add_option("--trace", trace_,
                   "What the CPUs do: KINDS[,FILE], with instructions, exceptions, io, mmio, interrupts joined by +; "
                   "to standard error "
                   "without a file")
      ->group("Looking inside");
  command_
      ->add_flag("--print-state-hash", print_state_hash_,
                 "At the end, the number of instructions executed and a hash of all memory; with --clock instructions "
                 "equal runs agree")
      ->group("Looking inside");
  command_
      ->add_flag("--stats", stats_,
                 "At the end, what the engine did: instructions, what was translated, why translated code was left, "
                 "and where the guest spent its instructions")
      ->group("Looking inside");
  command_
      ->add_flag("--verify", verify_,
                 "Let the interpreter execute all that is translated, too, and end at the first difference, which is "
                 "printed; with --clock instructions")
      ->group("Looking inside");
  command_->add_flag("--perf-map", perf_map_, "Name translated code for perf, in /tmp/perf-PID.map")
      ->group("Looking inside");
  command_
      ->add_option("--translation-cache", translation_cache_,
                   "Room for translated code and what is known of it, of all processors: 1M to 1G. When it is full it "
                   "is emptied")
      ->group("Execution")
      ->capture_default_str();
  command_->footer(notes);
}

Result<MachineSpec> RunCommand::spec() const {
  MachineSpec spec = TRY(machine_.parse());
  spec.no_reboot = no_reboot_;
  if (verify_) spec.clock = ClockMode::instructions;
  const auto cache = parse_size(translation_cache_);
  if (!cache) return usage_error("--translation-cache: " + cache.error().message);
  spec.engine_settings = {
      .verify = verify_, .translation_cache_bytes = *cache, .profile = stats_, .perf_map = perf_map_};
  spec.load = load_;
  if (!save_at_.empty()) spec.save_at = SaveAt{TRY(parse_number("--save-at", save_at_[0])), save_at_[1]};
  if (!trace_.empty()) spec.trace = TRY(parse_trace(trace_));
  TRY(validate(spec));
  if (spec.load.empty() && spec.board.kernel.empty())
    return usage_error("nothing to boot: give --image NAME, --kernel FILE, or --load FILE");
  return spec;
}

Result<int> RunCommand::execute() {
  if (!log_.empty()) TRY(log::configure(log_));
  const MachineSpec spec = TRY(this->spec());
  const ConsoleOptions console_options = TRY(parse_serial(serial_, spec.clock));
  const auto console = TRY(Console::create(console_options));
  const auto machine = TRY(make_machine(spec));
  TRY(console->attach(*machine));
  const auto outcome = machine->run();
  console->detach();
  if (!outcome) return std::unexpected(outcome.error());
  if (!outcome->message.empty()) fmt::print(stderr, "doppel: {}\n", outcome->message);
  if (print_state_hash_) {
    fmt::print(stderr, "doppel: {} instructions, memory hash {:016x}\n", machine->total_instructions(),
               machine->memory().hash());
  }
  if (stats_) fmt::print(stderr, "{}", machine->statistics());
  return outcome->exit_code;
}

}  // namespace doppel::cli
