// The program `doppel`: everything is in cli/.
#include "cli/cli.h"

int main(int argc, char** argv) { return doppel::cli::main(argc, argv); }
