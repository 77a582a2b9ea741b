// The program `doppel`: everything is in cli/. Started by itself, it is the process of a user network.
#include "cli/cli.h"

#include <string_view>

#include "network/user/process.h"

int main(int argc, char** argv) {
  using namespace doppel::network;
  if (argc == 2 && argv[1] == std::string_view(user_process_argument)) return run_user_process(user_process_socket);
  return doppel::cli::main(argc, argv);
}
