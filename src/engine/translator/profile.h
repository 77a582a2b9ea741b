// Where the guest executes: how often each translated block was entered, by guest address.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "base/types.h"

namespace doppel::translator {

// A block as the guest names it.
struct CodePlace {
  u64 rip = 0;  // linear address at which it was translated; another mapping of the same code counts here, too
  u16 instructions = 0;
  bool user = false;
};

class Profile {
 public:
  void add(const CodePlace& place, u64 entered);
  // The places with most instructions, one a line; shares are of what was entered, as if each block was executed to its end.
  std::string text() const;

 private:
  std::map<std::pair<u64, bool>, u64> instructions_;
};

}  // namespace doppel::translator
