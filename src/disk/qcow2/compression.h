// Compressed clusters: raw deflate with a window of 4 KiB, or zstd frames.
#pragma once

#include <span>
#include <vector>

#include "base/types.h"
#include "disk/qcow2/format.h"

namespace doppel::disk::qcow2 {

// Fills `cluster` from the start of `bytes`, which may be followed by something else. False: they are no such data.
bool decompress(Compression method, std::span<const u8> bytes, std::span<u8> cluster);
// Nothing when the result would have `most` bytes or more.
std::vector<u8> compress(Compression method, std::span<const u8> cluster, u64 most);

}  // namespace doppel::disk::qcow2
