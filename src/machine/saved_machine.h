// A saved machine in one file:
//
//   "DOPPELVM"  u32 version  u32 0  u64 length  length bytes: a state archive (spec, clock, vCPUs, devices)
//   u64 RAM bytes, then chunks {u64 offset, u32 bytes, u32 stored bytes, zstd frame} in rising order; pages of zeros are left out
//   u64 ~0, u64 hash of all RAM
//
// Little endian. The file is written beside its final name and renamed when it is whole and on disk, so that a name never
// stands for half a machine. Nothing in it is trusted when it is read.
#pragma once

#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "memory/physical_memory.h"

namespace doppel {

Result<> write_saved_machine(const std::string& path, const std::vector<u8>& state, const PhysicalMemory& memory);

class SavedMachine {
 public:
  // Reads the header and the state; the RAM follows with load_ram().
  static Result<SavedMachine> open(const std::string& path);
  std::vector<u8>& state() { return state_; }
  // Into RAM that is all zero.
  Result<> load_ram(PhysicalMemory& memory);

 private:
  SavedMachine(std::string path, Fd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  Result<> read(void* data, std::size_t size);
  template <class T>
  Result<T> read() {
    T value{};
    if (auto result = read(&value, sizeof value); !result) return std::unexpected(result.error());
    return value;
  }

  std::string path_;
  Fd fd_;
  std::vector<u8> state_;
};

}  // namespace doppel
