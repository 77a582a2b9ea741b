// Anonymous memory of 8 MiB, touched page by page (4 KiB) and given back. An iteration is 2048 page faults.
#include <sys/mman.h>

#include "row.h"

enum { page_bytes = 4096, bytes = 8 << 20 };

int main(int argc, char** argv) {
  const uint64_t iterations = iterations_of(argc, argv);
  uint64_t sum = 0;
  const double start = seconds_now();
  for (uint64_t i = 0; i < iterations; i++) {
    uint8_t* memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) fail("mmap");
    madvise(memory, bytes, MADV_NOHUGEPAGE);
    for (size_t at = 0; at < bytes; at += page_bytes) {
      memory[at]++;
      sum += memory[at];
    }
    if (munmap(memory, bytes) != 0) fail("munmap");
  }
  return print_row("faults", iterations, seconds_now() - start, sum);
}
