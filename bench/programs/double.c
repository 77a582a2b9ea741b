// Scalar double precision: five bodies that attract each other. An iteration is 100 steps.
#include <math.h>

#include "row.h"

enum { bodies = 5 };

struct Body {
  double x, y, z, vx, vy, vz, mass;
};

static struct Body system_of_bodies[bodies] = {
    {0, 0, 0, 0, 0, 0, 39.5},
    {4.84, -1.16, -0.10, 0.61, 2.81, -0.02, 0.038},
    {8.34, 4.12, -0.40, -1.01, 1.82, 0.01, 0.011},
    {12.89, -15.11, -0.22, 1.08, 0.87, -0.01, 0.0017},
    {15.38, -25.92, 0.18, 0.98, 0.59, -0.03, 0.0020},
};

__attribute__((noinline)) static void step(struct Body* all, double time) {
  for (int i = 0; i < bodies; i++) {
    for (int j = i + 1; j < bodies; j++) {
      const double dx = all[i].x - all[j].x, dy = all[i].y - all[j].y, dz = all[i].z - all[j].z;
      const double square = dx * dx + dy * dy + dz * dz;
      const double pull = time / (square * sqrt(square));
      all[i].vx -= dx * all[j].mass * pull;
      all[i].vy -= dy * all[j].mass * pull;
      all[i].vz -= dz * all[j].mass * pull;
      all[j].vx += dx * all[i].mass * pull;
      all[j].vy += dy * all[i].mass * pull;
      all[j].vz += dz * all[i].mass * pull;
    }
  }
  for (int i = 0; i < bodies; i++) {
    all[i].x += time * all[i].vx;
    all[i].y += time * all[i].vy;
    all[i].z += time * all[i].vz;
  }
}

int main(int argc, char** argv) {
  const uint64_t iterations = iterations_of(argc, argv);
  const double start = seconds_now();
  for (uint64_t i = 0; i < iterations * 100; i++) step(system_of_bodies, 0.001);
  const double seconds = seconds_now() - start;
  uint64_t checksum;
  memcpy(&checksum, &system_of_bodies[1].x, sizeof checksum);
  return print_row("double", iterations, seconds, checksum);
}
