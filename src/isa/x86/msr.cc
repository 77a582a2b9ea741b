#include "isa/x86/msr.h"

#include <algorithm>
#include <array>

#include "isa/x86/paging.h"

namespace doppel::x86 {
namespace {

using enum MsrKind;
using S = X86State;

namespace misc_enable {
constexpr u64 fast_strings = 1 << 0, bts_unavailable = 1 << 11, pebs_unavailable = 1 << 12;
}
namespace spec_ctrl {
constexpr u64 ibrs = 1 << 0, stibp = 1 << 1, ssbd = 1 << 2, bhi_dis_s = 1 << 10;
}
namespace debugctl {
constexpr u64 lbr = 1 << 0, btf = 1 << 1;
}
constexpr u64 mtrr_capabilities = 0x508;  // 8 variable ranges, fixed ranges, write-combining
constexpr u64 low32 = 0xffff'ffff;
constexpr u64 microcode_revision = u64{0xffff'ffff} << 32;  // newer than any list of bad ones
constexpr u64 platform_info = 10 << 8;                      // base ratio: 10 × 100 MHz

// Sorted by index.
constexpr std::array table{
    Msr{.index = 0x0, .name = "P5_MC_ADDR", .kind = read_only},
    Msr{.index = 0x1, .name = "P5_MC_TYPE", .kind = read_only},
    Msr{.index = 0x10, .name = "TIME_STAMP_COUNTER", .kind = tsc},
    Msr{.index = 0x17, .name = "PLATFORM_ID", .kind = read_only},
    Msr{.index = 0x3a, .name = "FEATURE_CONTROL", .kind = read_only, .constant = 1 /* locked */},
    Msr{.index = 0x3b, .name = "TSC_ADJUST", .kind = tsc_adjust},
    Msr{.index = 0x48,
        .name = "SPEC_CTRL",
        .kind = field,
        .field = &S::spec_ctrl,
        .writable = spec_ctrl::ibrs | spec_ctrl::stibp | spec_ctrl::ssbd | spec_ctrl::bhi_dis_s},
    Msr{.index = 0x49, .name = "PRED_CMD", .kind = command, .writable = 1 /* IBPB */},
    Msr{.index = 0x8b, .name = "BIOS_SIGN_ID", .kind = constant, .constant = microcode_revision},
    Msr{.index = 0xce, .name = "PLATFORM_INFO", .kind = read_only, .constant = platform_info},
    Msr{.index = 0xfe, .name = "MTRRCAP", .kind = read_only, .constant = mtrr_capabilities},
    Msr{.index = 0x10a, .name = "ARCH_CAPABILITIES", .kind = read_only, .constant = arch_capabilities::all},
    Msr{.index = 0x140, .name = "MISC_FEATURES_ENABLES", .kind = constant, .writable = 0},
    Msr{.index = 0x174, .name = "SYSENTER_CS", .kind = field, .field = &S::sysenter_cs, .writable = low32},
    Msr{.index = 0x175, .name = "SYSENTER_ESP", .kind = canonical, .field = &S::sysenter_esp},
    Msr{.index = 0x176, .name = "SYSENTER_EIP", .kind = canonical, .field = &S::sysenter_eip},
    Msr{.index = 0x179, .name = "MCG_CAP", .kind = read_only},  // no banks
    Msr{.index = 0x17a, .name = "MCG_STATUS", .kind = constant, .writable = 7},
    Msr{.index = 0x1a0,
        .name = "MISC_ENABLE",
        .kind = field,
        .field = &S::misc_enable,
        .constant = misc_enable::bts_unavailable | misc_enable::pebs_unavailable,
        .writable = misc_enable::fast_strings},
    Msr{.index = 0x1d9,
        .name = "DEBUGCTL",
        .kind = field,
        .field = &S::debugctl,
        .writable = debugctl::lbr | debugctl::btf},
    Msr{.index = 0x200, .name = "MTRR_PHYSBASE0", .kind = mtrr_variable},
    Msr{.index = 0x201, .name = "MTRR_PHYSMASK0", .kind = mtrr_variable},
    Msr{.index = 0x202, .name = "MTRR_PHYSBASE1", .kind = mtrr_variable},
    Msr{.index = 0x203, .name = "MTRR_PHYSMASK1", .kind = mtrr_variable},
    Msr{.index = 0x204, .name = "MTRR_PHYSBASE2", .kind = mtrr_variable},
    Msr{.index = 0x205, .name = "MTRR_PHYSMASK2", .kind = mtrr_variable},
    Msr{.index = 0x206, .name = "MTRR_PHYSBASE3", .kind = mtrr_variable},
    Msr{.index = 0x207, .name = "MTRR_PHYSMASK3", .kind = mtrr_variable},
    Msr{.index = 0x208, .name = "MTRR_PHYSBASE4", .kind = mtrr_variable},
    Msr{.index = 0x209, .name = "MTRR_PHYSMASK4", .kind = mtrr_variable},
    Msr{.index = 0x20a, .name = "MTRR_PHYSBASE5", .kind = mtrr_variable},
    Msr{.index = 0x20b, .name = "MTRR_PHYSMASK5", .kind = mtrr_variable},
    Msr{.index = 0x20c, .name = "MTRR_PHYSBASE6", .kind = mtrr_variable},
    Msr{.index = 0x20d, .name = "MTRR_PHYSMASK6", .kind = mtrr_variable},
    Msr{.index = 0x20e, .name = "MTRR_PHYSBASE7", .kind = mtrr_variable},
    Msr{.index = 0x20f, .name = "MTRR_PHYSMASK7", .kind = mtrr_variable},
    Msr{.index = 0x250, .name = "MTRR_FIX64K_00000", .kind = mtrr_fixed},
    Msr{.index = 0x258, .name = "MTRR_FIX16K_80000", .kind = mtrr_fixed},
    Msr{.index = 0x259, .name = "MTRR_FIX16K_A0000", .kind = mtrr_fixed},
    Msr{.index = 0x268, .name = "MTRR_FIX4K_C0000", .kind = mtrr_fixed},
    Msr{.index = 0x269, .name = "MTRR_FIX4K_C8000", .kind = mtrr_fixed},
    Msr{.index = 0x26a, .name = "MTRR_FIX4K_D0000", .kind = mtrr_fixed},
    Msr{.index = 0x26b, .name = "MTRR_FIX4K_D8000", .kind = mtrr_fixed},
    Msr{.index = 0x26c, .name = "MTRR_FIX4K_E0000", .kind = mtrr_fixed},
    Msr{.index = 0x26d, .name = "MTRR_FIX4K_E8000", .kind = mtrr_fixed},
    Msr{.index = 0x26e, .name = "MTRR_FIX4K_F0000", .kind = mtrr_fixed},
    Msr{.index = 0x26f, .name = "MTRR_FIX4K_F8000", .kind = mtrr_fixed},
    Msr{.index = 0x277, .name = "PAT", .kind = pat},
    Msr{.index = 0x2ff, .name = "MTRR_DEF_TYPE", .kind = mtrr_default},
    Msr{.index = 0xc000'0080, .name = "EFER", .kind = efer},
    Msr{.index = 0xc000'0081, .name = "STAR", .kind = field, .field = &S::star},
    Msr{.index = 0xc000'0082, .name = "LSTAR", .kind = canonical, .field = &S::lstar},
    Msr{.index = 0xc000'0083, .name = "CSTAR", .kind = canonical, .field = &S::cstar},
    Msr{.index = 0xc000'0084, .name = "FMASK", .kind = field, .field = &S::fmask, .writable = low32},
    Msr{.index = 0xc000'0100, .name = "FS_BASE", .kind = fs_base},
    Msr{.index = 0xc000'0101, .name = "GS_BASE", .kind = gs_base},
    Msr{.index = 0xc000'0102, .name = "KERNEL_GS_BASE", .kind = canonical, .field = &S::kernel_gs_base},
    Msr{.index = 0xc000'0103, .name = "TSC_AUX", .kind = tsc_aux, .writable = low32},
};
static_assert(std::ranges::is_sorted(table, {}, &Msr::index));

constexpr std::array fixed_ranges{0x250u, 0x258u, 0x259u, 0x268u, 0x269u, 0x26au,
                                  0x26bu, 0x26cu, 0x26du, 0x26eu, 0x26fu};

template <class Valid>
bool all_bytes(u64 value, Valid valid) {
  for (unsigned i = 0; i < 8; ++i)
    if (!valid(static_cast<u8>(value >> (8 * i)))) return false;
  return true;
}

}  // namespace

const Msr* find_msr(u32 index) {
  const auto* at = std::ranges::lower_bound(table, index, {}, &Msr::index);
  return at != table.end() && at->index == index ? at : nullptr;
}

bool valid_memory_type(u8 type) { return type == 0 || type == 1 || type == 4 || type == 5 || type == 6; }
bool valid_pat(u64 value) {
  return all_bytes(value, [](u8 type) { return valid_memory_type(type) || type == 7 /* UC- */; });
}
bool valid_mtrr_fixed(u64 value) { return all_bytes(value, valid_memory_type); }
bool valid_mtrr_base(u64 value) {
  return !(value & (~physical_mask | 0xf00)) && valid_memory_type(static_cast<u8>(value));
}
bool valid_mtrr_mask(u64 value) { return !(value & (~physical_mask | 0x7ff)); }
bool valid_mtrr_default(u64 value) { return !(value & ~u64{0xcff}) && valid_memory_type(static_cast<u8>(value)); }

unsigned mtrr_fixed_slot(u32 index) {
  return static_cast<unsigned>(std::ranges::find(fixed_ranges, index) - fixed_ranges.begin());
}

}  // namespace doppel::x86
