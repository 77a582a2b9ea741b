// Two processes that wait for each other: eight bytes go back and forth through two pipes. An iteration is one round trip.
#include <sys/wait.h>
#include <unistd.h>

#include "row.h"

static void transfer(ssize_t result) {
  if (result != sizeof(uint64_t)) fail("pipe");
}

static void answer(int from, int to, uint64_t iterations) {
  for (uint64_t i = 0; i < iterations; i++) {
    uint64_t value;
    transfer(read(from, &value, sizeof value));
    value = value * 6364136223846793005u + 1;
    transfer(write(to, &value, sizeof value));
  }
}

int main(int argc, char** argv) {
  const uint64_t iterations = iterations_of(argc, argv);
  int there[2], back[2];
  if (pipe(there) != 0 || pipe(back) != 0) fail("pipe");
  const double start = seconds_now();
  const pid_t child = fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    answer(there[0], back[1], iterations);
    _exit(0);
  }
  uint64_t value = 1;
  for (uint64_t i = 0; i < iterations; i++) {
    transfer(write(there[1], &value, sizeof value));
    transfer(read(back[0], &value, sizeof value));
  }
  const double seconds = seconds_now() - start;
  int status;
  if (waitpid(child, &status, 0) != child || status != 0) fail("child");
  return print_row("pipes", iterations, seconds, value);
}
