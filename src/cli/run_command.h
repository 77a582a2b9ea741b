// `doppel run`: makes a machine, runs it in this terminal, and exits with it.
#pragma once

#include "cli/options.h"

namespace doppel::cli {

class RunCommand {
 public:
  explicit RunCommand(CLI::App& app);
  bool chosen() const { return command_->parsed(); }
  Result<int> execute();  // the exit status

 private:
  Result<MachineSpec> spec() const;

  CLI::App* command_;
  MachineOptions machine_;
  std::string log_, trace_, serial_ = "stdio", load_, translation_cache_ = "256M";
  std::vector<std::string> save_at_;
  bool no_reboot_ = false, print_state_hash_ = false, stats_ = false, verify_ = false, perf_map_ = false;
};

}  // namespace doppel::cli
