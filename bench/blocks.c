// Times transfers to a block device or a file: sequential ones of 1 MiB, random ones of 4 KiB, one after another.
//
//   blocks DEVICE MEGABYTES REQUESTS [cached]     each line: disk: NAME BYTES SECONDS
//
// Without "cached" the caches of this kernel are left out (O_DIRECT). Writes end with fsync, which counts.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { large = 1 << 20, small = 4096 };

static uint64_t state = 88172645463325252u;

static uint64_t next(void) {  // xorshift64
  state ^= state << 13;
  state ^= state >> 7;
  return state ^= state << 17;
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void run(const char* name, int fd, char* buffer, uint64_t count, size_t bytes, uint64_t places, int write_it) {
  const double began = now();
  for (uint64_t i = 0; i < count; ++i) {
    const off_t place = (off_t)((bytes == small ? next() % places : i) * bytes);
    const ssize_t done = write_it ? pwrite(fd, buffer, bytes, place) : pread(fd, buffer, bytes, place);
    if (done != (ssize_t)bytes) {
      perror(name);
      exit(1);
    }
  }
  if (write_it && fsync(fd) != 0) exit(1);
  printf("disk: %s %llu %.4f\n", name, (unsigned long long)(count * bytes), now() - began);
  fflush(stdout);
}

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const uint64_t megabytes = strtoull(argv[2], NULL, 10), requests = strtoull(argv[3], NULL, 10);
  const int fd = open(argv[1], O_RDWR | (argc > 4 ? 0 : O_DIRECT));
  char* buffer = aligned_alloc(4096, large);
  if (fd < 0 || buffer == NULL) {
    perror(argv[1]);
    return 1;
  }
  for (size_t i = 0; i < large; i += 8) {
    const uint64_t word = next();
    memcpy(buffer + i, &word, 8);
  }
  run("new-1M", fd, buffer, megabytes, large, 0, 1);
  run("write-1M", fd, buffer, megabytes, large, 0, 1);
  run("read-1M", fd, buffer, megabytes, large, 0, 0);
  run("write-4K", fd, buffer, requests, small, megabytes * (large / small), 1);
  run("read-4K", fd, buffer, requests, small, megabytes * (large / small), 0);
  return 0;
}
