// Fuzzing of a device through its registers: accesses of any width anywhere, passing time, whatever else the rig can do to it; now
// and then its state is saved and loaded into a new one, which must save the same, or damaged first, which must be survived.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "device/device.h"
#include "device/testing/byte_source.h"
#include "device/testing/fake_clock.h"
#include "memory/bus.h"

namespace doppel::testing {

// A derived rig owns the device, adds it to `devices` and maps it from address 0 on.
struct FuzzRig {
  virtual ~FuzzRig() = default;
  virtual void host_event(ByteSource&) {}

  FakeClock clock;
  Bus bus{u64{1} << 16};
  u64 span = 0;  // addresses in use
  std::vector<Device*> devices;

  void map(u64 size, IoHandler& handler) {
    CHECK(bus.map(span, size, handler, "device").has_value());
    span += size;
  }
  void state(state::Archive& archive) {
    for (Device* device : devices) device->state(archive);
  }
  std::vector<u8> save() {
    state::Archive archive = state::Archive::for_saving();
    state(archive);
    return archive.take();
  }
  bool load(std::vector<u8> bytes, Nanoseconds now) {
    clock.advance(now);
    state::Archive archive = state::Archive::for_loading(std::move(bytes));
    state(archive);
    return archive.ok();
  }
};

template <class Rig>
void fuzz_device(const u8* data, std::size_t size) {
  ByteSource in(data, size);
  auto rig = std::make_unique<Rig>();
  for (Device* device : rig->devices) device->reset();
  if (in.next(1) % 4 == 0) rig->clock.advance(in.next(8) >> 3);
  for (unsigned steps = 0; !in.empty() && steps < 4096; ++steps) {
    const u64 choice = in.next(1);
    const unsigned bytes = 1u << (choice >> 6);
    switch (choice & 63) {
      case 0: rig->clock.advance(in.next(2) << in.next(1) % 15); break;
      case 1:
        for (Device* device : rig->devices) device->reset();
        break;
      case 2:
      case 3: {
        std::vector<u8> saved = rig->save();
        const bool damage = (choice & 1) != 0;
        if (damage) saved[in.next(2) % saved.size()] ^= static_cast<u8>(in.next(1));
        auto next = std::make_unique<Rig>();
        const bool loaded = next->load(saved, rig->clock.now());
        if (!damage) CHECK(loaded && next->save() == saved);
        if (loaded) rig = std::move(next);
        break;
      }
      case 4: rig->host_event(in); break;
      default: {
        const u64 address = in.next(2) % rig->span;
        if (choice & 32) {
          rig->bus.write(address, bytes, in.next(bytes));
        } else {
          rig->bus.read(address, bytes);
        }
      }
    }
  }
}

}  // namespace doppel::testing
