// See options.h.
#include "cli/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "image/seed.h"
#include "image/store.h"

namespace doppel::cli {

void MachineOptions::add_to(CLI::App& command) {
  const auto text = [&](const char* name, std::string& value, const char* group, const char* help) {
    CLI::Option* option = command.add_option(name, value, help)
                              ->group(group)
                              ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    if (!value.empty()) option->capture_default_str();
  };
  text("--image", image, "Boot",
       "An image of the store (doppel image ls): its kernel boots from its disk, whose changes are forgotten at the "
       "end, or, with NAME,overlay=FILE, kept in that qcow2 file, which is made if it does not exist. "
       "--append then adds to its command line");
  text("--kernel", kernel, "Boot", "Kernel to boot: a Linux bzImage, or an ELF file with a PVH note");
  text("--initrd", initrd, "Boot", "Initial RAM disk for the kernel");
  text("--append", append, "Boot", "The kernel's command line, such as \"console=ttyS0\"");
  command
      .add_option("--cloud-init", cloud_init,
                  "A seed for the guest's cloud-init: user-data=FILE[,meta-data=FILE][,network-config=FILE]")
      ->group("Boot")
      ->type_name("SEED");
  text("--ssh-key", ssh_key, "Boot", "A seed for cloud-init with this public key (a file such as id_ed25519.pub)");
  text("--hostname", hostname, "Boot", "A seed for cloud-init with this host name");
  text("--user", user, "Boot", "A seed for cloud-init that makes this user, who gets the key and may use sudo");
  text("--memory", memory, "Hardware", "Guest memory, such as 512M or 4G");
  text("--cpus", cpus, "Hardware", "Number of processors, 1 to 8");
  text("--cpu-model", cpu_model, "Hardware",
       "What the processors are: x86-64-v2, x86-64-v3 (the psABI's levels, the same on every host) or max (everything "
       "that this host has)");
  command
      .add_option("--disk", disks,
                  "A disk: FILE[,format=raw|qcow2][,bus=virtio|scsi][,cache=MODE][,snapshot][,readonly][,serial=TEXT]; "
                  "once for each "
                  "disk. With 'snapshot' the file stays as it is and all writes are forgotten at the end. Without "
                  "'format' it is qcow2 if its name ends in .qcow2, else raw; the bus is virtio unless given")
      ->group("Hardware")
      ->type_name("DISK");
  command
      .add_option("--cdrom", cdroms,
                  "A CD-ROM drive with a disc in it, an ISO image that is only read; once for each drive")
      ->group("Hardware")
      ->type_name("FILE");
  command
      .add_option(
          "--nic", nics,
          "A network card and what it is connected to: none; user: the host's network, through NAT, with DHCP and "
          "DNS; tap,name=NAME: a tap device; socket,path=PATH: another machine; each with [,mac=MAC], "
          "[,mtu=BYTES] and [,pcap=FILE]. Once for each card; without it, one connected to nothing")
      ->group("Hardware")
      ->type_name("NETWORK");
  command
      .add_option("--publish", publish,
                  "A port of the host that leads into the guest, with --nic user: [ADDRESS:]HOSTPORT:GUESTPORT[/udp]; "
                  "the address is 127.0.0.1 unless given")
      ->group("Hardware")
      ->type_name("PORTS");
  command
      .add_option(
          "--share", shares,
          "A folder for the guest: PATH:TAG[:ro], once for each; in the guest: mount -t 9p -o trans=virtio TAG /mnt")
      ->group("Hardware")
      ->type_name("SHARE");
  text("--console", console, "Hardware",
       "The device that is connected to this terminal: serial (ttyS0) or virtio (hvc0)");
  command
      .add_flag("--debug-exit", debug_exit,
                "Let the guest end the machine: the byte V to port 0xf4 exits with (V << 1) | 1")
      ->group("Hardware");
  text("--engine", engine, "Execution",
       "What executes the guest: auto, translator or interpreter; auto is the translator");
  text("--clock", clock, "Execution",
       "host: real time and a thread for each CPU. instructions: virtual time from the instructions executed, on one "
       "thread; "
       "equal runs end equally, to the last bit of memory");
}

Result<u64> parse_number(std::string_view option, std::string_view text) {
  u64 number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, problem] = std::from_chars(text.data(), end, number);
  if (problem != std::errc{} || rest != end) return usage_error(fmt::format("{}: '{}' is not a number", option, text));
  return number;
}

Result<DiskSpec> parse_disk(std::string_view text) {
  DiskSpec disk;
  disk.path = text.substr(0, text.find(','));
  if (disk.path.empty()) return usage_error("--disk: the file's name is missing");
  text.remove_prefix(disk.path.size());
  while (!text.empty()) {
    text.remove_prefix(1);
    const std::string_view word = text.substr(0, text.find(','));
    text.remove_prefix(word.size());
    if (word == "snapshot") {
      disk.snapshot = true;
    } else if (word == "readonly") {
      disk.read_only = true;
    } else if (word.starts_with("serial=")) {
      disk.serial = word.substr(7);
      const bool printable = std::ranges::all_of(disk.serial, [](char c) { return c > ' ' && c <= '~'; });
      if (disk.serial.empty() || disk.serial.size() > 20 || !printable)
        return usage_error(
            fmt::format("--disk: the serial number '{}' must have 1 to 20 printable characters", disk.serial));
    } else if (word == "bus=scsi") {
      disk.bus = DiskBus::scsi;
    } else if (word.starts_with("bus=")) {
      if (word != "bus=virtio")
        return usage_error(fmt::format("--disk: unknown bus '{}': use virtio or scsi", word.substr(4)));
    } else if (word.starts_with("cache=")) {
      const auto mode = disk::parse_cache_mode(word.substr(6));
      if (!mode) return usage_error("--disk: " + mode.error().message);
      disk.cache = *mode;
    } else if (word.starts_with("format=")) {
      const auto format = disk::parse_format(word.substr(7));
      if (!format) return usage_error("--disk: " + format.error().message);
      disk.format = *format;
    } else {
      return usage_error(
          fmt::format("--disk: unknown setting '{}': use format=, bus=, cache=, snapshot, readonly or serial=", word));
    }
  }
  return disk;
}

Result<DiskSpec> parse_cdrom(std::string_view text) {
  if (text.empty()) return usage_error("--cdrom: the file's name is missing");
  return DiskSpec{.path = std::string(text), .read_only = true, .bus = DiskBus::scsi, .cdrom = true};
}

Result<> MachineOptions::parse_network(BoardSpec& board) const {
  if (!nics.empty()) board.nics.clear();
  for (const std::string& nic : nics) board.nics.push_back(TRY(network::parse_nic(nic)));
  if (publish.empty()) return {};
  const auto nat = std::ranges::find(board.nics, network::PortKind::user, &network::NicSpec::kind);
  if (nat == board.nics.end()) return usage_error("--publish needs --nic user");
  for (const std::string& ports : publish) nat->publish.push_back(TRY(network::parse_publish(ports)));
  return {};
}

Result<ShareSpec> parse_share(std::string_view text) {
  constexpr std::size_t longest_tag = 31;
  ShareSpec share{.read_only = text.ends_with(":ro")};
  std::string_view rest = text;
  if (share.read_only) rest.remove_suffix(3);
  const auto colon = rest.rfind(':');
  if (colon == std::string_view::npos || colon == 0 || colon + 1 == rest.size())
    return usage_error(fmt::format("--share: '{}' is not PATH:TAG or PATH:TAG:ro", text));
  share.path = rest.substr(0, colon);
  share.tag = rest.substr(colon + 1);
  if (share.tag.size() > longest_tag || share.tag.find_first_of("/, \t\n") != std::string::npos) {
    return usage_error(fmt::format("--share: the tag '{}' must have at most {} characters, no slash, comma or space",
                                   share.tag, longest_tag));
  }
  return share;
}

Result<> add_image(std::string_view text, BoardSpec& board) {
  const std::string_view name = text.substr(0, text.find(','));
  text.remove_prefix(std::min(text.size(), name.size() + 1));
  const bool overlay = text.starts_with("overlay=");
  if (!text.empty() && !overlay)
    return usage_error(fmt::format("--image: unknown setting '{}': use overlay=FILE", text));
  if (overlay) text.remove_prefix(std::string_view("overlay=").size());
  if (overlay && text.empty()) return usage_error("--image: the overlay's file name is missing");
  const image::Store store = TRY(image::Store::open());
  const image::Image found = TRY(store.find(name));
  const DiskSpec root = overlay ? DiskSpec{.path = std::string(text), .base = found.root()}
                                : DiskSpec{.path = found.root(), .snapshot = true, .format = disk::Format::raw};
  board.disks.insert(board.disks.begin(), root);
  if (!board.kernel.empty()) return {};  // one of the user's, with all that belongs to it
  if (!found.has_kernel()) {
    return fail(fmt::format("image '{}' has no kernel, and there is no firmware yet: give --kernel and --append", name));
  }
  board.kernel = found.kernel();
  if (board.initrd.empty() && found.has_initrd()) board.initrd = found.initrd();
  board.append = board.append.empty() ? found.append : found.append + " " + board.append;
  return {};
}

Result<> MachineOptions::add_shares(BoardSpec& board) const {
  for (const std::string& share : shares) {
    ShareSpec parsed = TRY(parse_share(share));
    if (std::ranges::any_of(board.shares, [&](const auto& other) { return other.tag == parsed.tag; }))
      return usage_error(fmt::format("--share: the tag '{}' is given twice", parsed.tag));
    board.shares.push_back(std::move(parsed));
  }
  return {};
}

// The seed is the last disk, so that it moves no other.
Result<> MachineOptions::add_seed(BoardSpec& board) const {
  image::Seed seed{.ssh_key = ssh_key, .hostname = hostname, .user = user};
  for (const std::string& text : cloud_init) {
    std::string_view rest = text;
    while (!rest.empty()) {
      const std::string_view part = rest.substr(0, rest.find(','));
      rest.remove_prefix(std::min(rest.size(), part.size() + 1));
      const std::string_view key = part.substr(0, part.find('='));
      if (key.size() + 1 >= part.size()) return usage_error(fmt::format("--cloud-init: '{}' is not NAME=FILE", part));
      const std::string file(part.substr(key.size() + 1));
      if (key == "user-data") {
        seed.user_data = file;
      } else if (key == "meta-data") {
        seed.meta_data = file;
      } else if (key == "network-config") {
        seed.network_config = file;
      } else {
        return usage_error(
            fmt::format("--cloud-init: unknown part '{}': use user-data, meta-data or network-config", key));
      }
    }
  }
  if (!seed.any()) return {};
  board.disks.push_back(
      {.path = "cloud-init seed", .read_only = true, .serial = "cidata", .contents = TRY(image::make_seed(seed))});
  return {};
}

Result<MachineSpec> MachineOptions::parse() const {
  MachineSpec spec;
  spec.engine = engine;
  spec.cpu_model = TRY(x86::find_cpu_model(cpu_model, x86::host_features()));
  const auto bytes = parse_size(memory);
  if (!bytes) return usage_error("--memory: " + bytes.error().message);
  spec.board.memory_bytes = *bytes;
  const u64 count = TRY(parse_number("--cpus", cpus));
  spec.board.cpus = static_cast<unsigned>(std::min<u64>(count, ~0u));
  spec.board.kernel = kernel;
  spec.board.initrd = initrd;
  spec.board.append = append;
  spec.board.debug_exit = debug_exit;
  for (const std::string& disk : disks) spec.board.disks.push_back(TRY(parse_disk(disk)));
  for (const std::string& file : cdroms) spec.board.disks.push_back(TRY(parse_cdrom(file)));
  TRY(parse_network(spec.board));
  TRY(add_shares(spec.board));
  if (!image.empty()) TRY(add_image(image, spec.board));
  TRY(add_seed(spec.board));
  if (console == "virtio") {
    spec.board.console = ConsoleKind::virtio;
  } else if (console != "serial") {
    return usage_error(fmt::format("--console: unknown device '{}': use serial or virtio", console));
  }
  if (clock == "instructions") {
    spec.clock = ClockMode::instructions;
  } else if (clock != "host") {
    return usage_error(fmt::format("--clock: unknown clock '{}': use host or instructions", clock));
  }
  TRY(validate(spec));
  return spec;
}

}  // namespace doppel::cli
