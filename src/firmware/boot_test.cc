// Boots synthesized images: what lands where, the processor's state, and one clear error for each way to be wrong.
#include "firmware/boot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>

#include "base/units.h"
#include "firmware/bytes.h"
#include "firmware/testing/images.h"
#include "isa/x86/paging.h"

namespace doppel::firmware {
namespace {

using ::testing::HasSubstr;

struct Boot : ::testing::Test {
  static constexpr u64 ram = 64 * MiB;
  Bus mmio{u64{1} << 40};
  std::unique_ptr<PhysicalMemory> memory;
  std::optional<Dma> dma;
  std::vector<MemoryMapEntry> map{{0, 0x9fc00, MemoryType::ram},
                                  {0x9fc00, 0x400, MemoryType::reserved},
                                  {0xf0000, 0x10000, MemoryType::reserved},
                                  {MiB, ram - 2 * MiB, MemoryType::ram},
                                  {ram - MiB, MiB, MemoryType::acpi_tables}};
  const BootLayout layout = testing::layout;

  void SetUp() override { provide(ram, 0); }
  void provide(u64 low, u64 high) {
    memory = std::move(*PhysicalMemory::create(low + high, mmio));
    ASSERT_TRUE(memory->map(0, 0, low, PhysicalMemory::Kind::ram, "low"));
    if (high != 0) {
      ASSERT_TRUE(memory->map(4 * GiB, low, high, PhysicalMemory::Kind::ram, "high"));
      map.push_back({4 * GiB, high, MemoryType::ram});
    }
    dma.emplace(*memory);
  }
  Result<x86::X86State> load(std::span<const u8> kernel, std::span<const u8> initrd = {},
                             std::string_view command_line = "") {
    return load_boot_image(*dma, {"kernel", kernel}, {"initrd", initrd}, command_line, {layout, map, 0xe0000});
  }
  template <class T>
  T at(GuestPhysical address) {
    T value{};
    EXPECT_TRUE(dma->read(address, value));
    return value;
  }
  std::string text(GuestPhysical address) {
    std::string found;
    while (const char c = at<char>(address++)) found.push_back(c);
    return found;
  }
  u64 zero_page(u64 offset, unsigned bytes) {
    u64 value = 0;
    EXPECT_TRUE(dma->read(layout.boot_info + offset, &value, bytes));
    return value;
  }
  // Walks the four levels that CR3 names.
  std::optional<u64> translate(const x86::X86State& state, u64 linear) {
    u64 entry = state.cr3;
    for (unsigned level = 4; level-- > 0;) {
      entry = at<u64>((entry & x86::physical_mask & ~u64{0xfff}) + 8 * (linear >> (12 + 9 * level) & 0x1ff));
      if (!x86::pte::Present::get(entry)) return std::nullopt;
      if (level == 1 && x86::pte::PageSize::get(entry)) {
        return (entry & x86::physical_mask & ~u64{0x1f'ffff}) | (linear & 0x1f'ffff);
      }
    }
    return (entry & x86::physical_mask & ~u64{0xfff}) | (linear & 0xfff);
  }
  // The descriptor in the guest's GDT must be the one that is loaded (Intel SDM vol. 3 §3.4.5).
  void expect_descriptor(const x86::X86State& state, const x86::SegmentRegister& loaded) {
    ASSERT_LE(loaded.selector + 7u, state.gdtr.limit);
    const u64 raw = at<u64>(state.gdtr.base + loaded.selector);
    EXPECT_EQ(raw >> 40 & 0xf0ff, loaded.attributes) << std::hex << raw;
    EXPECT_EQ((raw >> 16 & 0xff'ffff) | (raw >> 56) << 24, loaded.base);
    const u32 limit = static_cast<u32>((raw & 0xffff) | (raw >> 32 & 0xf'0000));
    EXPECT_EQ(raw >> 55 & 1 ? limit << 12 | 0xfff : limit, loaded.limit);
  }
};

TEST_F(Boot, SixtyFourBitEntry) {
  const auto kernel = testing::bzimage();
  const std::vector<u8> initrd(5000, 0x5a);
  const auto state = load(kernel, initrd, "console=ttyS0 quiet");
  ASSERT_TRUE(state) << state.error().message;

  EXPECT_EQ(state->rip, 16 * MiB + 0x200);
  EXPECT_EQ(at<u32>(16 * MiB), 0xc0de'0000u);
  EXPECT_EQ(state->gpr[x86::rsi], layout.boot_info);
  EXPECT_EQ(state->rflags, x86::rflags::fixed);
  EXPECT_EQ(state->cr0, 0x8000'0011u);
  EXPECT_EQ(state->cr4, x86::cr4::pae);
  EXPECT_EQ(state->efer, x86::efer::lme | x86::efer::lma);
  EXPECT_EQ(state->cpl(), 0u);
  EXPECT_EQ(state->segments[x86::cs].selector, 0x10);
  EXPECT_EQ(state->segments[x86::cs].attributes, 0xa09b);
  for (const auto segment : {x86::ds, x86::es, x86::ss}) {
    EXPECT_EQ(state->segments[segment].selector, 0x18);
    EXPECT_EQ(state->segments[segment].attributes, 0xc093);
  }
  for (const auto& segment : state->segments) expect_descriptor(*state, segment);
  expect_descriptor(*state, state->tr);
  for (const u64 linear : {u64{0}, layout.boot_info, 16 * MiB, GiB + 12345, 4 * GiB - 1})
    EXPECT_EQ(translate(*state, linear), linear);
  EXPECT_EQ(translate(*state, 4 * GiB), std::nullopt);

  EXPECT_EQ(zero_page(0x210, 1), 0xffu);
  EXPECT_EQ(zero_page(0x214, 4), 16 * MiB);
  EXPECT_EQ(zero_page(0x206, 2), 0x020fu) << "the kernel's own header";
  EXPECT_EQ(zero_page(0x070, 8), 0xe0000u);
  EXPECT_EQ(text(zero_page(0x228, 4)), "console=ttyS0 quiet");
  EXPECT_EQ(zero_page(0x1ef, 1), 0u) << "the sentinel";
  EXPECT_EQ(zero_page(0x1e8, 1), map.size());
  EXPECT_EQ(zero_page(0x2d0 + 3 * 20, 8), MiB);
  EXPECT_EQ(zero_page(0x2d0 + 3 * 20 + 8, 8), ram - 2 * MiB);
  EXPECT_EQ(zero_page(0x2d0 + 4 * 20 + 16, 4), 3u);
  EXPECT_EQ(zero_page(0x21c, 4), 5000u);
  const u64 place = zero_page(0x218, 4);
  EXPECT_EQ(place, ram - MiB - 2 * page_size) << "as high as the RAM that is free";
  EXPECT_EQ(at<u8>(place + 4999), 0x5a);
  EXPECT_EQ(at<u8>(place + 5000), 0);
}

TEST_F(Boot, ThirtyTwoBitEntry) {
  const auto state = load(testing::bzimage({.xloadflags = 0}));
  ASSERT_TRUE(state) << state.error().message;
  EXPECT_EQ(state->rip, 16 * MiB);
  EXPECT_EQ(state->gpr[x86::rsi], layout.boot_info);
  for (const auto zero : {x86::rbx, x86::rbp, x86::rdi}) EXPECT_EQ(state->gpr[zero], 0u);
  EXPECT_EQ(state->cr0, 0x11u);
  EXPECT_EQ(state->cr4 | state->efer, 0u);
  EXPECT_EQ(state->segments[x86::cs].attributes, 0xc09b);
  EXPECT_EQ(state->rflags, x86::rflags::fixed);
  for (const auto& segment : state->segments) expect_descriptor(*state, segment);
  EXPECT_EQ(zero_page(0x218, 4) | zero_page(0x21c, 4), 0u) << "no initrd";

  const auto before_xloadflags = load(testing::bzimage({.protocol = 0x020b}));
  ASSERT_TRUE(before_xloadflags);
  EXPECT_EQ(before_xloadflags->rip, 16 * MiB);
}

TEST_F(Boot, RelocatableKernelMovesUpToWhereRamIs) {
  map = {{0, 640 * KiB, MemoryType::ram}, {MiB, 16 * MiB, MemoryType::ram}, {21 * MiB, 40 * MiB, MemoryType::ram}};
  const auto state = load(testing::bzimage());
  ASSERT_TRUE(state);
  EXPECT_EQ(state->rip, 22 * MiB + 0x200) << "aligned to 2 MiB";
  EXPECT_THAT(load(testing::bzimage({.relocatable = 0})).error().message, HasSubstr("does not fit"));
}

TEST_F(Boot, InitrdAboveFourGiBOnlyIfAllowed) {
  provide(ram, 32 * MiB);
  const std::vector<u8> initrd(20 * MiB, 1);
  map[3] = {MiB, 24 * MiB, MemoryType::ram};  // holds the kernel only
  const auto state = load(testing::bzimage(), initrd);
  ASSERT_TRUE(state) << state.error().message;
  EXPECT_EQ(zero_page(0x0c0, 4), 1u);
  EXPECT_EQ(zero_page(0x218, 4), 12 * MiB);
  EXPECT_EQ(at<u8>(4 * GiB + 32 * MiB - 1), 1);
  EXPECT_FALSE(load(testing::bzimage({.xloadflags = 1}), initrd));
  EXPECT_TRUE(load(testing::bzimage({.xloadflags = 1}), std::vector<u8>(15 * MiB, 1))) << "beneath the kernel";
}

TEST_F(Boot, InitrdObeysItsLimit) {
  const std::vector<u8> initrd(page_size, 1);
  ASSERT_TRUE(load(testing::bzimage({.initrd_addr_max = 0x1ff'ffff}), initrd));
  EXPECT_EQ(zero_page(0x218, 4), 32 * MiB - page_size);
}

TEST_F(Boot, BadBzImages) {
  const auto check = [&](const std::vector<u8>& image, const char* expected) {
    const auto state = load(image);
    ASSERT_FALSE(state) << expected;
    EXPECT_THAT(state.error().message, HasSubstr(expected));
    EXPECT_THAT(state.error().message, HasSubstr("kernel"));
    EXPECT_EQ(state.error().message.find('\n'), std::string::npos);
  };
  const auto cut = [](u64 size) {
    auto image = testing::bzimage();
    image.resize(size);
    return image;
  };
  const std::string script = "#!/bin/sh\necho this is not a kernel, caf\xc3\xa9\n";
  check({}, "the file is empty");
  check({script.begin(), script.end()}, "it is a text file");
  check({0x7f, 0x00}, "too short");
  check(std::vector<u8>(4096, 0xaa), "neither a bzImage nor an ELF file");
  check(cut(0x206), "truncated within its header");
  check(cut(0x230), "truncated within its header");
  check(cut(0x300), "truncated: 768 bytes of 69632");
  check(cut(testing::bzimage().size() - 16), "truncated: 69616 bytes of 69632");
  check(testing::bzimage({.boot_flag = 0}), "neither a bzImage nor an ELF file");
  check(testing::bzimage({.magic = 0}), "neither a bzImage nor an ELF file");
  check(testing::bzimage({.protocol = 0x0209}), "boot protocol 2.09 is too old");
  check(testing::bzimage({.loadflags = 0}), "zImage");
  check(testing::bzimage({.syssize = 0}), "no kernel in it");
  check(testing::bzimage({.syssize = 0xffff'ffff}), "truncated");
  check(testing::bzimage({.header_length = 0x20}), "shorter than its boot protocol says");
  check(testing::bzimage({.alignment = 0}), "alignment 0x0 is not a power of two");
  check(testing::bzimage({.alignment = 0x30'0000}), "is not a power of two");
  check(testing::bzimage({.pref_address = 0x10'1000}), "is not aligned");
  check(testing::bzimage({.pref_address = 0x8000}), "not between 1 MiB and 4 GiB");
  check(testing::bzimage({.pref_address = ~u64{0}}), "not between 1 MiB and 4 GiB");
  check(testing::bzimage({.init_size = 0xffff'ffff}), "of memory to start");
  check(testing::bzimage({.init_size = 47 * MiB + 1}), "does not fit into the guest's memory");
  check(testing::bzimage({.cmdline_size = 0}), "no room for a command line");
  EXPECT_TRUE(load(testing::bzimage({.init_size = 47 * MiB})));
}

TEST_F(Boot, BadCompanions) {
  const std::string at_limit(2047, 'x');
  EXPECT_TRUE(load(testing::bzimage(), {}, at_limit));
  const auto too_long = load(testing::bzimage(), {}, at_limit + "x");
  ASSERT_FALSE(too_long);
  EXPECT_EQ(too_long.error().message, "the kernel's command line is too long: 2048 characters, at most 2047 fit");
  EXPECT_EQ(too_long.error().kind, ErrorKind::usage);
  const auto too_large = load(testing::bzimage(), std::vector<u8>(50 * MiB));
  ASSERT_FALSE(too_large);
  EXPECT_THAT(too_large.error().message, HasSubstr("initrd 'initrd' (50 MiB) does not fit"));
}

TEST_F(Boot, PvhBothClasses) {
  for (const bool wide : {false, true}) {
    const std::vector<u8> initrd(100, 9);
    ASSERT_TRUE(dma->write(2 * MiB + 0x100, u64{0x1111})) << "left over from before a reset";
    const auto state = load(testing::elf({.wide = wide}), initrd, "hello");
    ASSERT_TRUE(state) << state.error().message;
    EXPECT_EQ(state->rip, 2 * MiB + 0x10);
    EXPECT_EQ(state->cr0, 0x11u);
    EXPECT_EQ(state->cr4 | state->efer, 0u);
    EXPECT_EQ(state->segments[x86::cs].attributes, 0xc09b);
    EXPECT_EQ(state->tr.limit, 0x67u);
    EXPECT_EQ(state->tr.attributes, 0x008b) << "a busy 32-bit TSS";
    expect_descriptor(*state, state->tr);
    EXPECT_EQ(at<u32>(2 * MiB), 0xc0de'0001u);
    EXPECT_EQ(at<u64>(2 * MiB + 0x100), 0u) << "beyond the file's bytes";

    const u64 info = state->gpr[x86::rbx];
    EXPECT_EQ(at<u32>(info), 0x336ec578u);
    EXPECT_EQ(at<u32>(info + 4), 1u);
    EXPECT_EQ(at<u32>(info + 12), 1u);
    const u64 module = at<u64>(info + 16);
    EXPECT_EQ(at<u8>(at<u64>(module) + 99), 9);
    EXPECT_EQ(at<u64>(module + 8), 100u);
    EXPECT_EQ(text(at<u64>(info + 24)), "hello");
    EXPECT_EQ(at<u64>(info + 32), 0xe0000u);
    const u64 entries = at<u64>(info + 40);
    EXPECT_EQ(at<u32>(info + 48), map.size());
    EXPECT_EQ(at<u64>(entries + 3 * 24), MiB);
    EXPECT_EQ(at<u32>(entries + 4 * 24 + 16), 3u);
  }
}

TEST_F(Boot, BadElfs) {
  const auto check = [&](const testing::ElfShape& shape, const char* expected, u64 cut = ~u64{0}) {
    auto image = testing::elf(shape);
    image.resize(std::min<u64>(cut, image.size()));
    const auto state = load(image);
    ASSERT_FALSE(state) << expected;
    EXPECT_THAT(state.error().message, HasSubstr(expected));
  };
  check({}, "within its ELF header", 20);
  check({}, "within its ELF header", 60);
  check({}, "within its program headers", 100);
  check({}, "it is truncated: segment", 0x180);
  check({.elf_class = 3}, "neither 32 nor 64 bits");
  check({.machine = 183}, "ELF machine 183, not x86");
  check({.type = 1}, "not an executable");
  check({.program_headers = 0}, "0 program headers");
  check({.program_headers = 0xffff}, "65535 program headers");
  check({.note_type = 17}, "without a PVH entry point");
  check({.note_name_size = 0xffff'fff0}, "without a PVH entry point");
  check({.entry = 5 * MiB}, "outside of its segments");
  check({.memory_size = 8}, "larger in the file than in memory");
  check({.memory_size = 100 * MiB}, "does not fit into the guest's memory");
  check({.physical_address = 0x8000, .entry = 0x8000}, "below 1 MiB");
  check({.physical_address = ~u64{0} - 0xfff}, "does not lie below 4 GiB");
  check({.second_segment = 2 * MiB + 0x80}, "overlap");
}

// The kernels that tools/guest-assets has fetched, if it has.
TEST_F(Boot, RealKernels) {
  const char* home = std::getenv("HOME");
  const std::filesystem::path cache = std::string(home != nullptr ? home : "") + "/.cache/doppel/guest";
  provide(128 * MiB, 0);
  map = {{0, 0x9fc00, MemoryType::ram}, {MiB, 127 * MiB, MemoryType::ram}};
  unsigned found = 0;
  for (const std::string name : {"cloud", "generic", "rt", "i386"}) {
    const std::string path = cache / name / "vmlinuz";
    if (!std::filesystem::exists(path)) continue;
    ++found;
    const auto state = boot_kernel(*dma, {path, "", "console=ttyS0"}, {layout, map, 0});
    ASSERT_TRUE(state) << state.error().message;
    EXPECT_EQ(state->rip, name == "i386" ? 16 * MiB : 16 * MiB + 0x200);
  }
  if (found == 0) GTEST_SKIP() << "no kernels in " << cache;
}

TEST_F(Boot, Files) {
  const auto check = [&](const std::string& kernel, const std::string& initrd, const char* expected) {
    const auto state = boot_kernel(*dma, {kernel, initrd, ""}, {layout, map, 0});
    ASSERT_FALSE(state) << expected;
    EXPECT_THAT(state.error().message, HasSubstr(expected));
  };
  const std::filesystem::path folder = ::testing::TempDir();
  const std::string kernel = folder / "doppel-boot-test-kernel", empty = folder / "doppel-boot-test-empty",
                    large = folder / "doppel-boot-test-large";
  const auto image = testing::bzimage();
  std::ofstream(kernel).write(reinterpret_cast<const char*>(image.data()), static_cast<std::streamsize>(image.size()));
  {
    const std::ofstream created(empty);
  }
  {
    const std::ofstream created(large);
  }
  std::filesystem::resize_file(large, u64{1} << 40);
  EXPECT_TRUE(boot_kernel(*dma, {kernel, "", ""}, {layout, map, 0}));
  check("/nowhere/vmlinuz", "", "cannot open '/nowhere/vmlinuz': No such file");
  check(folder, "", "directory");
  check(kernel, "/nowhere/initrd", "cannot open '/nowhere/initrd'");
  check(kernel, empty, "is empty");
  check(kernel, large, "too large");
  for (const auto& path : {kernel, empty, large}) std::filesystem::remove(path);
}

}  // namespace
}  // namespace doppel::firmware
