// Processes that end at once: fork, _exit, wait. An iteration is one process.
#include <sys/wait.h>
#include <unistd.h>

#include "row.h"

int main(int argc, char** argv) {
  const uint64_t iterations = iterations_of(argc, argv);
  uint64_t sum = 0;
  const double start = seconds_now();
  for (uint64_t i = 0; i < iterations; i++) {
    const pid_t child = fork();
    if (child < 0) fail("fork");
    if (child == 0) _exit((int)(i & 0x7f));
    int status;
    if (waitpid(child, &status, 0) != child) fail("waitpid");
    sum = sum * 31 + (uint64_t)WEXITSTATUS(status);
  }
  return print_row("fork", iterations, seconds_now() - start, sum);
}
