// Random numbers for RDRAND and RDSEED.
#include "engine/interpreter/integer/random.h"

#include <sys/random.h>

#include <iterator>

#include "base/check.h"

namespace doppel::interpreter {
namespace {

// SplitMix64's output function: a bijection with good avalanche.
u64 mix(u64 value) {
  value = (value ^ value >> 30) * 0xbf58'476d'1ce4'e5b9u;
  value = (value ^ value >> 27) * 0x94d0'49bb'1331'11ebu;
  return value ^ value >> 31;
}

}  // namespace

u64 host_random(Cpu& cpu, const Op*) {
  RandomBuffer& buffer = cpu.random_buffer;
  if (buffer.left == 0) {
    // Up to 256 bytes are never cut short, and early boot is the only time it waits.
    const auto got = getrandom(buffer.words, sizeof(buffer.words), 0);
    CHECK(got == static_cast<ssize_t>(sizeof(buffer.words)));
    buffer.left = std::size(buffer.words);
  }
  return buffer.words[--buffer.left];
}

u64 instruction_random(Cpu& cpu, const Op* op) {
  // A block is charged whole on entry; what of it is still to come has not been executed.
  const u64 retired = cpu.executed() - static_cast<u64>(cpu.block->count - (op - cpu.block->ops));
  return mix(mix(cpu.index + 1) ^ retired * 0x9e37'79b9'7f4a'7c15u);
}

}  // namespace doppel::interpreter
