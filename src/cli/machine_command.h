// `doppel machine show`: what a machine would be made of, without running it.
#pragma once

#include "cli/options.h"

namespace doppel::cli {

class MachineCommand {
 public:
  explicit MachineCommand(CLI::App& app);
  Result<int> execute();

 private:
  CLI::App* show_;
  MachineOptions machine_;
  bool map_ = false;
};

}  // namespace doppel::cli
