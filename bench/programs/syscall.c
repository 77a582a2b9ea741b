// System calls that do nothing: getppid. An iteration is 1000 calls.
#include <sys/syscall.h>
#include <unistd.h>

#include "row.h"

int main(int argc, char** argv) {
  const uint64_t iterations = iterations_of(argc, argv);
  const long parent = getppid();
  uint64_t right = 0;
  const double start = seconds_now();
  for (uint64_t i = 0; i < iterations * 1000; i++) right += syscall(SYS_getppid) == parent;
  return print_row("syscall", iterations, seconds_now() - start, right);
}
