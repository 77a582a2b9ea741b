// Recognizing and reading images; the parts of loading that the protocols share. See boot.h.
#include "firmware/boot.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

#include "base/fd.h"
#include "base/units.h"
#include "firmware/boot_parts.h"
#include "firmware/elf_image.h"
#include "firmware/linux_boot.h"
#include "firmware/pvh_boot.h"

namespace doppel::firmware {

namespace {

constexpr u64 largest_kernel_file = GiB;

// Whoever passes a script or a configuration file by mistake is told so: no control characters, mostly ASCII.
bool looks_like_text(std::span<const u8> bytes) {
  const auto start = bytes.first(std::min<std::size_t>(bytes.size(), 512));
  const auto is_control = [](u8 c) { return c == 0x7f || (c < ' ' && (c < '\t' || c > '\r')); };
  const auto beyond_ascii = std::ranges::count_if(start, [](u8 c) { return c >= 0x80; });
  return std::ranges::none_of(start, is_control) && static_cast<std::size_t>(beyond_ascii) <= start.size() / 4;
}

std::span<const u8> bytes_of(const std::string& contents) {
  return {reinterpret_cast<const u8*>(contents.data()), contents.size()};
}

u64 ram_bytes(std::span<const MemoryMapEntry> map) {
  u64 sum = 0;
  for (const MemoryMapEntry& entry : map) sum += entry.type == MemoryType::ram ? entry.size : 0;
  return sum;
}

}  // namespace

Result<> write_command_line(Dma& memory, const BootLayout& layout, std::string_view command_line, u64 limit) {
  const u64 room = std::min(limit, layout.command_line_bytes - 1);
  if (command_line.size() > room) {
    return usage_error(
        fmt::format("the kernel's command line is too long: {} characters, at most {} fit", command_line.size(), room));
  }
  if (command_line.find('\0') != command_line.npos)
    return usage_error("the kernel's command line has a zero byte in it");
  std::string terminated(command_line);
  memory.write(layout.command_line, terminated.c_str(), terminated.size() + 1);
  return {};
}

Result<GuestPhysical> place_initrd(Dma& memory, FreeMemory& free, NamedBytes initrd, u64 end_limit,
                                   bool may_be_above_4g) {
  const u64 size = initrd.bytes.size();
  auto place = free.highest(size, page_size, kernel_floor, std::min(end_limit, 4 * GiB));
  if (!place && may_be_above_4g) place = free.highest(size, page_size, kernel_floor, ~u64{0});
  if (!place || !free.take(*place, size)) {
    return fail(fmt::format(
        "initrd '{}' ({}) does not fit into the guest's memory beside the kernel: the largest free part has {}",
        initrd.name, format_size(size), format_size(free.largest())));
  }
  if (!memory.write(*place, initrd.bytes.data(), size)) return fail("the memory map names RAM where there is none");
  return *place;
}

std::unexpected<Error> does_not_fit(NamedBytes kernel, u64 bytes, GuestPhysical address) {
  return fail(fmt::format(
      "kernel '{}' does not fit into the guest's memory: it needs {} from {:#x} on, which {} of memory would hold",
      kernel.name, format_size(align_up(bytes, page_size)), address, format_size(align_up(address + bytes, MiB))));
}

Result<x86::X86State> load_boot_image(Dma& memory, NamedBytes kernel, NamedBytes initrd, std::string_view command_line,
                                      const BootEnvironment& environment) {
  if (is_elf(kernel.bytes)) {
    const ElfImage image = TRY(parse_elf(kernel));
    return boot_pvh(memory, image, kernel, initrd, command_line, environment);
  }
  if (is_bzimage(kernel.bytes)) {
    const BzImage image = TRY(parse_bzimage(kernel));
    return boot_linux(memory, image, kernel, initrd, command_line, environment);
  }
  const auto refuse = [&](std::string_view why) { return fail(fmt::format("cannot boot '{}': {}", kernel.name, why)); };
  if (kernel.bytes.empty()) return refuse("the file is empty");
  if (looks_like_text(kernel.bytes)) return refuse("it is a text file, not a kernel");
  if (kernel.bytes.size() < setup::version) return refuse("it is too short to be a kernel");
  return refuse("it is neither a bzImage nor an ELF file");
}

Result<x86::X86State> boot_kernel(Dma& memory, const BootFiles& files, const BootEnvironment& environment) {
  const std::string kernel = TRY(read_file(files.kernel, largest_kernel_file));
  std::string initrd;
  if (!files.initrd.empty()) {
    // Refused by its size, before it is read.
    const u64 ram = ram_bytes(environment.memory_map);
    auto contents = read_file(files.initrd, ram);
    if (!contents) return fail("initrd " + contents.error().message);
    if (contents->empty()) return fail(fmt::format("initrd '{}' is empty", files.initrd));
    initrd = std::move(*contents);
  }
  return load_boot_image(memory, {files.kernel, bytes_of(kernel)}, {files.initrd, bytes_of(initrd)}, files.command_line,
                         environment);
}

}  // namespace doppel::firmware
