// See machine_command.h.
#include "cli/machine_command.h"

#include <fmt/format.h>

#include "machine/factory.h"

namespace doppel::cli {

namespace {

void print_range(u64 base, u64 size, unsigned digits, const std::string& name) {
  fmt::print("  {:0{}x}-{:0{}x}  {}\n", base, digits, base + size - 1, digits, name);
}

Result<> print_map(Machine& machine) {
  TRY(machine.configure());
  fmt::print("memory\n");
  std::vector<Bus::Region> regions = machine.memory().mmio().regions();
  for (const auto& region : machine.memory().regions()) {
    const char* kind = region.kind == PhysicalMemory::Kind::rom ? "ROM" : "RAM";
    regions.push_back(
        {region.base, region.size, fmt::format("{} ({}, {})", region.name, kind, format_size(region.size)), nullptr});
  }
  std::sort(regions.begin(), regions.end(), [](const auto& a, const auto& b) { return a.base < b.base; });
  for (const auto& region : regions) print_range(region.base, region.size, 10, region.name);
  fmt::print("ports\n");
  for (const auto& region : machine.ports().regions()) print_range(region.base, region.size, 4, region.name);
  fmt::print("interrupts\n");
  for (const auto& wire : machine.board().wires()) fmt::print("  {:<8}  {}\n", wire.line, wire.name);
  return {};
}

}  // namespace

MachineCommand::MachineCommand(CLI::App& app) {
  CLI::App* machine = app.add_subcommand("machine", "Describe machines");
  machine->require_subcommand(1);
  show_ = machine->add_subcommand("show", "What a machine with these options is made of");
  show_->add_flag("--map", map_, "Its memory, port and interrupt map, as firmware would leave it");
  machine_.add_to(*show_);
}

Result<int> MachineCommand::execute() {
  MachineSpec spec = TRY(machine_.parse());
  const auto machine = TRY(make_machine(spec));
  const std::string features = x86::feature_names(spec.cpu_model.features);
  fmt::print("engine      {}\nclock       {}\nprocessors  {}\ncpu model   {}{}\nmemory      {}\n",
             machine->engine().name(), spec.clock == ClockMode::host ? "host" : "instructions", spec.board.cpus,
             spec.cpu_model.name, features.empty() ? "" : " (" + features + ")", format_size(spec.board.memory_bytes));
  for (const DiskSpec& disk : spec.board.disks) {
    fmt::print("{:<12}{}{}{}{}\n", disk.cdrom ? "cdrom" : "disk", disk.path,
               disk.bus == DiskBus::scsi && !disk.cdrom ? " (scsi)" : "", disk.snapshot ? " (snapshot)" : "",
               disk.read_only && !disk.cdrom ? " (read-only)" : "");
  }
  for (const ShareSpec& share : spec.board.shares) {
    fmt::print("share       {} as {}{}\n", share.path, share.tag, share.read_only ? " (read-only)" : "");
  }
  if (map_) TRY(print_map(*machine));
  return 0;
}

}  // namespace doppel::cli
