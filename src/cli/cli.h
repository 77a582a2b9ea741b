// The command line: `doppel run`, `doppel machine show`.
#pragma once

namespace doppel::cli {

// Parses the arguments, does what they say and returns the process's exit status: 0, the guest's own (--debug-exit), 1 for a
// failure, 2 for a mistake in the arguments, 128 + n for an end by signal n. A failure is one line on standard error.
int main(int argc, const char* const* argv);

}  // namespace doppel::cli
