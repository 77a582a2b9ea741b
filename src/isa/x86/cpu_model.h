// CPU models: which of the optional instruction-set extensions a guest's processors have. Everything that is not listed here is the same
// in every model, since every engine provides it on any host.
//
// The levels are those of the x86-64 psABI; a baseline has exactly its level's instructions, so that a guest may move between hosts
// that are unlike. "max" is whatever of these extensions the host has.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "base/types.h"

namespace doppel::x86 {

enum class Feature : u8 {
  aes,
  pclmulqdq,
  rdrand,
  rdseed,
  movbe,
  lzcnt,
  bmi1,
  bmi2,
  adx,
  avx,
  f16c,
  fma,
  avx2,
  sha,
  gfni,
  vaes,
  vpclmulqdq,
};
constexpr unsigned feature_count = 17;

class FeatureSet {
 public:
  constexpr FeatureSet() = default;
  constexpr FeatureSet(std::initializer_list<Feature> features) {
    for (Feature feature : features) add(feature);
  }
  static constexpr FeatureSet all() {
    FeatureSet set;
    set.bits_ = (1u << feature_count) - 1;
    return set;
  }
  constexpr void add(Feature feature) { bits_ |= 1u << static_cast<unsigned>(feature); }
  constexpr void remove(Feature feature) { bits_ &= ~(1u << static_cast<unsigned>(feature)); }
  constexpr bool has(Feature feature) const { return bits_ >> static_cast<unsigned>(feature) & 1; }
  constexpr FeatureSet without(FeatureSet other) const {
    FeatureSet set;
    set.bits_ = bits_ & ~other.bits_;
    return set;
  }
  constexpr bool empty() const { return bits_ == 0; }
  bool operator==(const FeatureSet&) const = default;

 private:
  u32 bits_ = 0;
};

struct CpuModel {
  std::string_view name = "max";
  FeatureSet features = FeatureSet::all();

  constexpr bool has(Feature feature) const { return features.has(feature); }
  // XCR0 as far as a guest may set it: x87, SSE, AVX.
  constexpr u64 xcr0() const { return has(Feature::avx) ? 7 : 3; }
};

// What this processor and its operating system offer. Vector extensions count only where the system saves the registers.
FeatureSet host_features();
// "aes+sha", in the order of Feature: part of what identifies a machine.
std::string feature_names(FeatureSet features);

// Sets the bits of `features` that this leaf of CPUID holds.
struct CpuidResult;
void add_features(FeatureSet features, u32 leaf, u32 subleaf, CpuidResult& result);

// A usage error for an unknown name; a plain one, which says what is missing, for a model that `host` cannot carry.
Result<CpuModel> find_cpu_model(std::string_view name, FeatureSet host);
// The default.
inline CpuModel host_cpu_model() { return {"max", host_features()}; }

}  // namespace doppel::x86
