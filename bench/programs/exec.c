// New programs: fork, execve of this program, which ends at once, wait. An iteration is one program.
#include <sys/wait.h>
#include <unistd.h>

#include "row.h"

int main(int argc, char** argv) {
  if (argc == 3) return argv[2][0] & 0x7f;
  const uint64_t iterations = iterations_of(argc, argv);
  uint64_t sum = 0;
  const double start = seconds_now();
  for (uint64_t i = 0; i < iterations; i++) {
    char letter[] = {(char)('a' + i % 26), 0};
    char* arguments[] = {argv[0], argv[1], letter, NULL};
    char* environment[] = {NULL};
    const pid_t child = fork();
    if (child < 0) fail("fork");
    if (child == 0) {
      execve(argv[0], arguments, environment);
      _exit(127);
    }
    int status;
    if (waitpid(child, &status, 0) != child) fail("waitpid");
    sum = sum * 31 + (uint64_t)WEXITSTATUS(status);
  }
  return print_row("exec", iterations, seconds_now() - start, sum);
}
