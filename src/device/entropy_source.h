// Where random numbers for the guest come from: the host's generator, or, for machines that must be deterministic, a
// stream that a seed determines.
#pragma once

#include <span>

#include "base/types.h"
#include "state/archive.h"

namespace doppel {

class EntropySource {
 public:
  virtual ~EntropySource() = default;
  virtual void fill(std::span<u8> bytes) = 0;  // any thread
  virtual void state(state::Archive&) {}
};

// getrandom(2).
class HostEntropy final : public EntropySource {
 public:
  void fill(std::span<u8> bytes) override;
};

// SplitMix64: every run with the same seed gives the same bytes for the same requests. Not secret, by intention.
class SeededEntropy final : public EntropySource {
 public:
  explicit SeededEntropy(u64 seed) : position_(seed) {}
  void fill(std::span<u8> bytes) override;
  void state(state::Archive& archive) override;

 private:
  u64 position_;
};

}  // namespace doppel
