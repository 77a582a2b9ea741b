// What a vCPU of the translator counts while it runs, for --stats. Only what leaves translated code is counted, so that it costs nothing
// within.
#pragma once

#include <array>
#include <chrono>
#include <string>

#include "base/types.h"
#include "engine/translator/native_block.h"
#include "engine/translator/profile.h"
#include "isa/x86/mnemonic.h"

namespace doppel::translator {

struct Statistics {
  std::array<u64, 4> departures{};  // by DepartureKind
  // Instructions that the interpreter executed for translated code, by mnemonic.
  std::array<u64, ZYDIS_MNEMONIC_MAX_VALUE + 1> outlined{};
  u64 tlb_misses = 0;  // probes that the TLB did not answer (and traps)
  u64 refills = 0;     // those that were answered without leaving translated code
  u64 narrowed = 0;    // groups of accesses that were met at the end of a page
  u64 links = 0;       // direct branches to other pages that were made to go there
  u64 lookups = 0;     // targets that the jump cache did not know, likewise
  u64 translated_blocks = 0, translated_bytes = 0, hot_bytes = 0;
  u64 interpreted_blocks = 0;
  u64 interpreted_instructions = 0;
  u64 flushes = 0;  // times that all translations were dropped
  u64 code_changes = 0;
  u64 faults = 0;  // of instructions that translated code left to the interpreter
  std::chrono::nanoseconds translating{}, longest_flush{};
  Profile profile;  // of translations that were dropped

  // Lines of text; `instructions`: retired in all; `walks`: of page tables.
  std::string text(unsigned vcpu, u64 instructions, u64 walks, u64 epochs) const;
};

}  // namespace doppel::translator
