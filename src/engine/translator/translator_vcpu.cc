#include "engine/translator/translator_vcpu.h"

#include <malloc.h>

#include <cstdlib>
#include <cstring>
#include <new>

#include "base/check.h"
#include "engine/interpreter/sse/vector.h"
#include "engine/interpreter/translate.h"
#include "engine/translator/flag_state.h"
#include "engine/translator/host_signals.h"
#include "engine/translator/x87_unit.h"

namespace doppel::translator {

using interpreter::Block;
using interpreter::Leave;
using interpreter::NativeJump;

namespace {

constexpr u64 page_mask = ~u64{0xfff};

// What is remembered at most, so that a guest cannot make it grow.
constexpr std::size_t most_linear_pages = 65536, most_linked = 524'288, most_changed_pages = 4096;
constexpr u16 most_missed = 0xffff;

u8 vectors_allowed(const Cpu& cpu) {
  if (cpu.sse_fault || interpreter::simd_traps(cpu)) return 0;
  return cpu.avx_fault ? 1 : 3;
}

// Outside of 64-bit mode translated code leaves segments out of account: their bases are 0, and no offset lies beyond them.
bool reaches_all(const x86::SegmentRegister& segment) {
  return segment.limit == 0xffff'ffff && x86::SegmentRegister::Present::get(segment.attributes) &&
         x86::SegmentRegister::CodeOrData::get(segment.attributes);
}
bool flat_data(const x86::SegmentRegister& segment) {
  constexpr unsigned code = 8, expand_down = 4, writable = 2;
  const unsigned type = x86::SegmentRegister::Type::get(segment.attributes);
  return reaches_all(segment) && (type & (code | expand_down | writable)) == writable;
}

bool translatable(const Cpu& cpu) {
  if (cpu.mode == x86::CodeMode::long64) return true;
  const auto& segments = cpu.s.segments;
  if (!cpu.mode_is_32() || segments[x86::cs].base != 0 || !reaches_all(segments[x86::cs])) return false;
  for (const x86::Segment segment : {x86::ds, x86::es, x86::ss})
    if (segments[segment].base != 0 || !flat_data(segments[segment])) return false;
  return x86::SegmentRegister::Big::get(segments[x86::ss].attributes);
}

u8 flat_segments(const Cpu& cpu) {
  u8 flat_ones = 0;
  for (const x86::Segment segment : {x86::fs, x86::gs})
    if (flat_data(cpu.s.segments[segment])) flat_ones |= static_cast<u8>(1 << segment);
  return flat_ones;
}

// Calls `stub`, which comes back by a jump to the return address, as a function of the System V ABI. What the host keeps to predict RETs
// by are the CALLs of the guest (BlockWriter::call_host): so the next RET of the guest still goes where it is predicted to.
u32 call_by_jumps(u64 stub, interpreter::NativeState* native) {
  u32 result;
  asm volatile(
      "mov %%rsp, %%rbx\n\t"
      "sub $128, %%rsp\n\t"  // below the red zone
      "and $-16, %%rsp\n\t"
      "lea 1f(%%rip), %%rcx\n\t"
      "push %%rcx\n\t"
      "jmp *%[stub]\n"
      "1:\n\t"
      "mov %%rbx, %%rsp"
      : "=a"(result), "+D"(native)
      : [stub] "r"(stub)
      : "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4",
        "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
  return result;
}

}  // namespace

template <class T>
TranslatorVcpu::Table<T> TranslatorVcpu::make_table(u64 entries) {
  auto* table = static_cast<T*>(std::calloc(entries, sizeof(T)));
  if (!table) throw std::bad_alloc();
  return Table<T>(table);
}

TranslatorVcpu::TranslatorVcpu(const VcpuWiring& wiring, const x86::Decoder& decoder, const VcpuSettings& settings,
                               CodeCache cache)
    : InterpreterVcpu(wiring, decoder, settings.block_cache_bytes, settings.repeatable),
      translations_(make_translations(std::move(cache), cpu_, {this, refill, look_up, link, system})),
      jumps_(make_table<NativeJump>(NativeJump::entries)),
      no_jumps_(make_table<NativeJump>(NativeJump::entries)),
      found_code_(make_table<FoundCode>(found_codes)),
      perf_map_(settings.perf_map),
      warm_up_(settings.warm_up) {
  cpu_.longest_block = settings.longest_block;
  cpu_.native.poll_page = reinterpret_cast<u64>(&poll_target_);
  cpu_.native.no_jumps = no_jumps_.get();
  cpu_.native.all_jumps = jumps_.get();
  cpu_.native.no_return.landing = translations_.cache.address(translations_.stubs.no_return);
  cpu_.native.forget_returns();
  cpu_.native.go();
  translations_.counted = settings.repeatable;
  translations_.profiled = settings.profile;
  translations_.charged = settings.counts;
  translations_.pushes_flags = settings.pushes_flags;
  if (settings.verify) {
    CHECK(settings.repeatable);
    verifier_ = std::make_unique<Verifier>(cpu_);
  }
  wiring.memory.watch_code(*this);
}

TranslatorVcpu::~TranslatorVcpu() { cpu_.memory.unwatch_code(*this); }

VcpuExit TranslatorVcpu::run(u64 budget) {
  const FaultScope faults(translations_);
  interpreted_ = budget != unlimited_budget && !translations_.counted;
  VcpuExit exit = InterpreterVcpu::run(budget);
  if (!difference_.empty()) return Diverged{std::exchange(difference_, {})};
  return exit;
}

// Any thread.
void TranslatorVcpu::code_changed(u64 page) {
  {
    const std::lock_guard lock(changed_mutex_);
    if (changed_pages_.size() <= most_changed_pages) changed_pages_.push_back(page);
  }
  code_changed_.store(true);
  cpu_.request_attention();
}

// What leads to blocks of changed pages finds out that they are no more, each for itself.
void TranslatorVcpu::drop_changed_pages() {
  std::vector<u64> pages;
  {
    const std::lock_guard lock(changed_mutex_);
    pages.swap(changed_pages_);
  }
  if (cpu_.blocks.clears() != block_clears_) return forget_translations();  // their blocks are gone
  if (pages.size() > most_changed_pages) return drop_all();
  for (const u64 page : pages) {
    const auto blocks = blocks_of_page_.extract(page);
    if (!blocks) continue;
    for (const u32 index : blocks.mapped()) {
      if (is_current(*translations_.blocks[index].block)) {  // made after the change, of which we hear only now
        blocks_of_page_[page].push_back(index);
        continue;
      }
      if (!translations_.room()) return drop_all();
      retire_block(cpu_, translations_, index);
      const auto links = links_to_.extract(translations_.blocks[index].entry_found);
      if (!links) continue;
      for (const u32 link : links.mapped()) unlink(link);
    }
  }
}

// Whether what the block was decoded from is still there.
bool TranslatorVcpu::is_current(const Block& block) const {
  return block.valid() && (!block.crossing || cpu_.generations[block.second_page].load(std::memory_order_relaxed) ==
                                                  block.second_generation);
}

// The guards hold nowhere.
void TranslatorVcpu::unlink(u32 link) {
  translations_.guard(link) = interpreter::NativeState::no_context;
  if (const u32 page = translations_.links[link].page) translations_.rewrite(page, no_page(cpu_));
}

void TranslatorVcpu::drop_all() {
  cpu_.blocks.clear();  // with all that points to translations
  forget_translations();
}

// The block at cpu_.rip, as find_block gives it, when everything known of older blocks is right.
Block* TranslatorVcpu::find(u64 limit) {
  if (code_changed_.exchange(false)) {
    ++statistics_.code_changes;
    drop_changed_pages();
  }
  if (epoch_round_ != cpu_.epoch_round()) forget_places();
  Block* block = interpreter::find_block(cpu_, limit, scratch_);
  if (cpu_.blocks.clears() != block_clears_) forget_translations();
  return block;
}

void TranslatorVcpu::forget_translations() {
  const auto start = std::chrono::steady_clock::now();
  block_clears_ = cpu_.blocks.clears();
  ++statistics_.flushes;
  collect_profile(statistics_.profile);
  places_.clear();
  translations_.drop();
  outlined_.clear();
  several_.clear();
  blocks_of_page_.clear();
  links_to_.clear();
  forget_places();
  std::fill_n(found_code_.get(), found_codes, FoundCode{});
  malloc_trim(0);  // what was known of them is as much memory as they were
  const std::chrono::nanoseconds took = std::chrono::steady_clock::now() - start;
  statistics_.longest_flush = std::max(statistics_.longest_flush, took);
}

void TranslatorVcpu::forget_jumps() {
  cpu_.forget_jumps();
  if (epoch_round_ != cpu_.epoch_round()) forget_places();
}

// Where the code of which addresses is.
void TranslatorVcpu::forget_places() {
  epoch_round_ = cpu_.epoch_round();
  std::fill_n(jumps_.get(), NativeJump::entries, NativeJump{});
  cpu_.native.forget_returns();
  for (u32 link = 1; link < translations_.links.size(); ++link) unlink(link);
}

void TranslatorVcpu::describe_translation(u32 native, u64 start) {
  const CodePlace place{cpu_.rip, translations_.blocks[native].block->count, cpu_.user};
  if (translations_.profiled) {
    places_.resize(native + 1);
    places_[native] = place;
  }
  if (perf_map_) perf_map_->add(translations_.cache.address(start), translations_.hot - start, place);
}

void TranslatorVcpu::collect_profile(Profile& profile) const {
  for (std::size_t i = 1; i < std::min(places_.size(), translations_.entered.size()); ++i)
    if (const u64 times = translations_.entered[i]) profile.add(places_[i], times);
}

std::string TranslatorVcpu::statistics() const {
  Profile profile = statistics_.profile;
  collect_profile(profile);
  return statistics_.text(cpu_.index, cpu_.executed(), cpu_.walks, cpu_.epoch) + profile.text();
}

void TranslatorVcpu::step() {
  if (interpreted_) return InterpreterVcpu::step();
  cpu_.chains_blocks = !translatable(cpu_);  // what is never translated
  Block* block = find(step_limit());
  if (!block) {
    cpu_.leave = Leave::fault;
    return settle();
  }
  const u32 native = native_of(block);
  if (native && may_run(native)) {
    note_place(block->physical);
    cpu_.native.code_page = cpu_.rip & page_mask;
    x87_wanted_ = translations_.blocks[native].x87;
    if (verifier_) return run_verified(native);
    return run_native(translations_.blocks[native].entry_found);
  }
  if (cpu_.blocks.clears() != block_clears_) return;  // its room was needed: once more
  const i64 before = cpu_.remaining;
  execute(block);
  statistics_.interpreted_instructions += static_cast<u64>(before - cpu_.remaining);
  ++statistics_.interpreted_blocks;
  settle();
}

// Whether the units of the host that it needs can hold the guest's state.
bool TranslatorVcpu::units_allowed(const NativeBlock& block) const {
  return translatable(cpu_) && (!block.vectors || (block.vectors & ~vectors_allowed(cpu_)) == 0) &&
         (!block.x87 || x87_allowed(cpu_)) && (!block.segments || (block.segments & ~flat_segments(cpu_)) == 0);
}

bool TranslatorVcpu::may_run(u32 native) const {
  const NativeBlock& block = translations_.blocks[native];
  return units_allowed(block) && (!translations_.counted || cpu_.remaining >= block.block->count);
}

u32 TranslatorVcpu::native_of(Block* block) {
  if (block->native) return block->native;
  if (block == scratch_.block() || block->uncached || !translatable(cpu_) || ++block->heat < warm_up_) return 0;
  if (!translations_.room()) {
    drop_all();
    return 0;
  }
  const auto start = std::chrono::steady_clock::now();
  const u64 hot = translations_.hot, bytes = translations_.hot + translations_.cold;
  const std::size_t departures = translations_.departures.size();
  block->native = translate_block(cpu_, translations_, block);
  translations_.cache.grown_to(translations_.hot);
  translations_.cache.grown_to(translations_.cold);
  statistics_.translating += std::chrono::steady_clock::now() - start;
  statistics_.translated_bytes += translations_.hot + translations_.cold - bytes;
  statistics_.hot_bytes += translations_.hot - hot;
  ++statistics_.translated_blocks;
  blocks_of_page_[block->physical / page_size].push_back(block->native);
  if (block->crossing) blocks_of_page_[block->second_page].push_back(block->native);
  describe_translation(block->native, hot);
  if (verifier_)
    for (std::size_t i = departures; i < translations_.departures.size(); ++i)
      if (translations_.departures[i].outlined) outlined_[block->native].push_back(translations_.departures[i].first);
  return block->native;
}

u32 TranslatorVcpu::native_at_rip() {
  Block* block = find(static_cast<u64>(cpu_.remaining));
  if (!block) return 0;  // the run loop finds that out again
  const u32 native = native_of(block);
  if (!native || !may_run(native)) return 0;
  note_place(block->physical);
  x87_wanted_ |= translations_.blocks[native].x87;
  return native;
}

// Translated code at `offset`, until it departs: the index of the departure.
u32 TranslatorVcpu::enter(u32 offset) {
  interpreter::NativeState& native = cpu_.native;
  cpu_.saved_flags = FlagImage::of(cpu_.flags.pack(), translations_.pushes_flags);
  native.vectors_allowed = vectors_allowed(cpu_);
  if (!cpu_.long64) native.flat_segments = flat_segments(cpu_);
  if (x87_wanted_ && x87_allowed(cpu_)) prepare_x87(cpu_);
  native.resume = translations_.cache.address(offset);
  const u32 id = call_by_jumps(translations_.cache.address(translations_.stubs.enter), &native);
  cpu_.flags.unpack(FlagImage::rflags(cpu_.saved_flags, translations_.pushes_flags));
  x87_wanted_ = collect_x87(cpu_);
  ++statistics_.departures[static_cast<unsigned>(translations_.departures[id].kind)];
  return id;
}

// Until something is to be decided by the run loop; cpu_.rip is then right.
void TranslatorVcpu::run_native(u32 offset) {
  while (offset) {
    cpu_.native.go();
    if (cpu_.attention.load(std::memory_order_seq_cst)) cpu_.native.stop();  // as soon as it looks
    const Departure departure = translations_.departures[enter(offset)];
    offset = after(departure);
  }
}

u32 TranslatorVcpu::after(const Departure& departure) {
  const Block& block = *translations_.blocks[departure.block].block;
  switch (departure.kind) {
    case DepartureKind::site: return after_site(departure);
    case DepartureKind::lookup: return after_lookup(departure);
    case DepartureKind::exit: return after_exit(departure);
    case DepartureKind::poll:
      cpu_.remaining += departure.charged;
      cpu_.rip = linear_of(block) + block.ops[departure.first].offset;
      break;
  }
  return 0;
}

// Some operations by the interpreter. False: they were left by a fault or for elsewhere; cpu_.rip and cpu_.leave say.
bool TranslatorVcpu::run_operations(const Block& block, unsigned first, unsigned count) {
  const u64 start = linear_of(block);
  const Block* some = interpreter::some_operations(block, first, count, some_);
  cpu_.rip = start;
  execute(some);
  return cpu_.leave == Leave::next_block && cpu_.rip == start + some->length;
}

u32 TranslatorVcpu::after_site(const Departure& departure) {
  const NativeBlock& native = translations_.blocks[departure.block];
  const Block& block = *native.block;
  const u64 context = cpu_.code_context;
  if (departure.mnemonic)
    ++statistics_.outlined[departure.mnemonic];
  else
    ++statistics_.tlb_misses;
  statistics_.interpreted_instructions += departure.count;
  cpu_.remaining += departure.charged;
  const u64 flushes = cpu_.tlbs.flushes;
  const bool falls_through = run_operations(block, departure.first, departure.count);
  if (cpu_.leave != Leave::next_block) {
    if (cpu_.leave == Leave::fault && cpu_.fault.vector != interpreter::run_alone) ++statistics_.faults;
    return settle(), 0;
  }
  const bool as_before = block.valid() && cpu_.code_context == context && cpu_.tlbs.flushes == flushes;
  if (!falls_through || !departure.resume || !as_before) return go_on();
  if (cpu_.attention.load() || code_changed_.load() || !units_allowed(native)) return 0;
  cpu_.remaining -= departure.charged - departure.count;
  return departure.resume;
}

u32 TranslatorVcpu::after_lookup(const Departure& departure) {
  cpu_.rip = cpu_.native.target;
  if (!x86::is_canonical(cpu_.rip)) {
    cpu_.gpr[x86::rsp] -= static_cast<u64>(static_cast<i64>(departure.released));
    if (departure.first != no_operation) {
      ++cpu_.remaining;
      run_operations(*translations_.blocks[departure.block].block, departure.first, 1);
      settle();
    }
    return 0;
  }
  return go_on();
}

NativeJump& TranslatorVcpu::jump_at(u64 rip) { return jumps_[NativeJump::slot(rip, cpu_.native.context)]; }

// Offset of the code at `rip`, which then runs, if the jump cache knows it; 0: it does not.
u32 TranslatorVcpu::known_code(u64 rip) {
  const NativeJump& known = jump_at(rip);
  if (known.rip != rip || known.context != cpu_.native.context) return 0;
  cpu_.native.code_page = known.page;
  return static_cast<u32>(known.code - translations_.cache.address(0));
}

void TranslatorVcpu::remember_jump(u64 rip, u32 code) {
  cpu_.native.code_page = rip & page_mask;
  jump_at(rip) = {rip, translations_.cache.address(code), rip & page_mask, cpu_.native.context};
}

// Translated code at cpu_.rip: known to the jump cache, found or made; it is known afterwards.
u32 TranslatorVcpu::go_on() {
  if (verifier_ || cpu_.attention.load() || code_changed_.load() || !translatable(cpu_) || !x86::is_canonical(cpu_.rip))
    return 0;
  if (cpu_.epoch_round() != epoch_round_) return 0;
  if (const u32 code = known_code(cpu_.rip)) return code;
  const u32 native = native_at_rip();
  if (!native) return 0;
  const u32 code = translations_.blocks[native].entry_found;
  remember_jump(cpu_.rip, code);
  return code;
}

// Accesses that share a probe lie in two pages, and may again: from now on each has a probe of its own when the first one misses.
void TranslatorVcpu::narrow(u32 number) {
  const Refill& refill = translations_.refills[number];
  if (!translations_.departures[refill.departure].narrowed) {
    if (!translations_.room()) return;
    translate_narrowly(cpu_, translations_, refill.departure);
    ++statistics_.narrowed;
  }
  // Not by way of here any more: each of those probes can ask for a refill.
  const Refill& same = translations_.refills[number];
  translations_.rewrite(same.jump, same.miss - (same.jump + 4));
}

// A TLB miss: the page is entered in the TLB if that is all that the access needs.
u64 TranslatorVcpu::refill(void* owner, u64 linear, u32 number) {
  auto& self = *static_cast<TranslatorVcpu*>(owner);
  Cpu& cpu = self.cpu_;
  const Refill& refill = self.translations_.refills[number];
  const u64 miss = self.translations_.cache.address(refill.miss);
  const u64 offset = linear & ~page_mask;
  if (self.verifier_ || !x86::is_canonical(linear)) return miss;
  if (offset + refill.bytes > page_size) {
    self.narrow(number);
    return miss;
  }
  // A page that is watched is entered once more only if it no longer is.
  const u8* const watched = refill.write ? interpreter::watched_at(*cpu.tlb, linear, 1) : nullptr;
  if (watched && cpu.page_flags[static_cast<u64>(watched - cpu.ram) >> page_shift].load(std::memory_order_relaxed))
    return miss;
  const auto kind = refill.dirties ? interpreter::AccessKind::write : interpreter::AccessKind::read;
  if (!interpreter::translate_to_host(cpu, linear, kind, interpreter::current_table(cpu)).ok) return miss;
  if (!(refill.write ? interpreter::storable_at : interpreter::readable_at)(*cpu.tlb, linear, 1)) return miss;
  ++self.statistics_.refills;
  return self.translations_.cache.address(refill.retry);
}

// Translated code at `target`. Most is found without a look at the block, whose memory is cold.
TranslatorVcpu::Found TranslatorVcpu::find_code(u64 target) {
  cpu_.rip = target;
  const u64 physical = interpreter::physical_of_code(cpu_);
  if (physical == interpreter::no_ram) return {};
  const u64 key = physical << 3 | u64{1} << 2 | static_cast<u64>(cpu_.mode == x86::CodeMode::long64);
  FoundCode& found = found_code_[key * 0x9e37'79b9'7f4a'7c15u >> (64 - found_code_bits)];
  const u32 generation = cpu_.generations[physical / page_size].load(std::memory_order_relaxed);
  Found result{.code = found.code};
  if (found.key != key || found.generation != generation) {
    const Block* block = interpreter::find_known_block(cpu_);
    if (!block || !block->native) return {};
    result = {translations_.blocks[block->native].entry_found, block->crossing != nullptr};
    if (!result.crossing && cpu_.long64) found = {key, result.code, generation};
  }
  note_place(physical);
  return result;
}

// The code at `physical` is about to be entered at cpu_.rip. Links hold in a context whatever the page's linear address, so that no page
// that has any may be at two: then all that hold come to an end.
void TranslatorVcpu::note_place(u64 physical) {
  const u64 page = physical / page_size, linear = cpu_.rip / page_size;
  for (bool again = false;; again = true) {
    if (linear_pages_epoch_ != cpu_.epoch || linear_pages_.size() >= most_linear_pages) {
      if (linear_pages_epoch_ == cpu_.epoch) forget_jumps();
      linear_pages_.clear();
      linear_pages_epoch_ = cpu_.epoch;
    }
    const auto [at, fresh] = linear_pages_.try_emplace(page << 32 | cpu_.native.context, linear);
    if (at->second == linear) return;
    CHECK(!again);
    several_.insert(page);
    forget_jumps();
  }
}

// A target that the jump cache does not know, but there is translated code.
TranslatorVcpu::Found TranslatorVcpu::find_target(u64 target) {
  if (verifier_ || cpu_.attention.load() || code_changed_.load() || !x86::is_canonical(target)) return {};
  const Found found = find_code(target);
  if (found.code == 0) return jump_at(target) = {}, found;  // it may lead to a block that is no more
  remember_jump(target, found.code);
  if (cpu_.long64) cpu_.tlbs.note_code(interpreter::current_table(cpu_), target, cpu_.native.code_mark);
  ++statistics_.lookups;
  return found;
}

u64 TranslatorVcpu::look_up(void* owner, u64 target) {
  auto& self = *static_cast<TranslatorVcpu*>(owner);
  const Found found = self.find_target(target);
  return found.code ? self.translations_.cache.address(found.code) : 0;
}

// Of code at `target` that was found, as Departure::page names it.
u32 TranslatorVcpu::page_of(u64 target) {
  const u8* const host = cpu_.tlbs.find_code(interpreter::current_table(cpu_), target);
  return host && cpu_.memory.ram_bytes() <= most_named_ram ? page_name(host) : no_page(cpu_);
}

// The same, where a link does not hold that could hold from now on.
u64 TranslatorVcpu::link(void* owner, u64 target, u32 departure) {
  auto& self = *static_cast<TranslatorVcpu*>(owner);
  const u64 page = self.cpu_.native.code_page;
  const u32 context = self.cpu_.native.context;
  const Found found = self.find_target(target);
  if (found.code == 0) return 0;
  const u64 code = self.translations_.cache.address(found.code);
  if (self.cpu_.native.context != context) return code;
  const Departure& from = self.translations_.departures[departure];
  Link& link = self.translations_.links[from.link];
  const auto distance = static_cast<i64>(target - page);
  if (link.guess) {
    // One that has several is not followed from one to the next at each turn.
    if (link.missed < most_missed) ++link.missed;
    if ((link.missed & (link.missed - 1)) || distance != static_cast<i32>(distance)) return code;
  }
  const interpreter::Block& block = *self.translations_.blocks[from.block].block;
  // A branch that goes on to higher addresses is not interrupted on its way: it may not come round to lower ones.
  const bool comes_round = !link.guess && from.target >= 0 && target < page;
  if (comes_round || !block.valid() || self.several_.contains(block.physical / page_size)) return code;
  const u32 displacement = found.code - (from.patch + 4);
  if (self.translations_.written(from.patch) != displacement) {
    if (++self.translations_.linked > most_linked) return code;
    self.translations_.rewrite(from.patch, displacement);
    self.links_to_[found.code].push_back(from.link);
  }
  self.translations_.guard(from.link) = context;
  if (link.guess) {
    self.translations_.rewrite(link.guess, static_cast<u32>(distance));
    self.translations_.rewrite(from.patch - guessed_pages, static_cast<u32>(distance & ~i64{0xfff}));
  }
  if (link.page) self.translations_.rewrite(link.page, found.crossing ? no_page(self.cpu_) : self.page_of(target));
  ++self.statistics_.links;
  return code;
}

u32 TranslatorVcpu::after_exit(const Departure& departure) {
  cpu_.rip = cpu_.native.code_page + static_cast<u64>(departure.target);
  if (verifier_ || cpu_.attention.load()) return 0;
  const u64 clears = block_clears_;
  const u32 native = native_at_rip();
  if (!native || clears != block_clears_) return 0;
  const NativeBlock& from = translations_.blocks[departure.block];
  const NativeBlock& to = translations_.blocks[native];
  // The same page of RAM, and neither was overwritten: they stay together from now on.
  if ((from.block->physical & page_mask) == (to.block->physical & page_mask) && from.block->valid()) {
    const u32 entry = departure.saved_entry ? to.entry_saved : to.entry_flags;
    translations_.rewrite(departure.patch, entry - (departure.patch + 4));
  }
  return to.entry_found;
}

}  // namespace doppel::translator
