// See cli.h. Each command is an object that adds its options and, if it was the one given, runs.
#include "cli/cli.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "cli/disk_command.h"
#include "cli/image_command.h"
#include "cli/machine_command.h"
#include "cli/run_command.h"

namespace doppel::cli {

namespace {

constexpr const char* about =
    "Doppel runs operating systems in virtual machines: as an ordinary user, with or without hardware virtualization.";
constexpr const char* examples =
    "Try:\n"
    "  doppel run --kernel vmlinuz --initrd initrd.img --append \"console=ttyS0\"\n"
    "  doppel run --help\n"
    "  doppel machine show --map\n"
    "  doppel image make debian\n"
    "  doppel disk create root.qcow2 20G";

int complain(const std::string& message, int status) {
  fmt::print(stderr, "doppel: {}\n", message);
  return status;
}

int report(const Result<int>& result) {
  if (result) return *result;
  return complain(result.error().message, result.error().kind == ErrorKind::usage ? 2 : 1);
}

// CLI11's words for what is wrong, in one line.
std::string describe(const CLI::ParseError& error, std::string_view first_argument) {
  std::string text = error.what();
  for (char& c : text) {
    if (c == '\n') c = ' ';
  }
  const auto kind = static_cast<CLI::ExitCodes>(error.get_exit_code());
  if (kind == CLI::ExitCodes::ExtrasError) {
    if (const auto colon = text.rfind(": "); colon != std::string::npos)
      text = "unknown argument '" + text.substr(colon + 2) + "'";
  } else if (kind == CLI::ExitCodes::RequiredError && first_argument.empty()) {
    text = "a command is missing: run, machine, image or disk";
  } else if (kind == CLI::ExitCodes::RequiredError && first_argument != "machine" && first_argument != "image" &&
             first_argument != "disk") {
    text = fmt::format("unknown command '{}': use run, machine, image or disk", first_argument);
  }
  return text + " (see doppel --help)";
}

}  // namespace

int main(int argc, const char* const* argv) {
  CLI::App app(about, "doppel");
  app.set_version_flag("--version", "doppel " DOPPEL_VERSION);
  app.require_subcommand(1);
  app.get_formatter()->column_width(28);
  app.footer(examples);

  RunCommand run(app);
  MachineCommand machine(app);
  ImageCommand image(app);
  DiskCommand disk(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    return complain(describe(error, argc > 1 ? argv[1] : ""), 2);
  }
  if (image.chosen()) return report(image.execute());
  if (disk.chosen()) return report(disk.execute());
  return report(run.chosen() ? run.execute() : machine.execute());
}

}  // namespace doppel::cli
