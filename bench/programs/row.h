// What the rows of the benchmark share. A row is a static program `NAME ITERATIONS` that measures its own work, without
// its preparation, and prints one line: name, iterations, seconds, checksum. The checksum is the same on every machine
// that computes right, so that a fast wrong result is noticed.
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline double seconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static inline uint64_t iterations_of(int argc, char** argv) {
  const uint64_t iterations = argc == 2 ? strtoull(argv[1], NULL, 10) : 0;
  if (iterations == 0) {
    fprintf(stderr, "usage: %s ITERATIONS\n", argv[0]);
    exit(2);
  }
  return iterations;
}

static inline int print_row(const char* name, uint64_t iterations, double seconds, uint64_t checksum) {
  printf("%s %llu %.9f %016llx\n", name, (unsigned long long)iterations, seconds, (unsigned long long)checksum);
  return fflush(stdout) == 0 ? 0 : 1;
}

static inline void fail(const char* what) {
  perror(what);
  exit(1);
}

// xorshift64: the same numbers everywhere.
static inline uint64_t next_random(uint64_t* state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}
