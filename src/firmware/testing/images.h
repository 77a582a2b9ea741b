// Small boot images for tests and fuzz targets, right unless a field is asked to be wrong. Offsets as in bzimage.h and in
// the ELF specification.
#pragma once

#include <vector>

#include "base/units.h"
#include "firmware/boot.h"
#include "firmware/bytes.h"

namespace doppel::firmware::testing {

constexpr BootLayout layout{.gdt = 0x500,
                            .boot_info = 0x1000,
                            .page_tables = 0x8000,
                            .stack_end = 0x7ff0,
                            .command_line = 0x20000,
                            .command_line_bytes = 64 * KiB};

// One sector of setup, 64 KiB of kernel that begins with 0xc0de0000.
struct BzImageShape {
  u16 boot_flag = 0xaa55;
  u32 magic = 0x5372'6448;
  u8 header_length = 0x6a;
  u16 protocol = 0x020f;
  u8 loadflags = 1;
  u32 syssize = 0x1000;
  u32 initrd_addr_max = 0x7fff'ffff;
  u32 alignment = 2 * MiB;
  u8 relocatable = 1;
  u16 xloadflags = 3;
  u32 cmdline_size = 2047;
  u64 pref_address = 16 * MiB;
  u32 init_size = 8 * MiB;
};
inline std::vector<u8> bzimage(const BzImageShape& shape = {}) {
  constexpr u64 setup_sectors = 7, kernel_bytes = 0x1000 * 16;
  std::vector<u8> image((setup_sectors + 1) * 512 + kernel_bytes);
  const std::span<u8> bytes = image;
  store<u8>(bytes, setup::setup_sects, setup_sectors);
  store<u32>(bytes, setup::syssize, shape.syssize);
  store<u16>(bytes, setup::boot_flag, shape.boot_flag);
  store<u8>(bytes, setup::jump_length, shape.header_length);
  store<u32>(bytes, setup::header, shape.magic);
  store<u16>(bytes, setup::version, shape.protocol);
  store<u16>(bytes, setup::kernel_version, 0x200);
  std::memcpy(image.data() + 0x400, "1.2.3-test", 10);
  store<u8>(bytes, setup::loadflags, shape.loadflags);
  store<u32>(bytes, setup::code32_start, 0x10'0000);
  store<u32>(bytes, setup::initrd_addr_max, shape.initrd_addr_max);
  store<u32>(bytes, setup::kernel_alignment, shape.alignment);
  store<u8>(bytes, setup::relocatable_kernel, shape.relocatable);
  store<u16>(bytes, setup::xloadflags, shape.xloadflags);
  store<u32>(bytes, setup::cmdline_size, shape.cmdline_size);
  store<u64>(bytes, setup::pref_address, shape.pref_address);
  store<u32>(bytes, setup::init_size, shape.init_size);
  store<u8>(bytes, 0x1ef, 0xff);  // the sentinel, which must not reach boot_params
  store<u32>(bytes, (setup_sectors + 1) * 512, 0xc0de'0000);
  return image;
}

// One segment of 0x40 bytes at `physical_address` that begins with 0xc0de0001, and one note. Narrow files cut wide numbers.
struct ElfShape {
  bool wide = true;
  u8 elf_class = 0;  // 0: what `wide` says
  u16 machine = 62;
  u16 type = 2;
  u16 program_headers = 3;
  u32 note_type = 18;
  u32 note_name_size = 4;
  u64 physical_address = 2 * MiB;
  u32 entry = 2 * MiB + 0x10;
  u64 memory_size = 0x1000;
  u64 second_segment = 0;  // 0: none
};
inline std::vector<u8> elf(const ElfShape& shape = {}) {
  constexpr u64 note_offset = 0x140, code_offset = 0x160, code_bytes = 0x40;
  const unsigned word = shape.wide ? 8 : 4;
  const auto put_word = [&](ByteWriter& out, u64 value) { word == 8 ? out.qword(value) : out.dword(value); };
  const auto put_segment = [&](ByteWriter& out, u32 type, u64 offset, u64 address, u64 file_size, u64 memory_size) {
    constexpr u32 flags = 5, alignment = 4;
    out.dword(type);
    if (shape.wide) out.dword(flags);
    for (const u64 value : {offset, address, address, file_size, memory_size}) put_word(out, value);
    if (!shape.wide) out.dword(flags);
    put_word(out, alignment);
  };
  const u64 header_bytes = shape.wide ? 64 : 52, entry_bytes = shape.wide ? 56 : 32;
  const u8 elf_class = shape.elf_class != 0 ? shape.elf_class : shape.wide ? 2 : 1;
  ByteWriter out;
  out.text(
         "\x7f"
         "ELF",
         4)
      .byte(elf_class)
      .byte(1)
      .byte(1)
      .zeros(9)
      .word(shape.type)
      .word(shape.machine)
      .dword(1);
  for (const u64 value : {u64{0}, header_bytes, u64{0}}) put_word(out, value);  // entry, program headers, sections
  out.dword(0).word(header_bytes).word(entry_bytes).word(shape.program_headers).zeros(6);
  put_segment(out, 1, code_offset, shape.physical_address, code_bytes, shape.memory_size);
  put_segment(out, 4, note_offset, 0, 20, 20);
  put_segment(out, shape.second_segment != 0 ? 1 : 0, code_offset, shape.second_segment, code_bytes, code_bytes);
  out.zeros(note_offset - out.size());
  out.dword(shape.note_name_size).dword(4).dword(shape.note_type).text("Xen", 4, '\0').dword(shape.entry);
  out.zeros(code_offset - out.size()).dword(0xc0de'0001).zeros(code_bytes - 4);
  return out.take();
}

}  // namespace doppel::firmware::testing
