// Sizes as people write them: "512M", "1G", "65536".
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "base/types.h"

namespace doppel {

constexpr u64 KiB = u64{1} << 10;
constexpr u64 MiB = u64{1} << 20;
constexpr u64 GiB = u64{1} << 30;

constexpr u64 nanoseconds_per_second = 1'000'000'000;

// Bytes; a number with an optional suffix K, M, G or T (powers of 1024, either case, an optional "iB" or "B").
// A usage error for anything else, and for what does not fit 64 bits.
Result<u64> parse_size(std::string_view text);
std::string format_size(u64 bytes);  // "512 MiB"

}  // namespace doppel
