// See share.h.
#include "device/virtio/share.h"

#include <algorithm>

#include "base/check.h"

namespace doppel {

namespace {
constexpr std::array<u16, 1> queue_sizes{128};
}

VirtioShare::VirtioShare(std::string name, Dma dma, const CompletionPolicy& policy, std::unique_ptr<p9::Server> server,
                         std::string_view tag)
    : VirtioDevice(std::move(name), virtio::type_9p, dma, policy, queue_sizes), server_(std::move(server)) {
  CHECK(!tag.empty() && tag.size() <= longest_tag);
  config_ = {static_cast<u8>(tag.size()), 0};
  config_.insert(config_.end(), tag.begin(), tag.end());
  if (!synchronous()) worker_ = std::thread([this] { run(); });
}

VirtioShare::~VirtioShare() {
  shut_down();
  {
    const std::lock_guard lock(mutex());
    stopping_ = true;
  }
  changed_.notify_all();
  if (worker_.joinable()) worker_.join();
}

void VirtioShare::work(unsigned index) {
  consume(index, [&](Virtqueue::Chain chain) {
    if (chain.readable_bytes < p9::header_bytes || chain.readable_bytes > p9::largest_message ||
        chain.writable_bytes < p9::error_bytes) {
      return needs_reset("9P message without a header, without room for an answer, or too long");
    }
    if (synchronous()) return complete(chain, answer(chain));
    ++under_way_;
    waiting_.push_back(std::move(chain));
    changed_.notify_all();
  });
}

// Copied before it is looked at: the guest may write to it at any time.
u64 VirtioShare::answer(Virtqueue::Chain& chain) {
  std::vector<u8> request(chain.readable_bytes);
  chain.read(0, request.data(), request.size());
  const std::vector<u8> reply = server_->answer(request, chain.writable_bytes);
  return chain.write(0, reply.data(), reply.size());
}

void VirtioShare::complete(Virtqueue::Chain& chain, u64 written) {
  if (!live()) return queue(0).note_written(chain, written);  // the driver has gone, or must go
  push(0, chain, written);
  interrupt_if_wanted(0);
}

void VirtioShare::run() {
  std::unique_lock lock(mutex());
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    Virtqueue::Chain chain = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    const u64 written = answer(chain);
    lock.lock();
    --under_way_;
    complete(chain, written);
    request_ended();
    changed_.notify_all();
  }
}

void VirtioShare::drain() {
  std::unique_lock lock(mutex());
  changed_.wait(lock, [this] { return under_way_ == 0; });
}

}  // namespace doppel
