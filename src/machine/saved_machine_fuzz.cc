// Any bytes as a saved machine: no crash, nothing written outside of RAM, no allocation beyond the file's size.
#include <fmt/format.h>
#include <sys/mman.h>

#include "machine/saved_machine.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace doppel;
  const Fd fd(::memfd_create("input", MFD_CLOEXEC));
  if (!write_all(fd.get(), {data, size})) return 0;
  auto file = SavedMachine::open(fmt::format("/proc/self/fd/{}", fd.get()));
  if (!file) return 0;
  Bus mmio(u64{1} << 52);
  auto memory = PhysicalMemory::create(4 * page_size, mmio);
  if (memory) (void)file->load_ram(**memory);
  return 0;
}
