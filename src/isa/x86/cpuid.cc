#include "isa/x86/cpuid.h"

#include <array>
#include <bit>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "isa/x86/paging.h"

namespace doppel::x86 {
namespace {

// ---- feature bits, by the register they are in ----

namespace leaf1_edx {
constexpr u32 fpu = 1 << 0, de = 1 << 2, pse = 1 << 3, tsc = 1 << 4, msr = 1 << 5, pae = 1 << 6, mce = 1 << 7,
              cx8 = 1 << 8, apic = 1 << 9, sep = 1 << 11, mtrr = 1 << 12, pge = 1 << 13, mca = 1 << 14, cmov = 1 << 15,
              pat = 1 << 16, pse36 = 1 << 17, clfsh = 1 << 19, mmx = 1 << 23, fxsr = 1 << 24, sse = 1 << 25,
              sse2 = 1 << 26, ss = 1 << 27, htt = 1 << 28;
constexpr u32 all = fpu | de | pse | tsc | msr | pae | mce | cx8 | apic | sep | mtrr | pge | mca | cmov | pat | pse36 |
                    clfsh | mmx | fxsr | sse | sse2 | ss;  // htt: with more than one processor
}  // namespace leaf1_edx

namespace leaf1_ecx {
constexpr u32 sse3 = 1 << 0, ssse3 = 1 << 9, cx16 = 1 << 13, pcid = 1 << 17, sse41 = 1 << 19, sse42 = 1 << 20,
              x2apic = 1 << 21, popcnt = 1 << 23, tsc_deadline = 1 << 24, xsave = 1 << 26, osxsave = 1 << 27,
              hypervisor = 1u << 31;
constexpr u32 all = sse3 | ssse3 | cx16 | pcid | sse41 | sse42 | x2apic | popcnt | tsc_deadline | xsave |
                    hypervisor;  // osxsave: as CR4 says
}  // namespace leaf1_ecx

namespace leaf7_ebx {
constexpr u32 fsgsbase = 1 << 0, tsc_adjust = 1 << 1, fdp_exception_only = 1 << 6, smep = 1 << 7, erms = 1 << 9,
              invpcid = 1 << 10, smap = 1 << 20, clflushopt = 1 << 23;
constexpr u32 all = fsgsbase | tsc_adjust | fdp_exception_only | smep | erms | invpcid | smap | clflushopt;
}  // namespace leaf7_ebx
namespace leaf7_ecx {
constexpr u32 umip = 1 << 2;
}
namespace leaf7_edx {
// The speculation controls exist so that ARCH_CAPABILITIES may say that nothing needs them but enhanced IBRS.
constexpr u32 spec_ctrl = 1 << 26, stibp = 1 << 27, arch_capabilities = 1 << 29, ssbd = 1u << 31;
constexpr u32 all = spec_ctrl | stibp | arch_capabilities | ssbd;
}  // namespace leaf7_edx
namespace leaf7_2_edx {
// BHI_NO is not enough for Linux since 6.1.17x: it clears the branch history in a loop at every system call, unless it can say
// SPEC_CTRL.BHI_DIS_S once.
constexpr u32 bhi_ctrl = 1 << 4;
}  // namespace leaf7_2_edx

namespace extended1_edx {
constexpr u32 syscall = 1 << 11, nx = 1 << 20, page1g = 1 << 26, rdtscp = 1 << 27, lm = 1 << 29;
}
namespace extended1_ecx {
constexpr u32 lahf = 1 << 0;
}
namespace leaf_d1_eax {
constexpr u32 xsaveopt = 1 << 0, xsavec = 1 << 1;
}
constexpr u32 leaf6_arat = 1 << 2;
constexpr u32 extended7_invariant_tsc = 1 << 8;

// ---- composed values ----

constexpr u32 four(std::string_view text, std::size_t at) {
  u32 value = 0;
  for (std::size_t i = 0; i < 4; ++i)
    if (at + i < text.size()) value |= u32{static_cast<u8>(text[at + i])} << (8 * i);
  return value;
}
constexpr std::string_view vendor = "GenuineIntel";
constexpr std::string_view hypervisor = "DoppelDoppel";

// Leaves 80000002H to 80000004H: 48 bytes of text, from `at` on.
CpuidResult brand_part(const CpuModel& model, std::size_t at) {
  const std::string brand = fmt::format("Doppel {} virtual processor", model.name);
  return {four(brand, at), four(brand, at + 4), four(brand, at + 8), four(brand, at + 12)};
}

// Leaf 4. Type 1 data, 2 instruction, 3 unified; self-initializing; 64-byte lines.
constexpr CpuidResult cache(u32 type, u32 level, u32 ways, u32 sets) {
  return {type | level << 5 | 1 << 8, 63 | (ways - 1) << 22, sets - 1, 0};
}

constexpr u32 last_basic = 0x16, last_hypervisor = 0x4000'0010, last_extended = 0x8000'0008;
constexpr u32 any_subleaf = ~u32{0};

// ---- the table ----

struct Leaf {
  u32 leaf, subleaf;
  CpuidResult value;
};

constexpr std::array table{
    Leaf{0, any_subleaf, {last_basic, four(vendor, 0), four(vendor, 8), four(vendor, 4)}},
    Leaf{1, any_subleaf, {processor_signature, 8 << 8 /* CLFLUSH: 64 bytes */, leaf1_ecx::all, leaf1_edx::all}},
    Leaf{2, any_subleaf, {0x00fe'ff01, 0xf0, 0, 0}},  // "see leaf 4 for caches, leaf 18H for TLBs"; 64-byte prefetch
    Leaf{4, 0, cache(1, 1, 8, 64)},                   // L1 data 32 KiB
    Leaf{4, 1, cache(2, 1, 8, 64)},                   // L1 instructions 32 KiB
    Leaf{4, 2, cache(3, 2, 16, 1024)},                // L2 1 MiB
    Leaf{4, 3, cache(3, 3, 16, 16384)},               // L3 16 MiB, shared by all
    Leaf{6, any_subleaf, {leaf6_arat, 0, 0, 0}},
    Leaf{7, 0, {2 /* last subleaf */, leaf7_ebx::all, leaf7_ecx::umip, leaf7_edx::all}},
    Leaf{7, 2, {0, 0, 0, leaf7_2_edx::bhi_ctrl}},
    Leaf{0x15, any_subleaf, {1, 1, static_cast<u32>(tsc_hertz), 0}},
    Leaf{0x16, any_subleaf, {1000, 1000, 100, 0}},
    Leaf{0x4000'0000, any_subleaf, {last_hypervisor, four(hypervisor, 0), four(hypervisor, 4), four(hypervisor, 8)}},
    Leaf{0x4000'0010, any_subleaf, {tsc_hertz / 1000, apic_timer_hertz / 1000, 0, 0}},
    Leaf{0x8000'0000, any_subleaf, {last_extended, 0, 0, 0}},
    Leaf{0x8000'0001,
         any_subleaf,
         {0, 0, extended1_ecx::lahf,
          extended1_edx::syscall | extended1_edx::nx | extended1_edx::page1g | extended1_edx::rdtscp |
              extended1_edx::lm}},
    Leaf{0x8000'0006, any_subleaf, {0, 0, 1024 << 16 | 8 << 12 | 64, 0}},  // L2: 1024 KiB, 16 ways, 64-byte lines
    Leaf{0x8000'0007, any_subleaf, {0, 0, 0, extended7_invariant_tsc}},
    Leaf{0x8000'0008, any_subleaf, {linear_address_bits << 8 | physical_address_bits, 0, 0, 0}},
};

CpuidResult lookup(u32 leaf, u32 subleaf) {
  for (const Leaf& each : table)
    if (each.leaf == leaf && (each.subleaf == any_subleaf || each.subleaf == subleaf)) return each.value;
  return {};
}

// Leaf 0DH: the XSAVE area. The compacted format puts the AVX component where the standard one has it.
CpuidResult extended_state(const CpuidInput& input, u32 subleaf) {
  const u64 supported = input.model.xcr0();
  const u32 enabled_bytes = xsave_bytes(input.xcr0);
  switch (subleaf) {
    case 0: return {static_cast<u32>(supported), enabled_bytes, xsave_bytes(supported), 0};
    case 1: return {leaf_d1_eax::xsaveopt | leaf_d1_eax::xsavec, enabled_bytes, 0, 0};
    case 2: return supported & xcr0::avx ? CpuidResult{avx_component_bytes, avx_component_offset, 0, 0} : CpuidResult{};
    default: return {};
  }
}

u32 apic_id_bits(unsigned count) { return static_cast<u32>(std::bit_width(count - 1)); }

// Leaf 0BH: level 0 is the thread (one per core), level 1 the package's cores.
CpuidResult topology(const CpuidInput& input, u32 subleaf) {
  constexpr u32 type_thread = 1, type_core = 2;
  switch (subleaf) {
    case 0: return {0, 1, type_thread << 8, input.index};
    case 1: return {apic_id_bits(input.count), input.count, type_core << 8 | 1, input.index};
    default: return {0, 0, subleaf & 0xff, input.index};
  }
}

}  // namespace

CpuidResult cpuid(const CpuidInput& input, u32 leaf, u32 subleaf) {
  const bool known_range = leaf <= last_basic || (leaf >= 0x4000'0000 && leaf <= last_hypervisor) ||
                           (leaf >= 0x8000'0000 && leaf <= last_extended);
  if (!known_range) leaf = last_basic;

  CpuidResult result = lookup(leaf, subleaf);
  add_features(input.model.features, leaf, subleaf, result);
  const u32 apic_ids = 1u << apic_id_bits(input.count);
  switch (leaf) {
    case 1:
      result.ebx |= (input.index & 0xff) << 24 | (apic_ids & 0xff) << 16;
      if (input.count > 1) result.edx |= leaf1_edx::htt;
      if (input.osxsave) result.ecx |= leaf1_ecx::osxsave;
      break;
    case 4:
      if (result.eax == 0) break;
      result.eax |= (apic_ids - 1) << 26;                    // cores in the package
      if (subleaf == 3) result.eax |= (apic_ids - 1) << 14;  // threads that share the cache
      break;
    case 0xb: return topology(input, subleaf);
    case 0xd: return extended_state(input, subleaf);
    case 0x8000'0002:
    case 0x8000'0003:
    case 0x8000'0004: return brand_part(input.model, 16 * (leaf - 0x8000'0002));
    default: break;
  }
  return result;
}

}  // namespace doppel::x86
