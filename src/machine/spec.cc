// What can be said about a machine without making it.
#include "machine/spec.h"

#include <fmt/format.h>

#include <algorithm>

namespace doppel {

namespace {
constexpr u64 least_memory = 4 * MiB;
constexpr std::size_t most_nics = 8;
constexpr std::size_t most_scsi_disks = 256;  // targets of one host
constexpr u64 most_memory = u64{1} << 40;
}  // namespace

namespace {
// Of all vCPUs; offsets and displacements of translated code have 32 bits.
constexpr u64 least_translation_cache = 1 * MiB, most_translation_cache = 1 * GiB;
}  // namespace

Result<> validate(const MachineSpec& spec) {
  const BoardSpec& board = spec.board;
  if (board.cpus < 1 || board.cpus > max_cpus) {
    return usage_error(fmt::format("a machine has 1 to {} CPUs, not {}", max_cpus, board.cpus));
  }
  if (board.memory_bytes < least_memory || board.memory_bytes > most_memory) {
    return usage_error(fmt::format("a machine has {} to {} of memory, not {}", format_size(least_memory),
                                   format_size(most_memory), format_size(board.memory_bytes)));
  }
  if (board.memory_bytes % MiB != 0) {
    return usage_error(fmt::format("memory comes in whole MiB, not {}", format_size(board.memory_bytes)));
  }
  if (board.kernel.empty() && !board.initrd.empty()) return usage_error("--initrd needs --kernel");
  for (const network::NicSpec& nic : board.nics) {
    if (nic.kind != network::PortKind::none && spec.clock == ClockMode::instructions) {
      return usage_error(fmt::format("--nic {} needs --clock host: when its packets come is not repeatable",
                                     network::name_of(nic.kind)));
    }
  }
  if (board.nics.size() > most_nics)
    return usage_error(fmt::format("a machine has at most {} network cards", most_nics));
  if (std::ranges::count(board.disks, DiskBus::scsi, &DiskSpec::bus) > static_cast<std::ptrdiff_t>(most_scsi_disks))
    return usage_error(fmt::format("a machine has at most {} SCSI disks and CD-ROM drives", most_scsi_disks));
  if (spec.save_at && spec.clock != ClockMode::instructions) {
    return usage_error("--save-at needs --clock instructions: only then is an instruction count a point in time");
  }
  const EngineSettings& engine = spec.engine_settings;
  const bool translates = spec.engine == "auto" || spec.engine == "translator";
  if (engine.verify && (!translates || spec.clock != ClockMode::instructions))
    return usage_error("--verify compares the translator with the interpreter: it needs --engine translator or auto");
  if (engine.perf_map && !translates) return usage_error("--perf-map needs --engine translator or auto");
  if (engine.translation_cache_bytes < least_translation_cache ||
      engine.translation_cache_bytes > most_translation_cache)
    return usage_error(fmt::format("--translation-cache is {} to {}, not {}", format_size(least_translation_cache),
                                   format_size(most_translation_cache), format_size(engine.translation_cache_bytes)));
  return {};
}

Result<TraceSpec> parse_trace(std::string_view text) {
  TraceSpec trace;
  std::string_view kinds = text.substr(0, text.find(','));
  if (kinds.size() < text.size()) {
    trace.path = text.substr(kinds.size() + 1);
    if (trace.path.empty()) return usage_error("the trace file's name is missing after the comma");
  }
  while (true) {
    const std::string_view kind = kinds.substr(0, kinds.find('+'));
    if (kind == "instructions")
      trace.instructions = true;
    else if (kind == "exceptions")
      trace.exceptions = true;
    else if (kind == "io")
      trace.io = true;
    else if (kind == "mmio")
      trace.mmio = true;
    else if (kind == "interrupts")
      trace.interrupts = true;
    else
      return usage_error(
          fmt::format("unknown trace '{}': use instructions, exceptions, io, mmio or interrupts, joined with +", kind));
    if (kind.size() == kinds.size()) return trace;
    kinds.remove_prefix(kind.size() + 1);
  }
}

std::string fingerprint(const MachineSpec& spec) {
  const BoardSpec& board = spec.board;
  std::string text = fmt::format(
      "cpus={}\ncpu-model={}:{}\nmemory={}\nkernel={}\ninitrd={}\nappend={}\nconsole={}\ndebug-exit={}\nclock={}\n",
      board.cpus, spec.cpu_model.name, x86::feature_names(spec.cpu_model.features), board.memory_bytes, board.kernel,
      board.initrd, board.append, board.console == ConsoleKind::serial ? "serial" : "virtio", board.debug_exit,
      spec.clock == ClockMode::host ? "host" : "instructions");
  for (const DiskSpec& disk : board.disks) {
    text += fmt::format("{}={}{}{}{}{}{}\n", disk.cdrom ? "cdrom" : "disk", disk.path,
                        disk.format == disk::Format::qcow2 ? ",format=qcow2" : "", disk.snapshot ? ",snapshot" : "",
                        disk.read_only ? ",readonly" : "", disk.serial.empty() ? "" : ",serial=" + disk.serial,
                        disk.bus == DiskBus::scsi && !disk.cdrom ? ",bus=scsi" : "");
  }
  for (const ShareSpec& share : board.shares) {
    text += fmt::format("share={}:{}{}\n", share.path, share.tag, share.read_only ? ":ro" : "");
  }
  for (const network::NicSpec& nic : board.nics) text += fmt::format("nic={}\n", network::describe(nic));
  return text;
}

std::string describe_difference(std::string_view saved, std::string_view wanted) {
  while (!saved.empty() || !wanted.empty()) {
    const std::string_view left = saved.substr(0, saved.find('\n')), right = wanted.substr(0, wanted.find('\n'));
    if (left != right) {
      return fmt::format("saved with {}, this machine has {}", left.empty() ? "nothing more" : left,
                         right.empty() ? "nothing more" : right);
    }
    saved.remove_prefix(std::min(saved.size(), left.size() + 1));
    wanted.remove_prefix(std::min(wanted.size(), right.size() + 1));
  }
  return "saved from the same machine";
}

}  // namespace doppel
