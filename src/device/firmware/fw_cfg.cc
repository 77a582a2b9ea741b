// All numbers of the DMA interface and of the directory are big endian. See fw_cfg.h.
#include "device/firmware/fw_cfg.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace doppel {

namespace {

namespace key {
constexpr u16 signature = 0x0000, interface = 0x0001, file_directory = 0x0019, first_file = 0x0020, last_file = 0x3fff;
}
constexpr u32 has_ports = 1 << 0, has_dma = 1 << 1;

constexpr u64 selector_register = 0, data_register = 1, dma_high_register = 4, dma_low_register = 8;
constexpr u64 dma_signature = 0x5145'4d55'2043'4647;  // "QEMU CFG"

namespace control {
constexpr u32 error = 1 << 0, read = 1 << 1, skip = 1 << 2, select = 1 << 3, write = 1 << 4;
}
struct DmaDescriptor {
  u32 control, length;
  u64 address;
};
constexpr u64 directory_name_bytes = 56;

void put_big_endian(std::vector<u8>& out, u64 value, unsigned bytes) {
  for (unsigned i = bytes; i-- > 0;) out.push_back(static_cast<u8>(value >> (8 * i)));
}

u64 swap_bytes(u64 value, unsigned bytes) { return __builtin_bswap64(value) >> (64 - 8 * bytes); }

}  // namespace

FwCfg::FwCfg(Dma& memory) : memory_(memory) {
  items_[key::signature] = {'Q', 'E', 'M', 'U'};
  items_[key::interface] = {has_ports | has_dma, 0, 0, 0};
  list_files();
}

Result<> FwCfg::add_item(u16 number, std::vector<u8> contents) {
  if (contents.size() > largest_item) return fail(fmt::format("fw_cfg item {:#x} is too large", number));
  if (!items_.emplace(number, std::move(contents)).second)
    return fail(fmt::format("fw_cfg item {:#x} exists already", number));
  return {};
}

Result<> FwCfg::add_file(std::string file, std::vector<u8> contents) {
  if (file.empty() || file.size() >= directory_name_bytes)
    return fail(fmt::format("'{}' is no name for a fw_cfg file", file));
  if (files_.contains(file)) return fail(fmt::format("fw_cfg file '{}' exists already", file));
  u16 number = key::first_file;
  while (items_.contains(number)) ++number;
  if (number > key::last_file) return fail("fw_cfg has no room for another file");
  if (auto added = add_item(number, std::move(contents)); !added) return added;
  files_.emplace(std::move(file), number);
  list_files();
  return {};
}

// {count} then per file {size, selector, reserved, name}, sorted by name.
void FwCfg::list_files() {
  std::vector<u8> directory;
  put_big_endian(directory, files_.size(), 4);
  for (const auto& [file, number] : files_) {
    put_big_endian(directory, items_.at(number).size(), 4);
    put_big_endian(directory, number, 2);
    put_big_endian(directory, 0, 2);
    directory.insert(directory.end(), file.begin(), file.end());
    directory.insert(directory.end(), directory_name_bytes - file.size(), 0);
  }
  items_[key::file_directory] = std::move(directory);
}

u64 FwCfg::read(Access access) {
  const std::scoped_lock lock(mutex_);
  if (access.offset == data_register && access.bytes == 1) return next_byte();
  if (access.offset >= dma_high_register && access.offset + access.bytes <= size) {
    // The register reads as the signature, whose bytes are in the order of addresses.
    const u64 bytes_in_order = swap_bytes(dma_signature, 8);
    return bytes_in_order >> (8 * (access.offset - dma_high_register));
  }
  return 0;
}

void FwCfg::write(Access access, u64 value) {
  const std::scoped_lock lock(mutex_);
  if (access.offset == selector_register && access.bytes == 2) {
    select(static_cast<u16>(value));
  } else if (access.offset == dma_high_register && access.bytes == 4) {
    dma_address_high_ = static_cast<u32>(swap_bytes(value, 4));
  } else if (access.offset == dma_high_register && access.bytes == 8) {
    transfer(swap_bytes(value, 8));
  } else if (access.offset == dma_low_register && access.bytes == 4) {
    const u64 high = std::exchange(dma_address_high_, 0);
    transfer(high << 32 | swap_bytes(value, 4));
  }
}

const std::vector<u8>* FwCfg::selected() const {
  const auto item = items_.find(key_);
  return item == items_.end() ? nullptr : &item->second;
}

void FwCfg::select(u16 number) {
  key_ = number;
  offset_ = 0;
}

// Past the end of an item, and of one that does not exist, everything is zero.
u8 FwCfg::next_byte() {
  const std::vector<u8>* item = selected();
  return item != nullptr && offset_ < item->size() ? (*item)[offset_++] : 0;
}

void FwCfg::transfer(GuestPhysical descriptor) {
  DmaDescriptor request{};
  if (!memory_.read(descriptor, request)) return;  // nowhere to report it
  const u32 wanted = static_cast<u32>(swap_bytes(request.control, 4));
  const u64 length = swap_bytes(request.length, 4);
  if (wanted & control::select) select(static_cast<u16>(wanted >> 16));

  bool failed = false;
  if (wanted & control::read) {
    failed = !copy_to_guest(swap_bytes(request.address, 8), length);
  } else if (wanted & control::write) {
    failed = true;
  } else if (wanted & control::skip) {
    const std::vector<u8>* item = selected();
    offset_ = item == nullptr ? 0 : std::min<u64>(offset_ + length, item->size());
  }
  // Written last: the guest may be waiting for it to become zero.
  memory_.write(descriptor, static_cast<u32>(swap_bytes(failed ? control::error : 0, 4)));
}

bool FwCfg::copy_to_guest(GuestPhysical address, u64 bytes) {
  const std::vector<u8>* item = selected();
  const u64 available = item == nullptr ? 0 : std::min<u64>(bytes, item->size() - offset_);
  if (available != 0 && !memory_.write(address, item->data() + offset_, available)) return false;
  offset_ += available;
  // Stops at the end of RAM, which bounds what a guest can ask for.
  constexpr std::array<u8, 4096> zeros{};
  for (u64 done = available; done < bytes;) {
    const u64 piece = std::min<u64>(bytes - done, zeros.size());
    if (!memory_.write(address + done, zeros.data(), piece)) return false;
    done += piece;
  }
  return true;
}

void FwCfg::reset() {
  const std::scoped_lock lock(mutex_);
  key_ = 0;
  offset_ = 0;
  dma_address_high_ = 0;
}

// The items are part of the machine's definition.
void FwCfg::state(state::Archive& archive) {
  const std::scoped_lock lock(mutex_);
  archive.begin("fw_cfg", 1);
  archive(key_);
  archive(offset_);
  archive(dma_address_high_);
  const std::vector<u8>* item = selected();
  archive.require(offset_ <= (item == nullptr ? 0 : item->size()), "offset in a fw_cfg item");
  if (archive.loading() && !archive.ok()) offset_ = 0;
  archive.end();
}

}  // namespace doppel
