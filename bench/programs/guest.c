// The first process of a guest that is measured: says that it runs, runs the rows that the kernel command line names
// after "--" as NAME ITERATIONS, says that it is done, and sleeps; the host ends the machine.
#include <sys/wait.h>
#include <unistd.h>

#include "row.h"

static void run(const char* name, char* iterations) {
  char path[64];
  snprintf(path, sizeof path, "/bench/%s", name);
  printf("bench: start %s\n", name);
  fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    char* arguments[] = {path, iterations, NULL};
    execv(path, arguments);
    perror(path);
    _exit(127);
  }
  int status = -1;
  waitpid(child, &status, 0);
  if (status != 0) printf("bench: %s failed with status %#x\n", name, (unsigned)status);
}

int main(int argc, char** argv) {
  puts("bench: init");
  fflush(stdout);
  for (int i = 1; i + 1 < argc; i += 2) run(argv[i], argv[i + 1]);
  puts("bench: done");
  fflush(stdout);
  for (;;) pause();
}
