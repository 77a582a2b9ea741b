// x87: an orbit under a central force in 80-bit precision, with divisions and square roots. An iteration is 1000 steps.
#include "row.h"

static inline long double square_root(long double value) {
  __asm__("fsqrt" : "+t"(value));
  return value;
}

int main(int argc, char** argv) {
  const uint64_t iterations = iterations_of(argc, argv);
  long double x = 1.0L, y = 0.0L, vx = 0.0L, vy = 0.9L;
  const long double time = 0.0009765625L;
  const double start = seconds_now();
  for (uint64_t i = 0; i < iterations * 1000; i++) {
    const long double square = x * x + y * y;
    const long double pull = time / (square * square_root(square));
    vx -= x * pull;
    vy -= y * pull;
    x += vx * time;
    y += vy * time;
  }
  const double seconds = seconds_now() - start;
  uint64_t checksum;
  memcpy(&checksum, &x, sizeof checksum);  // the 64 bits of the significand
  return print_row("x87", iterations, seconds, checksum);
}
