// The fw_cfg device: hands firmware numbered items, some of them files with names. QEMU, docs/specs/fw_cfg.rst; the
// interface by ports and the one by DMA. Items are made by the board and read-only to the guest.
//
//   +0 selector (16 bits, write)   +1 data (8 bits, read)   +4 DMA address, high half   +8 low half, starts (big endian)
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"
#include "device/device.h"
#include "memory/bus.h"
#include "memory/physical_memory.h"

namespace doppel {

class FwCfg final : public Device, public IoHandler {
 public:
  static constexpr u64 base = 0x510, size = 12;
  static constexpr u64 largest_item = u64{1} << 30;

  explicit FwCfg(Dma& memory);

  // Before the machine starts. Well-known numbers are in the specification; files get theirs here, and are listed by name.
  Result<> add_item(u16 key, std::vector<u8> contents);
  Result<> add_file(std::string name,
                    std::vector<u8> contents);  // a name of at most 55 characters, like "etc/table-loader"

  u64 read(Access access) override;
  void write(Access access, u64 value) override;

  std::string_view name() const override { return "fw_cfg"; }
  void reset() override;
  void state(state::Archive& archive) override;

 private:
  void select(u16 key);
  u8 next_byte();
  void transfer(GuestPhysical descriptor);
  bool copy_to_guest(GuestPhysical address, u64 bytes);
  const std::vector<u8>* selected() const;
  void list_files();

  Dma& memory_;
  std::map<u16, std::vector<u8>> items_;
  std::map<std::string, u16> files_;

  std::mutex mutex_;  // guards what follows
  u16 key_ = 0;
  u64 offset_ = 0;  // into the selected item; never beyond its end
  u32 dma_address_high_ = 0;
};

}  // namespace doppel
