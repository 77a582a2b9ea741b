// Runs a program of the host to its end, with its output in a log file.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace doppel::image {

struct HostCommand {
  std::vector<std::string> arguments;                              // the first is the program, looked for on PATH
  std::vector<std::pair<std::string, std::string>> environment{};  // besides our own
  std::filesystem::path log;                                       // output is appended
};

// Standard input is empty. A failure's message ends with what the program said last that looks like an error.
Result<> run(const HostCommand& command);

// Whether PATH, or /usr/sbin and /sbin, has the program.
bool has_program(const std::string& name);

}  // namespace doppel::image
