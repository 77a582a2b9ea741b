// A Linux bzImage: a real-mode setup part with a header of facts about the kernel, then the protected-mode kernel.
// Linux, Documentation/arch/x86/boot.rst. Protocol 2.10 (Linux 2.6.31) is the oldest that says how much memory the kernel
// needs while it starts; older ones, and zImage (loaded low), are refused. The real-mode part is not run.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/types.h"

namespace doppel::firmware {

// A file's bytes, and what messages call it.
struct NamedBytes {
  std::string_view name;
  std::span<const u8> bytes;
};

// Spans point into the image that was parsed.
struct BzImage {
  u16 protocol;                      // 0x020c is 2.12
  std::string kernel_version;        // "6.1.0-13-cloud-amd64 …"; empty if the image does not say
  std::span<const u8> setup_header;  // from 0x1f1 on; the part of boot_params that the kernel fills in itself
  std::span<const u8> kernel;        // the protected-mode part
  bool has_64_bit_entry;
  bool initrd_may_be_above_4g;
  bool relocatable;
  u64 preferred_address;
  u64 alignment;           // a power of two
  u64 memory_needed;       // from the load address on, until the kernel knows the memory map
  u64 initrd_end_limit;    // one past the last address that the initrd may use below 4 GiB
  u64 command_line_limit;  // characters, without the terminating zero
};

// Offsets in the image's first sectors, and equally in boot_params.
namespace setup {
constexpr u64 setup_sects = 0x1f1, syssize = 0x1f4, vid_mode = 0x1fa, boot_flag = 0x1fe, jump_length = 0x201,
              header = 0x202, version = 0x206, kernel_version = 0x20e, type_of_loader = 0x210, loadflags = 0x211,
              code32_start = 0x214, ramdisk_image = 0x218, ramdisk_size = 0x21c, cmd_line_ptr = 0x228,
              initrd_addr_max = 0x22c, kernel_alignment = 0x230, relocatable_kernel = 0x234, xloadflags = 0x236,
              cmdline_size = 0x238, setup_data = 0x250, pref_address = 0x258, init_size = 0x260;
constexpr u64 header_begin = setup_sects;
constexpr u64 header_end_limit = 0x290;  // what follows the header in boot_params (edd_mbr_sig_buffer)
}  // namespace setup

bool is_bzimage(std::span<const u8> image);  // has the boot flag and "HdrS"
Result<BzImage> parse_bzimage(NamedBytes image);

}  // namespace doppel::firmware
