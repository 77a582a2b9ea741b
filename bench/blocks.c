// Times transfers to a block device or a file: sequential ones of 1 MiB, random ones of 4 KiB, one after another; and
// the same from 16 threads at once, so that as many requests wait in the device's queue.
//
//   blocks DEVICE MEGABYTES REQUESTS [cached]     each line: disk: NAME BYTES SECONDS
//
// Without "cached" the caches of this kernel are left out (O_DIRECT). Writes end with fsync, which counts.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { large = 1 << 20, small = 4096, most_depth = 16 };

static char* buffers;  // one for each thread

static uint64_t next(uint64_t* state) {  // xorshift64
  *state ^= *state << 13;
  *state ^= *state >> 7;
  return *state ^= *state << 17;
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

// A part of a row's transfers, done one after another by a thread.
struct part {
  pthread_t thread;
  const char* name;
  int fd, write_it;
  char* buffer;
  size_t bytes;
  uint64_t first, count, step, places, seed;
};

static void* transfer(void* argument) {
  struct part* part = argument;
  uint64_t i = part->first;
  for (uint64_t done = 0; done < part->count; ++done, i += part->step) {
    const off_t place = (off_t)((part->bytes == small ? next(&part->seed) % part->places : i) * part->bytes);
    const ssize_t moved = part->write_it ? pwrite(part->fd, part->buffer, part->bytes, place)
                                         : pread(part->fd, part->buffer, part->bytes, place);
    if (moved != (ssize_t)part->bytes) {
      perror(part->name);
      exit(1);
    }
  }
  return NULL;
}

static void run(const char* name, int fd, unsigned depth, uint64_t count, size_t bytes, uint64_t places, int write_it) {
  struct part parts[most_depth];
  const double began = now();
  for (unsigned i = 0; i < depth; ++i) {
    parts[i] = (struct part){.name = name, .fd = fd, .write_it = write_it, .buffer = buffers + i * (size_t)large,
                             .bytes = bytes, .first = i, .count = count / depth, .step = depth, .places = places,
                             .seed = 88172645463325252u + i};
    if (i != 0 && pthread_create(&parts[i].thread, NULL, transfer, &parts[i]) != 0) exit(1);
  }
  transfer(&parts[0]);
  for (unsigned i = 1; i < depth; ++i) pthread_join(parts[i].thread, NULL);
  if (write_it && fsync(fd) != 0) exit(1);
  printf("disk: %s %llu %.4f\n", name, (unsigned long long)(count / depth * depth * bytes), now() - began);
  fflush(stdout);
}

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const uint64_t megabytes = strtoull(argv[2], NULL, 10), requests = strtoull(argv[3], NULL, 10);
  const int fd = open(argv[1], O_RDWR | (argc > 4 ? 0 : O_DIRECT));
  buffers = aligned_alloc(4096, (size_t)large * most_depth);
  if (fd < 0 || buffers == NULL) {
    perror(argv[1]);
    return 1;
  }
  uint64_t seed = 1;
  for (size_t i = 0; i < (size_t)large * most_depth; i += 8) {
    const uint64_t word = next(&seed);
    memcpy(buffers + i, &word, 8);
  }
  const uint64_t places = megabytes * (large / small);
  run("new-1M", fd, 1, megabytes, large, 0, 1);
  run("write-1M", fd, 1, megabytes, large, 0, 1);
  run("read-1M", fd, 1, megabytes, large, 0, 0);
  run("write-1M-16", fd, most_depth, megabytes, large, 0, 1);
  run("read-1M-16", fd, most_depth, megabytes, large, 0, 0);
  run("write-4K", fd, 1, requests, small, places, 1);
  run("read-4K", fd, 1, requests, small, places, 0);
  run("write-4K-16", fd, most_depth, requests * 4, small, places, 1);
  run("read-4K-16", fd, most_depth, requests * 4, small, places, 0);
  return 0;
}
