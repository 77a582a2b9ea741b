// What several commands ask for: the options that describe a machine.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "machine/spec.h"

namespace doppel::cli {

// Texts as they were given; parse() makes a spec of them and says which option is wrong.
struct MachineOptions {
  std::string engine = "auto", cpu_model = "max", memory = "512M", cpus = "1", clock = "host", console = "serial";
  std::string kernel, initrd, append, image;
  std::vector<std::string> disks, cdroms, nics, publish, shares;
  std::vector<std::string> cloud_init;
  std::string ssh_key, hostname, user;
  bool debug_exit = false;

  void add_to(CLI::App& command);
  Result<MachineSpec> parse() const;

 private:
  Result<> parse_network(BoardSpec& board) const;
  Result<> add_shares(BoardSpec& board) const;
  Result<> add_seed(BoardSpec& board) const;
};

// "NAME[,overlay=FILE]": the image's disk, or its overlay, goes before the others, and its kernel boots unless another was given.
Result<> add_image(std::string_view text, BoardSpec& board);
// "FILE[,format=raw|qcow2][,bus=virtio|scsi][,cache=MODE][,snapshot][,readonly][,serial=TEXT]".
Result<DiskSpec> parse_disk(std::string_view text);
// "FILE": commas and all.
Result<DiskSpec> parse_cdrom(std::string_view text);
// "PATH:TAG[:ro]"; the path may hold colons.
Result<ShareSpec> parse_share(std::string_view text);
Result<u64> parse_number(std::string_view option, std::string_view text);

}  // namespace doppel::cli
