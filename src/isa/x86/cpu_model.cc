#include "isa/x86/cpu_model.h"

#include <cpuid.h>

#include <array>

#include <fmt/format.h>

#include "isa/x86/cpuid.h"

namespace doppel::x86 {
namespace {

using enum Feature;

enum class CpuidRegister : u8 { ebx, ecx };

// Where CPUID has it (Intel SDM vol. 2 "CPUID"), and its name as /proc/cpuinfo spells it.
struct FeatureBit {
  Feature feature;
  std::string_view name;
  u32 leaf;
  CpuidRegister reg;
  u8 bit;
};
constexpr std::array<FeatureBit, feature_count> bits{{
    {aes, "aes", 1, CpuidRegister::ecx, 25},
    {pclmulqdq, "pclmulqdq", 1, CpuidRegister::ecx, 1},
    {rdrand, "rdrand", 1, CpuidRegister::ecx, 30},
    {rdseed, "rdseed", 7, CpuidRegister::ebx, 18},
    {movbe, "movbe", 1, CpuidRegister::ecx, 22},
    {lzcnt, "lzcnt", 0x8000'0001, CpuidRegister::ecx, 5},
    {bmi1, "bmi1", 7, CpuidRegister::ebx, 3},
    {bmi2, "bmi2", 7, CpuidRegister::ebx, 8},
    {adx, "adx", 7, CpuidRegister::ebx, 19},
    {avx, "avx", 1, CpuidRegister::ecx, 28},
    {f16c, "f16c", 1, CpuidRegister::ecx, 29},
    {fma, "fma", 1, CpuidRegister::ecx, 12},
    {avx2, "avx2", 7, CpuidRegister::ebx, 5},
    {sha, "sha_ni", 7, CpuidRegister::ebx, 29},
    {gfni, "gfni", 7, CpuidRegister::ecx, 8},
    {vaes, "vaes", 7, CpuidRegister::ecx, 9},
    {vpclmulqdq, "vpclmulqdq", 7, CpuidRegister::ecx, 10},
}};

constexpr FeatureSet level2{};
constexpr FeatureSet level3{movbe, lzcnt, bmi1, bmi2, avx, f16c, fma, avx2};
// Engines make random numbers themselves; they need no host for that.
constexpr FeatureSet independent{rdrand, rdseed};
constexpr FeatureSet need_avx{avx, f16c, fma, avx2, vaes, vpclmulqdq};

bool host_has(const FeatureBit& bit) {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid_count(bit.leaf, 0, &eax, &ebx, &ecx, &edx)) return false;
  return (bit.reg == CpuidRegister::ebx ? ebx : ecx) >> bit.bit & 1;
}

bool system_saves_ymm() {
  constexpr unsigned osxsave = 1u << 27, sse_and_avx = 6;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & osxsave)) return false;
  asm volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
  return (eax & sse_and_avx) == sse_and_avx;
}

FeatureSet detect() {
  FeatureSet found = independent;
  for (const FeatureBit& bit : bits)
    if (host_has(bit)) found.add(bit.feature);
  // Each of the rest builds on what is taken away with it.
  if (!system_saves_ymm() || !found.has(avx)) found = found.without(need_avx);
  if (!found.has(aes)) found.remove(vaes);
  if (!found.has(pclmulqdq)) found.remove(vpclmulqdq);
  if (!found.has(avx2)) found = found.without({vaes, vpclmulqdq});
  return found;
}

}  // namespace

// Asked once: CPUID exits to the monitor below where the host is a virtual machine itself.
FeatureSet host_features() {
  static const FeatureSet found = detect();
  return found;
}

void add_features(FeatureSet features, u32 leaf, u32 subleaf, CpuidResult& result) {
  for (const FeatureBit& bit : bits) {
    if (bit.leaf != leaf || (leaf == 7 && subleaf != 0) || !features.has(bit.feature)) continue;
    (bit.reg == CpuidRegister::ebx ? result.ebx : result.ecx) |= 1u << bit.bit;
  }
}

std::string feature_names(FeatureSet features) {
  std::string text;
  for (const FeatureBit& bit : bits)
    if (features.has(bit.feature)) text += fmt::format("{}{}", text.empty() ? "" : "+", bit.name);
  return text;
}

Result<CpuModel> find_cpu_model(std::string_view name, FeatureSet host) {
  CpuModel model;
  if (name == "max") {
    model = {"max", host};
  } else if (name == "x86-64-v2") {
    model = {"x86-64-v2", level2};
  } else if (name == "x86-64-v3") {
    model = {"x86-64-v3", level3};
  } else {
    return usage_error(fmt::format("--cpu-model: unknown model '{}': use x86-64-v2, x86-64-v3 or max", name));
  }
  if (const FeatureSet missing = model.features.without(host); !missing.empty())
    return fail(fmt::format("--cpu-model: this host cannot carry {}: it lacks {}", name, feature_names(missing)));
  return model;
}

}  // namespace doppel::x86
