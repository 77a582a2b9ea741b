// What register-level devices share: a device whose registers answer at several places hands out one IoHandler for each, and an
// 8-bit device sees a wide access as byte accesses, lowest address first, as an ISA bus converts it.
#pragma once

#include "memory/bus.h"

namespace doppel {

template <class Owner>
class IoWindow final : public IoHandler {
 public:
  using Read = u64 (Owner::*)(Access);
  using Write = void (Owner::*)(Access, u64);

  IoWindow(Owner& owner, Read on_read, Write on_write) : owner_(owner), read_(on_read), write_(on_write) {}

  u64 read(Access access) override { return (owner_.*read_)(access); }
  void write(Access access, u64 value) override { (owner_.*write_)(access, value); }

 private:
  Owner& owner_;
  const Read read_;
  const Write write_;
};

// read_byte(offset) -> u8 for each byte of the access.
template <class ReadByte>
u64 read_bytewise(Access access, ReadByte&& read_byte) {
  u64 value = 0;
  for (unsigned i = 0; i < access.bytes; ++i) value |= u64{read_byte(access.offset + i)} << (8 * i);
  return value;
}

// write_byte(offset, u8) for each byte of the access.
template <class WriteByte>
void write_bytewise(Access access, u64 value, WriteByte&& write_byte) {
  for (unsigned i = 0; i < access.bytes; ++i) write_byte(access.offset + i, static_cast<u8>(value >> (8 * i)));
}

}  // namespace doppel
