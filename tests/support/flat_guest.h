// A vCPU of any engine with 2 MiB of RAM, mapped flat at one linear address in 64-bit or 32-bit compatibility mode, for tests that
// run a few instructions and look at what they did. There is no IDT: the first exception ends the run and is reported.
#pragma once

#include <memory>
#include <optional>
#include <span>

#include "engine/vcpu.h"

namespace doppel::testing {

class FlatGuest {
 public:
  // The same addresses are free in the test's own process: see NativeCpu.
  static constexpr u64 base = 0x1000'0000, size = 0x20'0000;
  static constexpr u64 tables = base + 0x10'0000;  // where the page tables are, inside of it

  explicit FlatGuest(Engine& engine, unsigned cpus = 1);
  ~FlatGuest();

  // Supervisor, paging on, flat segments; registers zero.
  static x86::X86State initial_state(bool compatibility_mode = false);

  struct Outcome {
    x86::X86State state;          // at the exception, if there was one
    std::optional<u8> exception;  // its vector
    std::optional<u64> error_code;
    VcpuExit exit;
  };
  Outcome run(const x86::X86State& state, u64 budget);

  // Through the DMA interface: decoded code becomes stale as it should.
  void write(u64 linear, std::span<const u8> bytes);
  const u8* memory(u64 linear) const;
  // Removes or restores one 4 KiB page.
  void set_present(u64 linear, bool present);
  void set_writable(u64 linear, bool writable);
  // Makes it a page of memory-mapped I/O that nobody answers: it reads all ones.
  void set_device(u64 linear);

  TraceHooks& hooks() { return hooks_; }  // `exception` is taken

  Vcpu& vcpu(unsigned index = 0) { return *vcpus_[index]; }
  PhysicalMemory& physical_memory() { return *memory_; }

 private:
  struct Board;
  void change_entry(u64 linear, u64 clear, u64 set);

  std::unique_ptr<Board> board_;
  std::unique_ptr<PhysicalMemory> memory_;
  std::vector<std::unique_ptr<Vcpu>> vcpus_;
  TraceHooks hooks_;
  Outcome outcome_;
};

}  // namespace doppel::testing
