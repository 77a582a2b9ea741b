// CHECK states what must hold if our own code is right. It stays on in release builds and ends the process.
#pragma once

namespace doppel {

[[noreturn, gnu::cold]] void check_failed(const char* expression, const char* file, int line);

}  // namespace doppel

#define CHECK(condition)                                      \
  do {                                                        \
    if (!(condition)) [[unlikely]]                            \
      ::doppel::check_failed(#condition, __FILE__, __LINE__); \
  } while (0)
