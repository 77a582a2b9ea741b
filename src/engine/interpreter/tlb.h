// The software TLB of one vCPU: direct mapped by linear page number, one table for each set of rights in each address space, so that
// an entry needs no tag but its page.
//
// A slot's two tags say for which linear page reading and writing need no further check:
//   offset = linear ^ tag; a hit if offset <= 4096 - bytes; the host address is then host + offset
// so that one comparison finds another page, an access that leaves the page, and an empty slot. A tag that is not valid differs from
// every linear page of its slot (invalid_tag), canonical or not; but for slots 0 and 1 it is 0, so that memory of zeroes is an empty
// table and a table takes only the memory that its entries need.
//
// A page of RAM whose flags (memory/physical_memory.h) are not 0 may be written to, but whoever does must tell: its write tag is that
// of the neighbouring slot (watched_tag), which no page of this slot hits. So a store that hits needs no look at the flags. When a page
// is flagged, every vCPU turns the write tags of that page into such (watch) before the grace period ends that the flag began; where
// they are is known for each page of RAM (stores_).
//
// Address spaces are told apart by PCID (SDM vol. 3 §4.10): a CR3 write that keeps a PCID's translations finds its tables filled.
// The table of a supervisor with SMAP in force holds no user page: all spaces share it, and what is not global in it goes with the space.
#pragma once

#include <array>
#include <cstdlib>
#include <memory>
#include <vector>

#include "base/types.h"

namespace doppel::interpreter {

// One table, by slot. Translated code keeps a constant of its own in the low bits of its address (engine/translator/frame.h), and reaches
// what lies next to that by the shortest instructions: what all accesses need.
struct alignas(65536) TlbEntries {
  static constexpr u64 slot_bits = 14;
  static constexpr u64 slots = u64{1} << slot_bits;

  u8 unused[slot_bits << 8];  // up to that constant
  u64 host[slots];            // address of the host page
  u64 read_tag[slots];
  u64 write_tag[slots];
  // Where translated code was entered: the linear page | the mark of the time when that was known to be right (1 … last_mark).
  u64 code_tag[slots];
  static constexpr u64 last_mark = 0xfff;
};

// Which accesses a table answers: supervisor with SMAP in force, supervisor without (CR4.SMAP = 0 or AC = 1), user.
enum class TlbTable : u8 { supervisor_smap, supervisor, user };

// What a walk found out about one page for one table.
struct TlbFill {
  u8* host_page;
  u64 page;      // of RAM
  bool watched;  // its flags are not 0
  bool readable, writable, executable;
  bool global;
};

class Tlb {
 public:
  static constexpr u64 entries = TlbEntries::slots;
  static constexpr u64 mask = entries - 1;
  static constexpr u64 page_mask = 0xfff;

  static constexpr u64 slot_of(u64 linear) { return (linear >> 12) & mask; }
  static constexpr u64 invalid_tag(u64 slot) { return slot <= 1 ? ~u64{0} : 0; }
  static constexpr u64 watched_tag(u64 tag) { return tag ^ 0x1000; }

  // Memory of zeroes that is given back as it was got: a Set, or a table of its own.
  struct Unmap {
    template <class T>
    void operator()(T* mapped) const {
      unmap(mapped, sizeof(T));
    }
  };
  using OwnedTable = std::unique_ptr<TlbEntries, Unmap>;

  explicit Tlb(u64 ram_pages);

  // Tables of the current address space: they stay where they are until the next switch_address_space.
  TlbEntries* table(TlbTable which) { return &set(which).table; }
  static OwnedTable make_table();  // an empty one
  // A table that never hits: while data breakpoints or alignment checks need to see every access.
  static TlbEntries* blind_table();

  // Host address of code at `linear`, or nullptr: walk.
  u8* find_code(TlbTable which, u64 linear) {
    Set& from = set(which);
    const u64 slot = slot_of(linear), offset = linear ^ from.table.read_tag[slot];
    if (offset > page_mask || !from.executable[slot]) return nullptr;
    return reinterpret_cast<u8*>(from.table.host[slot] + offset);
  }
  void fill(TlbTable which, u64 linear, const TlbFill& page);
  // Sets the slot's code_tag if it has the page of `linear`, as one that may be executed.
  void note_code(TlbTable which, u64 linear, u64 mark) {
    if (find_code(which, linear)) set(which).table.code_tag[slot_of(linear)] = (linear & ~page_mask) | mark;
  }
  void forget_code();  // all code_tags
  // Whether the entry at `linear`, if it is there, stays in all address spaces.
  bool is_global(TlbTable which, u64 linear) {
    Set& from = set(which);
    const u64 slot = slot_of(linear);
    return (linear ^ from.table.read_tag[slot]) <= page_mask && from.global[slot];
  }

  // Names the current translations of code: it changes with the address space and when the space is emptied by a switch. It is never 0.
  u64 asid() const { return current_->id; }

  // CR3 was written: `keep` (bit 63 of the source, or the same PCID untouched) keeps what this PCID has.
  void switch_address_space(u16 pcid, bool keep);
  void flush_all();  // everything, all PCIDs, global too
  // INVLPG: this page in every address space, global or not, with all of the larger page that it may be part of. Returns the range; no
  // pages: everything was flushed.
  struct Range {
    u64 linear = 0;
    u64 pages = 0;
  };
  Range flush_page(u64 linear);
  void flush_pcid(u16 pcid);                  // INVPCID type 1
  void watch(u64 page, const u8* host_page);  // no store hits this page of RAM any more
  void watch_all();
  void note_large_page(u64 linear, u64 size);  // a fill from a 2M/4M/1G page: flush_page takes all of its fragments

  u64 flushes = 0;

 private:
  // One table. `filled` lists the slots to empty, so that an address space that touched little is dropped cheaply.
  struct Set {
    static constexpr unsigned listed = 1024;
    void empty();       // all of it
    void drop_noted();  // what was noted since the last time
    void note(u64 slot) {
      if (noted < listed) filled[noted] = static_cast<u16>(slot);
      if (noted <= listed) ++noted;
    }
    void invalidate(u64 slot) {
      table.read_tag[slot] = table.write_tag[slot] = invalid_tag(slot);
      table.code_tag[slot] = 0;
    }
    void watch(u64 slot) {
      u64& tag = table.write_tag[slot];
      if (slot_of(tag) == slot) tag = watched_tag(tag);
    }

    TlbEntries table;
    bool executable[Tlb::entries];
    bool global[Tlb::entries];
    u16 filled[listed];
    unsigned noted;  // above `listed`: more than fit
  };
  using OwnedSet = std::unique_ptr<Set, Unmap>;
  static OwnedSet make_set();
  static void unmap(void* memory, u64 bytes);

  struct Space {
    OwnedSet supervisor, user;
    u16 pcid = 0;
    bool known = false;  // holds translations of `pcid`
    u64 id = 0;
    u64 used = 0;
  };
  static constexpr unsigned space_count = 8;

  Set& set(TlbTable which) {
    if (which == TlbTable::supervisor_smap) return *guarded_;
    return which == TlbTable::user ? *current_->user : *current_->supervisor;
  }
  template <class Each>
  void for_each_set(Each each) {
    each(*guarded_);
    for (Space& space : spaces_) each(*space.supervisor), each(*space.user);
  }
  void flush_slot(u64 linear);
  void remember_store(u64 page, u64 host, u64 slot);
  void watch_slot(u64 slot, u64 host);
  Space* find(u16 pcid);
  void start(Space& space, u16 pcid);
  u64 fresh_id();

  OwnedSet guarded_;  // supervisor_smap; only what is not global is noted
  std::array<Space, space_count> spaces_;
  // By page of RAM: up to four slots where write tags of it may be, each with the bit above its number; the latest is the lowest.
  static constexpr unsigned store_bits = 16;
  static constexpr u64 store_known = 0x8000;
  static_assert(TlbEntries::slots <= store_known);
  std::unique_ptr<u64[], decltype(&std::free)> stores_;
  Space* current_;
  u64 next_id_ = 1;
  u64 clock_ = 0;
  // Sorted bases of the 2 MiB and 1 GiB frames that were filled from larger pages than 4 KiB. A 4 MiB page notes its halves.
  std::vector<u64> large_;
  std::vector<u64> huge_;
  bool large_overflow_ = false;  // too many to remember: any page flush is a full one
  bool pairs_ = false;           // there are halves of 4 MiB pages
};

}  // namespace doppel::interpreter
