// A small, seedable random source (splitmix64): the same seed gives the same cases.
#pragma once

#include "base/types.h"

namespace doppel::oracle {

class Random {
 public:
  explicit Random(u64 seed) : state_(seed) {}

  u64 next() {
    u64 z = (state_ += 0x9e37'79b9'7f4a'7c15u);
    z = (z ^ (z >> 30)) * 0xbf58'476d'1ce4'e5b9u;
    z = (z ^ (z >> 27)) * 0x94d0'49bb'1331'11ebu;
    return z ^ (z >> 31);
  }
  u64 below(u64 limit) { return next() % limit; }
  bool chance(unsigned percent) { return below(100) < percent; }

 private:
  u64 state_;
};

}  // namespace doppel::oracle
