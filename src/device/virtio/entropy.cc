// The virtio entropy device; see entropy.h.
#include "device/virtio/entropy.h"

#include <algorithm>
#include <array>

namespace doppel {

namespace {
constexpr std::array<u16, 1> queue_sizes{64};
constexpr u64 most_bytes = 65'536;  // of one buffer; §5.4.6 lets the device use less than it is offered
}  // namespace

VirtioEntropy::VirtioEntropy(std::string name, Dma dma, const CompletionPolicy& policy, EntropySource& source)
    : VirtioDevice(std::move(name), virtio::type_entropy, dma, policy, queue_sizes), source_(source) {}

void VirtioEntropy::work(unsigned index) {
  consume(index, [&](const Virtqueue::Chain& chain) {
    if (chain.readable_bytes != 0) return needs_reset("entropy buffer that is not for writing");
    u64 left = std::min(chain.writable_bytes, most_bytes);
    for (const auto& piece : chain.writable) {
      const u64 part = std::min<u64>(left, piece.size());
      source_.fill(piece.first(part));
      left -= part;
    }
    push(index, chain, std::min(chain.writable_bytes, most_bytes));
  });
  interrupt_if_wanted(index);
}

}  // namespace doppel
