// The software TLB: per vCPU, direct mapped by linear page number, three tables by what the processor may touch.
//
// An entry's three tags say for which linear page (and address space) reading, writing and fetching need no further check;
// a tag that is not valid never matches. Low tag bits carry the address-space number (ASID) in force when it was filled: a CR3
// write that keeps a PCID's entries only changes the current ASID, one that drops them takes a fresh ASID.
//   tag:  linear page number (bits 12–63) | ASID (bits 0–11)
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "base/types.h"

namespace doppel::interpreter {

struct TlbEntry {
  static constexpr u64 invalid = 0xfff;  // ASID 0xfff is never given out
  u64 read_tag = invalid;
  u64 write_tag = invalid;
  u64 fetch_tag = invalid;
  u64 addend = 0;  // host address - linear address
};

// Which accesses a table answers: supervisor with SMAP in force, supervisor without (CR4.SMAP = 0 or AC = 1), user.
enum class TlbTable : u8 { supervisor_smap, supervisor, user };
constexpr unsigned tlb_tables = 3;

class Tlb {
 public:
  static constexpr u64 entries = 4096;
  static constexpr u64 mask = entries - 1;

  Tlb();

  TlbEntry* table(TlbTable which) { return tables_[static_cast<unsigned>(which)].get(); }
  TlbEntry& entry(TlbTable which, u64 linear) { return table(which)[(linear >> 12) & mask]; }
  // A table that never hits: while data breakpoints or alignment checks need to see every access.
  TlbEntry* blind_table() { return blind_.get(); }

  u64 asid() const { return asid_; }

  // CR3 was written: `keep` (bit 63 of the source, or the same PCID untouched) keeps what this PCID has.
  // Global translations are dropped with the rest of a dropped ASID, which the architecture allows.
  void switch_address_space(u16 pcid, bool keep);
  void flush_all();                            // everything, all PCIDs, global too
  void flush_page(u64 linear);                 // INVLPG: this page in every address space, global or not
  void flush_pcid(u16 pcid);                   // INVPCID type 1
  void note_large_page(u64 linear, u64 size);  // a fill from a 2M/4M/1G page: flush_page takes all of its fragments

  u64 flushes = 0;

 private:
  u64 fresh_asid();

  std::unique_ptr<TlbEntry[]> tables_[tlb_tables];
  std::unique_ptr<TlbEntry[]> blind_;
  std::unordered_map<u16, u64> asids_;  // PCID → ASID that holds its entries
  u16 pcid_ = 0;
  u64 asid_ = 0;
  u64 next_asid_ = 1;
  // Sorted bases of the 2 MiB and 1 GiB frames that were filled from larger pages than 4 KiB. A 4 MiB page notes its halves.
  std::vector<u64> large_;
  std::vector<u64> huge_;
  bool large_overflow_ = false;  // too many to remember: any page flush is a full one
};

}  // namespace doppel::interpreter
