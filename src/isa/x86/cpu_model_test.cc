#include "isa/x86/cpu_model.h"

#include <gtest/gtest.h>

namespace doppel::x86 {
namespace {

TEST(CpuModel, ABaselineIsExactlyItsLevel) {
  const auto second = find_cpu_model("x86-64-v2", FeatureSet::all());
  ASSERT_TRUE(second);
  EXPECT_TRUE(second->features.empty());
  EXPECT_EQ(second->xcr0(), 3u);
  const auto third = find_cpu_model("x86-64-v3", FeatureSet::all());
  ASSERT_TRUE(third);
  EXPECT_EQ(feature_names(third->features), "movbe+lzcnt+bmi1+bmi2+avx+f16c+fma+avx2");
  EXPECT_EQ(third->xcr0(), 7u);
}

TEST(CpuModel, MaxIsWhatTheHostHas) {
  const FeatureSet host{Feature::aes, Feature::sha};
  const auto model = find_cpu_model("max", host);
  ASSERT_TRUE(model);
  EXPECT_EQ(model->features, host);
  EXPECT_EQ(feature_names(host), "aes+sha_ni");
}

TEST(CpuModel, RefusesWhatTheHostLacks) {
  FeatureSet host = FeatureSet::all();
  host.remove(Feature::fma);
  const auto model = find_cpu_model("x86-64-v3", host);
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().message, "--cpu-model: this host cannot carry x86-64-v3: it lacks fma");
  EXPECT_FALSE(find_cpu_model("x86-64-v9", host));
}

TEST(CpuModel, TheHostsFeaturesHoldTogether) {
  const FeatureSet host = host_features();
  EXPECT_TRUE(host.has(Feature::rdrand));  // made without the host
  if (!host.has(Feature::avx)) {
    EXPECT_FALSE(host.has(Feature::avx2));
    EXPECT_FALSE(host.has(Feature::fma));
  }
}

}  // namespace
}  // namespace doppel::x86
