// See instruction_clock.h.
#include "machine/instruction_clock.h"

#include <algorithm>

#include "base/check.h"

namespace doppel {

namespace {
// Deadlines from here on never come: nothing is skipped to them.
constexpr Nanoseconds never = u64{1} << 62;
}  // namespace

class InstructionClock::InstructionAlarm final : public Alarm {
 public:
  InstructionAlarm(InstructionClock& clock, u64 number, std::function<void()> callback)
      : clock_(clock), number_(number), callback_(std::move(callback)) {}
  ~InstructionAlarm() override { cancel(); }

  void set(Nanoseconds deadline) override {
    cancel();
    if (clock_.running_ != nullptr) deadline = std::max(deadline, clock_.now() + least_delay);
    key_ = {std::min(deadline, never), number_};
    clock_.pending_.emplace(key_, this);
    if (clock_.running_ != nullptr && deadline < clock_.window_end_) clock_.running_->kick();
  }
  void cancel() override {
    const auto found = clock_.pending_.find(key_);
    if (found != clock_.pending_.end() && found->second == this) clock_.pending_.erase(found);
  }

 private:
  friend InstructionClock;
  InstructionClock& clock_;
  const u64 number_;
  const std::function<void()> callback_;
  Key key_{};
};

InstructionClock::~InstructionClock() { CHECK(pending_.empty()); }

Nanoseconds InstructionClock::now() {
  const u64 current = running_ != nullptr ? running_->instruction_count() - running_since_ : 0;
  return idle_ + instructions_ + current;
}

std::unique_ptr<Alarm> InstructionClock::make_alarm(std::function<void()> callback) {
  return std::make_unique<InstructionAlarm>(*this, alarms_made_++, std::move(callback));
}

VcpuExit InstructionClock::run(Vcpu& vcpu, u64 budget) {
  running_since_ = vcpu.instruction_count();
  window_end_ = now() + budget;
  running_ = &vcpu;
  const VcpuExit exit = vcpu.run(budget);
  running_ = nullptr;
  instructions_ += vcpu.instruction_count() - running_since_;
  return exit;
}

std::optional<Nanoseconds> InstructionClock::next_deadline() const {
  if (pending_.empty() || pending_.begin()->first.deadline >= never) return std::nullopt;
  return pending_.begin()->first.deadline;
}

void InstructionClock::fire_due() {
  const Nanoseconds time = now();
  // At most as many as are pending now: one that always sets itself into the past must not keep the vCPUs from running.
  for (std::size_t round = pending_.size(); round > 0 && !pending_.empty(); --round) {
    const auto first = pending_.begin();
    if (first->first.deadline > time) return;
    InstructionAlarm* alarm = first->second;
    pending_.erase(first);
    alarm->callback_();
  }
}

void InstructionClock::skip_to(Nanoseconds time) {
  if (time > now()) idle_ += time - now();
}

void InstructionClock::state(state::Archive& archive) {
  archive.begin("instruction-clock", 1);
  archive(instructions_);
  archive(idle_);
  archive.require(instructions_ < never && idle_ < never, "time");
  archive.end();
}

}  // namespace doppel
