// Integer code in the first-level cache: the sieve of Eratosthenes over 32 KiB of bytes. An iteration is one sieve.
#include "row.h"

enum { limit = 32768 };

static uint8_t composite[limit];

__attribute__((noinline)) static unsigned count_primes(void) {
  unsigned primes = 0;
  memset(composite, 0, limit);
  for (unsigned i = 2; i < limit; i++) {
    if (composite[i]) continue;
    primes++;
    for (unsigned j = 2 * i; j < limit; j += i) composite[j] = 1;
  }
  return primes;
}

int main(int argc, char** argv) {
  const uint64_t iterations = iterations_of(argc, argv);
  uint64_t sum = 0;
  const double start = seconds_now();
  for (uint64_t i = 0; i < iterations; i++) sum += count_primes();
  return print_row("sieve", iterations, seconds_now() - start, sum);
}
