// Deferred work; see deferred.h.
#include "device/virtio/deferred.h"

namespace doppel {

Deferred::Deferred(const CompletionPolicy& policy, std::function<void()> work)
    : policy_(policy), shared_(std::make_shared<Shared>()) {
  shared_->work = std::move(work);
  if (policy_.synchronous()) alarm_ = policy_.clock_->make_alarm([shared = shared_] { run(*shared); });
}

void Deferred::stop() {
  if (alarm_) alarm_->cancel();
  const std::lock_guard lock(shared_->mutex);
  shared_->work = nullptr;
}

void Deferred::run(Shared& shared) {
  const std::lock_guard lock(shared.mutex);
  // Cleared first: what is asked for from here on may come too late for this run.
  if (shared.requested.exchange(false) && shared.work) shared.work();
}

void Deferred::request() {
  if (shared_->requested.exchange(true)) return;
  if (policy_.synchronous()) {
    deadline_ = policy_.clock_->now() + policy_.delay_;
    alarm_->set(deadline_);
  } else {
    policy_.loop_->post([shared = shared_] { run(*shared); });
  }
}

void Deferred::reset() {
  shared_->requested = false;
  if (alarm_) alarm_->cancel();
}

void Deferred::state(state::Archive& archive) {
  archive.begin("work", 1);
  bool armed = policy_.synchronous() && shared_->requested;
  u64 deadline = armed ? deadline_.load() : 0;
  archive(armed);
  archive(deadline);
  archive.end();
  if (!archive.loading() || !archive.ok() || !armed || !policy_.synchronous()) return;
  shared_->requested = true;
  deadline_ = deadline;
  alarm_->set(deadline);
}

}  // namespace doppel
