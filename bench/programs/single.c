// Packed single precision: the product of two matrices of 64 x 64 with SSE intrinsics. An iteration is one product.
#include <xmmintrin.h>

#include "row.h"

enum { size = 64 };

static float a[size][size] __attribute__((aligned(16)));
static float b[size][size] __attribute__((aligned(16)));
static float product[size][size] __attribute__((aligned(16)));

__attribute__((noinline)) static void multiply(void) {
  for (int row = 0; row < size; row++) {
    for (int column = 0; column < size; column += 16) {
      __m128 sum0 = _mm_setzero_ps(), sum1 = sum0, sum2 = sum0, sum3 = sum0;
      for (int k = 0; k < size; k++) {
        const __m128 factor = _mm_set1_ps(a[row][k]);
        sum0 = _mm_add_ps(sum0, _mm_mul_ps(factor, _mm_load_ps(&b[k][column])));
        sum1 = _mm_add_ps(sum1, _mm_mul_ps(factor, _mm_load_ps(&b[k][column + 4])));
        sum2 = _mm_add_ps(sum2, _mm_mul_ps(factor, _mm_load_ps(&b[k][column + 8])));
        sum3 = _mm_add_ps(sum3, _mm_mul_ps(factor, _mm_load_ps(&b[k][column + 12])));
      }
      _mm_store_ps(&product[row][column], sum0);
      _mm_store_ps(&product[row][column + 4], sum1);
      _mm_store_ps(&product[row][column + 8], sum2);
      _mm_store_ps(&product[row][column + 12], sum3);
    }
  }
}

int main(int argc, char** argv) {
  const uint64_t iterations = iterations_of(argc, argv);
  for (int i = 0; i < size; i++) {
    for (int j = 0; j < size; j++) {
      a[i][j] = (float)(i + 1) / (float)(j + 2);
      b[i][j] = (float)(j + 1) / (float)(i + 3);
    }
  }
  const double start = seconds_now();
  for (uint64_t i = 0; i < iterations; i++) {
    multiply();
    a[i % size][0] = product[i % size][5] * 0.001f;
  }
  const double seconds = seconds_now() - start;
  uint64_t checksum = 0;
  for (int i = 0; i < size; i++) {
    for (int j = 0; j < size; j++) {
      uint32_t bits;
      memcpy(&bits, &product[i][j], sizeof bits);
      checksum = checksum * 31 + bits;
    }
  }
  return print_row("single", iterations, seconds, checksum);
}
