// Runs a command and prints a row (../programs/row.h): the seconds that it took, and a checksum of all that it wrote to standard output.
//   measure NAME ITERATIONS COMMAND [ARGUMENT...]
#include <sys/wait.h>
#include <unistd.h>

#include "../programs/row.h"

static uint64_t checksum_of(int from) {
  static unsigned char bytes[1 << 16];
  uint64_t hash = 0xcbf29ce484222325u;
  for (ssize_t got; (got = read(from, bytes, sizeof bytes)) > 0;)
    for (ssize_t i = 0; i < got; ++i) hash = (hash ^ bytes[i]) * 0x100000001b3u;
  return hash;
}

int main(int argc, char** argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: %s NAME ITERATIONS COMMAND [ARGUMENT...]\n", argv[0]);
    return 2;
  }
  int ends[2];
  if (pipe(ends) != 0) fail("pipe");
  printf("bench: start %s\n", argv[1]);  // what came before was preparation
  fflush(stdout);
  const double start = seconds_now();
  const pid_t child = fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    dup2(ends[1], 1);
    close(ends[0]);
    close(ends[1]);
    execvp(argv[3], argv + 3);
    perror(argv[3]);
    _exit(127);
  }
  close(ends[1]);
  const uint64_t checksum = checksum_of(ends[0]);
  int status = -1;
  waitpid(child, &status, 0);
  const double seconds = seconds_now() - start;
  if (status != 0) {
    fprintf(stderr, "bench: %s ended with status %#x\n", argv[3], (unsigned)status);
    return 1;
  }
  return print_row(argv[1], strtoull(argv[2], NULL, 10), seconds, checksum);
}
