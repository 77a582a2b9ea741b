// MSI; see msi.h.
#include "device/pci/msi.h"

#include <algorithm>

#include "base/bits.h"
#include "base/check.h"

namespace doppel {

namespace {
// Message Control, §6.8.1.3.
using Enable = Bits<0>;
using MultipleCapable = Bits<1, 3>;
using MultipleEnable = Bits<4, 3>;
using Address64 = Bits<7>;
using PerVectorMasking = Bits<8>;
}  // namespace

Msi::Msi(ConfigSpace& space, unsigned vectors_log2, MsiSink sink)
    : space_(space),
      sink_(std::move(sink)),
      capability_(space.add_capability(pci::capability_msi, 24)),
      vectors_log2_(vectors_log2) {
  CHECK(vectors_log2 <= 5);
  const u32 vectors_mask = static_cast<u32>(low_bits(1u << vectors_log2));
  const ConfigRegister registers[] = {
      {.name = "Message Control",
       .offset = capability_ + 0x2,
       .bytes = 2,
       .reset = static_cast<u32>(MultipleCapable::of(vectors_log2) | Address64::mask | PerVectorMasking::mask),
       .writable = static_cast<u32>(Enable::mask | MultipleEnable::mask)},
      {.name = "Message Address", .offset = capability_ + 0x4, .bytes = 4, .writable = ~u32{3}},
      {.name = "Message Upper Address", .offset = capability_ + 0x8, .bytes = 4, .writable = ~u32{0}},
      {.name = "Message Data", .offset = capability_ + 0xc, .bytes = 2, .writable = 0xffff},
      {.name = "Mask Bits", .offset = capability_ + 0x10, .bytes = 4, .writable = vectors_mask},
      {.name = "Pending Bits", .offset = capability_ + 0x14, .bytes = 4, .kept = vectors_mask},
  };
  space_.define(registers);
}

bool Msi::enabled() const { return Enable::get(space_.get(capability_ + 2, 2)) != 0; }

void Msi::notify(unsigned vector, bool may_send) {
  if (!enabled() || vector >= 1u << vectors_log2_) return;
  if (may_send && (word(0x10) >> vector & 1) == 0) return send(vector);
  space_.put(capability_ + 0x14, 4, word(0x14) | u32{1} << vector);
}

void Msi::registers_changed(bool may_send) {
  if (!enabled() || !may_send) return;
  const u32 ready = word(0x14) & ~word(0x10);
  if (ready == 0) return;
  space_.put(capability_ + 0x14, 4, word(0x14) & ~ready);
  for (unsigned vector = 0; vector < 32; ++vector) {
    if ((ready >> vector & 1) != 0) send(vector);
  }
}

// With fewer vectors enabled than the function has, the low bits of the vector number wrap (§6.8.1.3).
void Msi::send(unsigned vector) {
  const unsigned enabled_log2 = std::min<unsigned>(
      static_cast<unsigned>(MultipleEnable::get(space_.get(capability_ + 2, 2))), vectors_log2_);
  const u32 low = static_cast<u32>(low_bits(enabled_log2));
  const u32 data = space_.get(capability_ + 0xc, 2);
  if (sink_) sink_({u64{word(8)} << 32 | word(4), (data & ~low) | (vector & low)});
}

}  // namespace doppel
