// A vCPU that runs hot 64-bit and 32-bit code translated. Everything else is the interpreter's (engine/interpreter/interpreter_vcpu.h).
#pragma once

#include <cstdlib>
#include <memory>
#include <mutex>
#include <unordered_set>

#include "base/bits.h"
#include "engine/interpreter/interpreter_vcpu.h"
#include "engine/translator/block_translator.h"
#include "engine/translator/perf_map.h"
#include "engine/translator/statistics.h"
#include "engine/translator/verifier.h"

namespace doppel::translator {

struct VcpuSettings {
  u64 block_cache_bytes;
  bool repeatable;
  bool verify = false;
  bool counts = true;
  bool profile = false;
  PerfMap* perf_map = nullptr;  // null: none
  unsigned longest_block;
  u32 warm_up;
  bool pushes_flags = true;
};

class TranslatorVcpu final : public interpreter::InterpreterVcpu, private CodeWatcher {
 public:
  TranslatorVcpu(const VcpuWiring& wiring, const x86::Decoder& decoder, const VcpuSettings& settings, CodeCache cache);
  ~TranslatorVcpu() override;
  TranslatorVcpu(const TranslatorVcpu&) = delete;
  TranslatorVcpu& operator=(const TranslatorVcpu&) = delete;

  VcpuExit run(u64 budget) override;
  std::string statistics() const override;

 protected:
  void step() override;

 private:
  // What comes after a departure: translated code to go on with (an offset; the flags are saved), or 0: the run loop decides.
  u32 after(const Departure& departure);
  u32 after_site(const Departure& departure);
  u32 after_lookup(const Departure& departure);
  u32 after_exit(const Departure& departure);
  u32 go_on();

  // Helpers.
  static u64 refill(void* owner, u64 linear, u32 number);
  static u64 look_up(void* owner, u64 target);
  static u64 link(void* owner, u64 target, u32 departure);
  static u64 system(void* owner, u64 unused, u32 departure);
  struct Found {
    u32 code = 0;  // offset; 0: nothing
    bool crossing = false;
  };
  Found find_code(u64 target);
  Found find_target(u64 target);
  u32 page_of(u64 target);
  void narrow(u32 refill);

  void run_native(u32 offset);
  // The same, block by block, with the interpreter (verified_run.cc).
  void run_verified(u32 native);
  bool verified(const NativeBlock& native, unsigned first, u64 charged, u32 offset, Departure& departure);
  void interpret_first(const interpreter::Block& block, unsigned first, u64 charged, unsigned count);
  void show_departure(const Departure& departure);
  u32 enter(u32 offset);
  // Translated code of the block at cpu_.rip that may run now: its index, or 0.
  u32 native_at_rip();
  u32 native_of(interpreter::Block* block);
  bool units_allowed(const NativeBlock& block) const;
  bool may_run(u32 native) const;
  bool run_operations(const interpreter::Block& block, unsigned first, unsigned count);
  void forget_translations();
  void forget_jumps();
  void forget_places();
  void note_place(u64 physical);
  // Of a block in the page whose translated code runs.
  u64 linear_of(const interpreter::Block& block) const {
    return cpu_.native.code_page + (block.physical & low_bits(page_shift));
  }
  interpreter::NativeJump& jump_at(u64 rip);
  u32 known_code(u64 rip);
  void remember_jump(u64 rip, u32 code);
  void describe_translation(u32 native, u64 start);  // to those who want to know
  void collect_profile(Profile& profile) const;
  interpreter::Block* find(u64 limit);
  void code_changed(u64 page) override;
  void drop_changed_pages();
  bool is_current(const interpreter::Block& block) const;
  void drop_all();
  void unlink(u32 link);

  Translations translations_;
  interpreter::ScratchBlock some_;
  struct Release {
    void operator()(void* table) const { std::free(table); }
  };
  template <class T>
  using Table = std::unique_ptr<T[], Release>;
  template <class T>
  static Table<T> make_table(u64 entries);  // of zeroes, in no memory yet

  Table<interpreter::NativeJump> jumps_, no_jumps_;
  Table<FoundCode> found_code_;
  Statistics statistics_;
  std::vector<CodePlace> places_;  // when profiling, by NativeBlock
  PerfMap* const perf_map_;
  std::unique_ptr<Verifier> verifier_;                  // null: nothing is verified
  std::unordered_map<u32, std::vector<u16>> outlined_;  // when verifying, of each translated block: what it leaves out
  std::string difference_;                              // found
  u64 poll_target_ = 0;                                 // what a poll reads
  u64 block_clears_ = 0;
  u32 epoch_round_ = 0;
  // In which linear page each page of RAM was entered, by the number of the one and the context, for those of one epoch.
  std::unordered_map<u64, u64> linear_pages_;
  u32 linear_pages_epoch_ = 0;
  std::unordered_set<u64> several_;  // pages that were met at two addresses in one context: none of their branches is linked
  std::atomic<bool> code_changed_{false};
  std::mutex changed_mutex_;
  std::vector<u64> changed_pages_;                            // guarded by changed_mutex_; beyond a bound, any may have
  std::unordered_map<u64, std::vector<u32>> blocks_of_page_;  // by its number
  std::unordered_map<u32, std::vector<u32>> links_to_;        // Links, by the offset of where they go
  const u32 warm_up_;
  bool x87_wanted_ = false;   // a block that needs the unit may run soon
  bool interpreted_ = false;  // this run() has a budget that translated code does not keep
};

}  // namespace doppel::translator
