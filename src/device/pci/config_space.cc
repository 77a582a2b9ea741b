// Configuration space as data; see config_space.h.
#include "device/pci/config_space.h"

#include "base/bits.h"
#include "base/check.h"

namespace doppel {

void ConfigSpace::define(const ConfigRegister& reg) {
  CHECK(reg.offset + reg.bytes <= size);
  for (unsigned i = 0; i < reg.bytes; ++i) {
    bytes_[reg.offset + i] = reset_[reg.offset + i] = static_cast<u8>(reg.reset >> (8 * i));
    writable_[reg.offset + i] = static_cast<u8>(reg.writable >> (8 * i));
    clears_[reg.offset + i] = static_cast<u8>(reg.clears >> (8 * i));
    kept_[reg.offset + i] = static_cast<u8>(reg.kept >> (8 * i));
  }
}

unsigned ConfigSpace::add_capability(u8 id, unsigned bytes) {
  const unsigned offset = next_capability_;
  CHECK(offset + bytes <= size);
  next_capability_ = static_cast<unsigned>(align_up(offset + bytes, 4));
  const u8 next = bytes_[pci::capabilities_pointer];  // new ones come first
  define({"Capability ID", offset, 1, id});
  define({"Next capability", offset + 1, 1, next});
  define({"Capabilities Pointer", pci::capabilities_pointer, 1, offset});
  bytes_[pci::status] |= pci::status_capabilities;
  reset_[pci::status] |= pci::status_capabilities;
  return offset;
}

u32 ConfigSpace::read(unsigned offset, unsigned bytes) const {
  u32 value = 0;
  for (unsigned i = 0; i < bytes; ++i) {
    value |= static_cast<u32>(offset + i < size ? bytes_[offset + i] : 0xff) << (8 * i);
  }
  return value;
}

void ConfigSpace::write(unsigned offset, unsigned bytes, u32 value) {
  for (unsigned i = 0; i < bytes && offset + i < size; ++i) {
    const unsigned at = offset + i;
    const u8 byte = static_cast<u8>(value >> (8 * i));
    bytes_[at] = static_cast<u8>(((bytes_[at] & ~writable_[at]) | (byte & writable_[at])) & ~(byte & clears_[at]));
  }
}

void ConfigSpace::put(unsigned offset, unsigned bytes, u32 value) {
  CHECK(offset + bytes <= size);
  for (unsigned i = 0; i < bytes; ++i) bytes_[offset + i] = static_cast<u8>(value >> (8 * i));
}

void ConfigSpace::state(state::Archive& archive) {
  std::array<u8, size> bytes = bytes_;
  archive.raw(bytes.data(), bytes.size());
  if (!archive.loading() || !archive.ok()) return;
  archive.require(bytes[0] == reset_[0] && bytes[1] == reset_[1] && bytes[2] == reset_[2] && bytes[3] == reset_[3],
                  "PCI vendor and device ID");
  for (unsigned i = 0; i < size; ++i) {
    const u8 variable = writable_[i] | clears_[i] | kept_[i];
    bytes_[i] = static_cast<u8>((bytes[i] & variable) | (reset_[i] & ~variable));
  }
}

}  // namespace doppel
