// Calls through a pointer and branches that nobody predicts: a quicksort of 16384 numbers with a compare function.
// An iteration is one sort.
#include "row.h"

enum { count = 16384 };

typedef int (*Compare)(const void*, const void*);

static uint32_t numbers[count];

__attribute__((noipa)) static int compare_numbers(const void* left, const void* right) {
  const uint32_t a = *(const uint32_t*)left, b = *(const uint32_t*)right;
  return (a > b) - (a < b);
}

__attribute__((noipa)) static void sort(uint32_t* items, long low, long high, Compare compare) {
  while (low < high) {
    const uint32_t pivot = items[(low + high) / 2];
    long i = low, j = high;
    while (i <= j) {
      while (compare(&items[i], &pivot) < 0) i++;
      while (compare(&items[j], &pivot) > 0) j--;
      if (i > j) break;
      const uint32_t swapped = items[i];
      items[i++] = items[j];
      items[j--] = swapped;
    }
    sort(items, low, j, compare);
    low = i;
  }
}

int main(int argc, char** argv) {
  const uint64_t iterations = iterations_of(argc, argv);
  uint64_t state = 88172645463325252u, sum = 0;
  const double start = seconds_now();
  for (uint64_t i = 0; i < iterations; i++) {
    for (int n = 0; n < count; n++) numbers[n] = (uint32_t)next_random(&state);
    sort(numbers, 0, count - 1, compare_numbers);
    for (int n = 1; n < count; n++) {
      if (numbers[n - 1] > numbers[n]) fail("not sorted");
    }
    sum = sum * 31 + numbers[count / 2];
  }
  return print_row("sort", iterations, seconds_now() - start, sum);
}
