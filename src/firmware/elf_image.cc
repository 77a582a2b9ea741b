// Program headers are read into one form for both ELF classes; see elf_image.h.
#include "firmware/elf_image.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/bits.h"
#include "base/units.h"
#include "firmware/bytes.h"

namespace doppel::firmware {

namespace {

constexpr u32 elf_magic = 0x464c'457f;
constexpr u8 class_32 = 1, class_64 = 2, data_little_endian = 1;
constexpr u16 machine_i386 = 3, machine_x86_64 = 62;
constexpr u16 type_executable = 2, type_shared = 3;
constexpr u32 segment_load = 1, segment_note = 4;
constexpr u64 most_program_headers = 128;
constexpr u32 xen_note_phys32_entry = 18;

// Where the fields are: the classes differ in widths and order.
struct HeaderLayout {
  u64 header_bytes, phoff, phentsize, phnum;
  u64 entry_bytes, p_offset, p_paddr, p_filesz, p_memsz, p_align;
  bool wide;
};
constexpr HeaderLayout layout_32{52, 0x1c, 0x2a, 0x2c, 32, 4, 12, 16, 20, 28, false};
constexpr HeaderLayout layout_64{64, 0x20, 0x36, 0x38, 56, 8, 24, 32, 40, 48, true};

struct ProgramHeader {
  u32 type;
  u64 offset, physical_address, file_size, memory_size, alignment;
};

u64 load_word(std::span<const u8> bytes, u64 offset, bool wide) {
  return wide ? load<u64>(bytes, offset) : load<u32>(bytes, offset);
}

bool inside(std::span<const u8> bytes, u64 offset, u64 size) {
  return offset <= bytes.size() && size <= bytes.size() - offset;
}

// The entry point, if one of the notes is Xen's PHYS32_ENTRY. Notes are {name size, description size, type, name, description}
// with name and description padded to 4 bytes (8 if the segment is aligned so).
std::optional<u64> find_entry(std::span<const u8> notes, u64 segment_alignment) {
  constexpr u64 note_header_bytes = 12;
  const u64 padding = segment_alignment == 8 ? 8 : 4;
  u64 at = 0;
  while (inside(notes, at, note_header_bytes)) {
    const u64 name_size = load<u32>(notes, at);
    const u64 description_size = load<u32>(notes, at + 4);
    const u32 type = load<u32>(notes, at + 8);
    const u64 name = at + note_header_bytes;
    const u64 description = align_up(name + name_size, padding);
    if (!inside(notes, name, name_size) || !inside(notes, description, description_size)) return std::nullopt;
    const bool is_xen = name_size == 4 && std::memcmp(notes.data() + name, "Xen", 4) == 0;
    if (is_xen && type == xen_note_phys32_entry && (description_size == 4 || description_size == 8)) {
      return load_word(notes, description, description_size == 8);
    }
    at = align_up(description + description_size, padding);
  }
  return std::nullopt;
}

// Sorts and checks that they are disjoint and that the entry point lies in one of them; returns what is wrong, if anything.
std::optional<std::string> check_segments(ElfImage& parsed) {
  auto& segments = parsed.segments;
  std::ranges::sort(segments, {}, &ElfImage::Segment::physical_address);
  bool entry_is_inside = false;
  u64 end = 0;
  for (const auto& segment : segments) {
    if (segment.physical_address < end) return fmt::format("its segments overlap at {:#x}", segment.physical_address);
    end = segment.physical_address + segment.memory_size;
    entry_is_inside |= parsed.entry >= segment.physical_address && parsed.entry < end;
  }
  if (!entry_is_inside) return fmt::format("its PVH entry point {:#x} lies outside of its segments", parsed.entry);
  return std::nullopt;
}

}  // namespace

bool is_elf(std::span<const u8> image) { return image.size() >= 4 && load<u32>(image, 0) == elf_magic; }

Result<ElfImage> parse_elf(NamedBytes file) {
  const std::span<const u8> image = file.bytes;
  const auto refuse = [&](const std::string& why) { return fail(fmt::format("cannot boot '{}': {}", file.name, why)); };

  if (image.size() < layout_32.header_bytes) return refuse("it is truncated within its ELF header");
  const HeaderLayout& layout = image[4] == class_64 ? layout_64 : layout_32;
  if (image[4] != class_32 && image[4] != class_64) return refuse("its ELF class is neither 32 nor 64 bits");
  if (image[5] != data_little_endian) return refuse("it is not little endian");
  if (image.size() < layout.header_bytes) return refuse("it is truncated within its ELF header");
  const u16 type = load<u16>(image, 16), machine = load<u16>(image, 18);
  if (machine != machine_i386 && machine != machine_x86_64)
    return refuse(fmt::format("it is for ELF machine {}, not x86", machine));
  if (type != type_executable && type != type_shared) return refuse("it is not an executable");

  const u64 table = load_word(image, layout.phoff, layout.wide);
  const u64 entry_bytes = load<u16>(image, layout.phentsize), count = load<u16>(image, layout.phnum);
  if (entry_bytes != layout.entry_bytes || count == 0 || count > most_program_headers) {
    return refuse(fmt::format("it has {} program headers of {} bytes", count, entry_bytes));
  }
  if (!inside(image, table, count * entry_bytes)) return refuse("it is truncated within its program headers");

  ElfImage parsed{};
  std::optional<u64> entry;
  for (u64 i = 0; i < count; ++i) {
    const auto raw = image.subspan(table + i * entry_bytes, entry_bytes);
    const ProgramHeader header{.type = load<u32>(raw, 0),
                               .offset = load_word(raw, layout.p_offset, layout.wide),
                               .physical_address = load_word(raw, layout.p_paddr, layout.wide),
                               .file_size = load_word(raw, layout.p_filesz, layout.wide),
                               .memory_size = load_word(raw, layout.p_memsz, layout.wide),
                               .alignment = load_word(raw, layout.p_align, layout.wide)};
    if (header.type != segment_load && header.type != segment_note) continue;
    if (!inside(image, header.offset, header.file_size)) {
      return refuse(fmt::format("it is truncated: segment {} ends at byte {}, the file at {}", i,
                                u128{header.offset} + header.file_size, image.size()));
    }
    const auto bytes = image.subspan(header.offset, header.file_size);
    if (header.type == segment_note) {
      if (!entry) entry = find_entry(bytes, header.alignment);
      continue;
    }
    if (header.memory_size == 0 && header.file_size == 0) continue;
    if (header.memory_size < header.file_size)
      return refuse(fmt::format("segment {} is larger in the file than in memory", i));
    if (header.physical_address >= 4 * GiB || header.memory_size > 4 * GiB - header.physical_address) {
      return refuse(fmt::format("segment {} does not lie below 4 GiB", i));
    }
    parsed.segments.push_back({header.physical_address, bytes, header.memory_size});
  }
  if (!entry)
    return refuse("it is an ELF file without a PVH entry point (a bzImage, or CONFIG_PVH in the kernel, is needed)");
  parsed.entry = static_cast<u32>(*entry);
  if (*entry != parsed.entry) return refuse(fmt::format("its PVH entry point {:#x} is not a 32-bit address", *entry));
  if (const auto problem = check_segments(parsed)) return refuse(*problem);
  return parsed;
}

}  // namespace doppel::firmware
