// Loads that wait for each other: one random cycle through every cache line of 32 MiB, in pages of 4 KiB.
// An iteration is 1000 loads.
#include <sys/mman.h>

#include "row.h"

enum { line_bytes = 64, lines = (32 << 20) / line_bytes };

struct Line {
  struct Line* next;
  uint64_t number;
  char rest[line_bytes - 16];
};

// Sattolo's shuffle makes one cycle of all lines.
static struct Line* make_cycle(void) {
  struct Line* all = mmap(NULL, sizeof(struct Line) * lines, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (all == MAP_FAILED) fail("mmap");
  madvise(all, sizeof(struct Line) * lines, MADV_NOHUGEPAGE);
  for (uint32_t i = 0; i < lines; i++) all[i].number = i;
  uint64_t state = 88172645463325252u;
  for (uint32_t i = lines - 1; i > 0; i--) {
    const uint32_t j = (uint32_t)(next_random(&state) % i);
    const uint64_t swapped = all[i].number;
    all[i].number = all[j].number;
    all[j].number = swapped;
  }
  for (uint32_t i = 0; i < lines; i++) all[i].next = &all[all[i].number];
  return all;
}

int main(int argc, char** argv) {
  const uint64_t iterations = iterations_of(argc, argv);
  const struct Line* line = make_cycle();
  const double start = seconds_now();
  for (uint64_t i = 0; i < iterations * 1000; i++) line = line->next;
  return print_row("loads", iterations, seconds_now() - start, line->number);
}
