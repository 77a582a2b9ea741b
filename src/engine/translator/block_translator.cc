#include "engine/translator/block_translator.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/bits.h"
#include "base/check.h"
#include "isa/x86/decoder.h"

namespace doppel::translator {
namespace {

using namespace x86;
using interpreter::Block;
using interpreter::NativeJump;
using interpreter::NativeState;
using interpreter::TlbEntry;
namespace reg = Xbyak::util;

constexpr u32 all_flags = static_cast<u32>(rflags::status);
constexpr u32 bit_of(unsigned gpr) { return gpr < 16 ? 1u << gpr : 0; }
constexpr i64 page_bytes = 4096;
constexpr i64 widest_group = 512;
constexpr unsigned longest_group = 24;

// Which memory an access reaches, but for its displacement: accesses of one place can share a probe.
struct Place {
  u8 base = MemoryOperand::none;
  u8 index = MemoryOperand::none;
  u8 scale = 0;
  x86::Segment segment = x86::ds;
  bool operator==(const Place&) const = default;
};

struct Access {
  Place place;
  i64 displacement = 0;
  unsigned bytes = 0;
  bool write = false;
};

// A run of steps whose accesses one probe answers for. `low` is where R14 points, relative to the place.
struct Group {
  unsigned first = 0, last = 0;
  Place place;
  i64 low = 0, high = 0;
  bool write = false;
};

// What is emitted behind the block: how its departures put the state right.
struct Cold {
  std::vector<u32> jumps;  // offsets of 32-bit displacements that come here
  std::vector<u32> traps;  // host instructions that come here by a fault
  FlagState before;
  bool lookup_inline = false;  // goes to a target in another page
  i32 target = 0;
  Departure departure;
  bool rejoins = false;
  u32 rejoin = 0;  // hot offset
  FlagState after;
};

class Translator : Xbyak::CodeGenerator {
 public:
  Translator(const Cpu& cpu, Translations& to, Block* block)
      : Xbyak::CodeGenerator(to.cache.bytes(), to.cache.writable()),
        cpu_(cpu),
        frame_(cpu),
        to_(to),
        block_(*block),
        page_offset_(static_cast<i32>(block->physical & (page_bytes - 1))) {
    setSize(to.used);
    decode(*block);
  }

  u32 translate(Block* block) {
    index_ = static_cast<u32>(to_.blocks.size());
    to_.blocks.push_back({.block = block});
    align(16);
    entry();
    unsigned at = 0;
    while (at < steps_.size()) at = emit_steps(at);
    if (!ended_) exit_to(page_offset_ + block_.length, interpreter_takes_over);
    for (std::size_t i = 0; i < colds_.size(); ++i) emit_cold(colds_[i]);
    to_.used = getSize();
    return index_;
  }

 private:
  static constexpr u16 interpreter_takes_over = no_operation;

  // ---- what the block is ----

  void decode(const Block& block) {
    const u8* code = cpu_.ram + block.physical;
    for (unsigned i = 0; i < block.count; ++i) {
      const interpreter::Op& op = block.ops[i];
      const unsigned room = block.length - op.offset;
      Step step = make_step(cpu_.decoder, std::span(code + op.offset, std::min(room, 15u)), op.offset);
      if (step.in.length != op.length) {  // its bytes are being changed, or it does not decode
        step = {};
        step.offset = op.offset;
        step.in.length = op.length;
      }
      if (step.kind == StepKind::copy && step.enc.vector) vectors_ |= step.enc.vex ? 3 : 1;
      steps_.push_back(step);
    }
  }

  // End of the run of steps that are charged together: behind the next branch.
  unsigned segment_end(unsigned at) const {
    while (at < steps_.size() && steps_[at].kind != StepKind::branch) ++at;
    return std::min<unsigned>(at + 1, static_cast<unsigned>(steps_.size()));
  }

  i32 in_page(const Step& step) const { return page_offset_ + step.offset; }
  i32 after(const Step& step) const { return page_offset_ + step.end(); }
  i64 branch_target(const Step& step) const { return after(step) + static_cast<i64>(step.in.immediate); }

  // ---- flags ----

  void save_flags() {
    mov(reg::r15, reg::rax);
    lahf();
    seto(reg::al);
    mov(word[reg::rsp + frame_.at(native().saved_flags)], reg::ax);
    mov(reg::rax, reg::r15);
  }
  void restore_flags() {
    mov(reg::r15, reg::rax);
    movzx(reg::eax, word[reg::rsp + frame_.at(native().saved_flags)]);
    add(reg::al, 0x7f);
    sahf();
    mov(reg::rax, reg::r15);
  }
  void repeat(int recipe) {
    const Step& step = steps_[static_cast<unsigned>(recipe)];
    switch (step.recipe) {
      case Recipe::none: break;
      case Recipe::repeat: CHECK(copy(step, std::nullopt)); break;
      case Recipe::test: repeat_test(step); break;
      case Recipe::add:
      case Recipe::sub: repeat_sum(step, step.recipe == Recipe::add); break;
    }
  }
  static const RegisterField& destination(const Step& step) { return step.enc.rm.written ? step.enc.rm : step.enc.reg; }

  Xbyak::Reg sized(unsigned number, unsigned bytes) const {
    if (bytes == 8) return Xbyak::Reg64(static_cast<int>(number));
    return Xbyak::Reg32(static_cast<int>(number));
  }
  // The register, or R15 loaded from its slot.
  unsigned in_register(unsigned gpr, unsigned scratch = scratch2) {
    if (!is_slot(gpr)) return host_of(gpr);
    mov(Xbyak::Reg64(static_cast<int>(scratch)), slot(gpr));
    return scratch;
  }
  Xbyak::Address slot(unsigned gpr) { return qword[reg::rsp + frame_.gpr(gpr)]; }

  void repeat_test(const Step& step) {
    const RegisterField& field = destination(step);
    const unsigned host = in_register(field.number);
    test(sized(host, field.bytes), sized(host, field.bytes));
  }
  // The result is at hand, what was there before is found by the inverse operation.
  void repeat_sum(const Step& step, bool sum) {
    const RegisterField& field = destination(step);
    const RegisterField& source = step.enc.rm.written ? step.enc.reg : step.enc.rm;
    if (is_slot(field.number))
      mov(reg::r15, slot(field.number));
    else
      mov(reg::r15, Xbyak::Reg64(static_cast<int>(host_of(field.number))));
    const Xbyak::Reg value = sized(scratch2, field.bytes);
    const auto apply = [&](bool plus) {
      if (source.kind != FieldKind::gpr) {
        const auto immediate = static_cast<u32>(step.in.immediate);
        plus ? add(value, immediate) : sub(value, immediate);
      } else if (is_slot(source.number)) {
        const Xbyak::Address from = field.bytes == 8 ? slot(source.number)
                                                     : dword[reg::rsp + frame_.gpr(source.number)];
        plus ? add(value, from) : sub(value, from);
      } else {
        const Xbyak::Reg from = sized(host_of(source.number), field.bytes);
        plus ? add(value, from) : sub(value, from);
      }
    };
    apply(!sum);
    apply(sum);
  }

  void ensure_eflags() {
    if (flags_.in_eflags) return;
    if (flags_.recipe >= 0)
      repeat(flags_.recipe);
    else
      restore_flags();
    flags_.in_eflags = true;
  }
  void ensure_saved() {
    if (flags_.saved) return;
    ensure_eflags();
    save_flags();
    flags_.saved = true;
  }
  // Before code that changes EFLAGS.
  void clobber() {
    if (!flags_.saved && flags_.recipe < 0) ensure_saved();
    flags_.in_eflags = false;
  }
  u32 recipe_registers() const {
    if (flags_.recipe < 0) return 0;
    const Encoding& enc = steps_[static_cast<unsigned>(flags_.recipe)].enc;
    return enc.gprs_read | enc.gprs_written;
  }
  static bool overwrites_flags(const Step& step) {
    return step.enc.flags_written == all_flags && step.enc.flags_read == 0 && !step.shift_by_cl;
  }
  // Before a step that is not outlined changes registers and flags. `may_fault`: the flags before it could be looked at.
  void before(const Step& step, u32 written, bool may_fault) {
    const bool overwrites = overwrites_flags(step);
    if (overwrites && !may_fault) {
      flags_ = {.in_eflags = true};
      return;
    }
    if (step.enc.flags_read != 0 || (step.enc.flags_written != 0 && !overwrites)) ensure_eflags();
    if (recipe_registers() & written) {
      if (!flags_.in_eflags && !flags_.saved) ensure_eflags();
      flags_.recipe = -1;
    }
  }
  void after(const Step& step, unsigned number) {
    if (step.enc.flags_written == 0) return;
    flags_ = {.in_eflags = true, .saved = false, .recipe = step.recipe == Recipe::none ? -1 : static_cast<int>(number)};
  }

  // ---- the beginning ----

  enum class Wants : u8 { saved, eflags, neither };

  // What the block does first with the flags it finds.
  Wants wants() const {
    if (vectors_ || to_.counted) return Wants::saved;
    for (const Step& step : steps_) {
      if (step.kind == StepKind::nothing || step.kind == StepKind::lea) continue;
      if (step.kind != StepKind::copy || step.has_memory() || !expressible(step))
        return step.kind == StepKind::branch || step.kind == StepKind::jump ? Wants::eflags : Wants::saved;
      if (step.traps) return Wants::eflags;
      if (step.enc.flags_written == 0 && step.enc.flags_read == 0) continue;
      return overwrites_flags(step) ? Wants::neither : Wants::eflags;
    }
    return Wants::eflags;
  }

  void entry() {
    NativeBlock& native_block = to_.blocks[index_];
    native_block.vectors = vectors_;
    const auto here = [&] { return static_cast<u32>(getSize()); };
    switch (wants()) {
      case Wants::saved:
        native_block.entry_flags = here();
        save_flags();
        native_block.entry_saved = here();
        flags_ = {.saved = true};
        break;
      case Wants::eflags:
        native_block.entry_saved = here();
        restore_flags();
        native_block.entry_flags = here();
        flags_ = {.in_eflags = true};
        break;
      case Wants::neither:
        native_block.entry_flags = native_block.entry_saved = here();
        flags_ = {.in_eflags = true};
        break;
    }
    if (to_.counted) check_budget();
    if (vectors_) check_vectors();
  }

  void check_budget() {
    cmp(qword[reg::rsp + frame_.at(cpu_.remaining)], static_cast<u32>(block_.count));
    add_cold(DepartureKind::poll, 0).jumps.push_back(jump_if(0x8c));
  }
  void check_vectors() {
    test(byte[reg::rsp + frame_.at(native().vectors_loaded)], vectors_ == 3 ? 2 : 1);
    Cold& cold = add_cold(DepartureKind::poll, 0);
    cold.departure.charged = 0;
    cold.jumps.push_back(jump_if(0x84));
    vectors_cold_ = static_cast<int>(colds_.size() - 1);
    cold.rejoin = static_cast<u32>(getSize());
  }

  // ---- groups ----

  std::optional<Access> access_of(const Step& step) const {
    switch (step.kind) {
      case StepKind::push:
      case StepKind::call: return Access{{.base = x86::rsp}, -8, 8, true};
      case StepKind::pop:
      case StepKind::ret: return Access{{.base = x86::rsp}, 0, 8, false};
      case StepKind::leave: return Access{{.base = x86::rbp}, 0, 8, false};
      default: break;
    }
    if (!step.has_memory()) return std::nullopt;
    const MemoryOperand& memory = step.in.memory;
    Access access{{.base = memory.base,
                   .index = memory.index,
                   .scale = memory.index == MemoryOperand::none ? u8{0} : memory.scale,
                   .segment = memory.segment >= x86::fs ? memory.segment : x86::ds},
                  memory.displacement,
                  step.enc.memory_bytes,
                  step.enc.rm.written};
    if (memory.base == MemoryOperand::rip) access.displacement += after(step);
    if (step.kind == StepKind::jump_indirect || step.kind == StepKind::call_indirect) access.bytes = 8;
    return access;
  }

  // The register that PUSH or POP names.
  static unsigned stack_register(const Step& step) {
    return step.enc.opcode_reg.kind == FieldKind::gpr ? step.enc.opcode_reg.number : step.enc.rm.number;
  }

  // By how much a step moves RSP, if that is a constant.
  static std::optional<i64> stack_movement(const Step& step) {
    switch (step.kind) {
      case StepKind::push:
      case StepKind::call: return -8;
      case StepKind::pop:
        if (stack_register(step) == x86::rsp) return std::nullopt;
        return 8;
      case StepKind::ret: return 8;
      default: break;
    }
    if (!(step.enc.gprs_written & bit_of(x86::rsp))) return 0;
    const Instruction& in = step.in;
    if (step.kind == StepKind::lea && in.memory.base == x86::rsp && in.memory.index == MemoryOperand::none &&
        in.operand_bytes == 8)
      return in.memory.displacement;
    const bool constant = in.operand_bytes == 8 && in.operands[0].kind == OperandKind::gpr &&
                          in.operands[1].kind == OperandKind::immediate;
    if (constant && in.mnemonic == ZYDIS_MNEMONIC_ADD) return static_cast<i64>(in.immediate);
    if (constant && in.mnemonic == ZYDIS_MNEMONIC_SUB) return -static_cast<i64>(in.immediate);
    return std::nullopt;
  }

  static bool ends_group(const Step& step) { return step.kind == StepKind::call || step.kind == StepKind::ret; }
  bool may_be_in_group(const Step& step) const {
    switch (step.kind) {
      case StepKind::outline:
      case StepKind::jump:
      case StepKind::branch:
      case StepKind::jump_indirect:
      case StepKind::call_indirect:
      case StepKind::push_memory:
      case StepKind::push_flags:
      case StepKind::cli:
      case StepKind::sti:
      case StepKind::swapgs: return false;
      default: return scratch_needed(step) <= 1 && expressible(step);
    }
  }

  Group find_group(unsigned first) const {
    const Access start = *access_of(steps_[first]);
    Group group{first, first, start.place, start.displacement, start.displacement + start.bytes, start.write};
    const u32 fixed = bit_of(start.place.base) | bit_of(start.place.index);
    const bool stack = start.place.base == x86::rsp && start.place.index == MemoryOperand::none;
    i64 moved = 0;
    for (unsigned i = first; i < steps_.size() && i < first + longest_group; ++i) {
      const Step& step = steps_[i];
      if (!may_be_in_group(step) || (i == first && ends_group(step))) break;
      if (const auto access = access_of(step)) {
        if (!(access->place == start.place)) break;
        const i64 at = access->displacement + (stack ? moved : 0);
        const i64 low = std::min(group.low, at), high = std::max(group.high, at + access->bytes);
        if (high - low > widest_group) break;
        group.low = low;
        group.high = high;
        group.write |= access->write;
        group.last = i;
      }
      if (ends_group(step)) break;
      u32 written = step.enc.gprs_written;
      if (stack) {
        const auto movement = stack_movement(step);
        if (!movement) break;
        moved += *movement;
        written &= ~bit_of(x86::rsp);
      }
      if (written & fixed) break;
    }
    return group;
  }

  // ---- memory ----

  // R14 = the linear address; flags are clobbered.
  void address(const Place& place, i64 displacement) {
    const auto disp = static_cast<i32>(displacement);
    if (place.base == MemoryOperand::rip) {
      mov(reg::r14, qword[reg::rsp + frame_.at(native().code_page)]);
      if (place.index != MemoryOperand::none) {
        const unsigned index = in_register(place.index);
        lea(reg::r14, ptr[reg::r14 + Xbyak::Reg64(static_cast<int>(index)) * (1 << place.scale) + disp]);
      } else {
        lea(reg::r14, ptr[reg::r14 + disp]);
      }
    } else {
      lea(reg::r14, ptr[expression(place, disp)]);
    }
    if (place.segment >= x86::fs) add(reg::r14, qword[reg::rsp + frame_.segment_base(place.segment)]);
  }
  // Base and index in registers, loaded into R14 and R15 if they are slots.
  Xbyak::RegExp expression(const Place& place, i32 displacement) {
    Xbyak::RegExp exp;
    if (place.base != MemoryOperand::none)
      exp = Xbyak::RegExp(Xbyak::Reg64(static_cast<int>(in_register(place.base, scratch1))));
    if (place.index != MemoryOperand::none)
      exp = exp + Xbyak::RegExp(Xbyak::Reg64(static_cast<int>(in_register(place.index))), 1 << place.scale);
    return exp + displacement;
  }

  // R14: linear → host address of `bytes` bytes, or to `cold`.
  void probe(u64 bytes, bool write, Cold& cold) {
    constexpr unsigned entry_shift = 5;
    mov(reg::r15d, reg::r14d);
    shr(reg::r15d, page_shift - entry_shift);
    and_(reg::r15d, static_cast<u32>(interpreter::Tlb::mask << entry_shift));
    const auto tag = static_cast<int>(write ? offsetof(TlbEntry, write_tag) : offsetof(TlbEntry, read_tag));
    xor_(reg::r14, ptr[reg::r13 + reg::r15 + tag]);
    cmp(reg::r14, static_cast<u32>(page_bytes) - static_cast<u32>(bytes));
    cold.jumps.push_back(jump_if(0x87));
    add(reg::r14, ptr[reg::r13 + reg::r15 + static_cast<int>(offsetof(TlbEntry, host))]);
    if (write) {
      mov(reg::r15, ptr[reg::r13 + reg::r15 + static_cast<int>(offsetof(TlbEntry, flags))]);
      cmp(byte[reg::r15], 0);
      cold.jumps.push_back(jump_if(0x85));
    }
  }

  // ---- jumps to departures ----

  // Jcc (0F `opcode`) or, if 0, JMP with a displacement that is filled in later: its offset.
  u32 jump_if(u8 opcode) {
    if (opcode) {
      db(0x0f);
      db(opcode);
    } else {
      db(0xe9);
    }
    dd(0);
    return static_cast<u32>(getSize() - 4);
  }
  void patch_to(u32 at, u64 target) { rewrite(at, target - (at + 4), 4); }
  void jump_to(u32 target) { patch_to(jump_if(0), target); }

  Cold& add_cold(DepartureKind kind, unsigned first) {
    Cold& cold = colds_.emplace_back();
    cold.before = flags_;
    cold.departure = {.kind = kind, .first = static_cast<u16>(first), .block = index_};
    return cold;
  }
  i16 charged_from(unsigned first) const { return static_cast<i16>(segment_end_ - first); }
  Cold& add_site(unsigned first, unsigned count) {
    Cold& cold = add_cold(DepartureKind::site, first);
    cold.departure.count = static_cast<u16>(count);
    cold.departure.charged = charged_from(first);
    return cold;
  }
  void rejoin(Cold& cold) {
    cold.rejoins = true;
    cold.rejoin = static_cast<u32>(getSize());
    cold.after = flags_;
  }

  void emit_cold(const Cold& cold) {
    const auto here = static_cast<u32>(getSize());
    for (u32 jump : cold.jumps) patch_to(jump, here);
    for (u32 trap : cold.traps) to_.traps[trap] = here;
    flags_ = cold.before;
    if (vectors_cold_ >= 0 && &cold == &colds_[static_cast<unsigned>(vectors_cold_)])
      load_vectors_at_entry(cold.rejoin);
    ensure_saved();
    if (cold.lookup_inline) return lookup_page_relative(cold.target, cold.departure.first);
    const u32 id = add_departure(cold.departure);
    mov(reg::r15d, id);
    jump_to(to_.stubs.depart);
    if (!cold.rejoins) return;
    to_.departures[id].resume = static_cast<u32>(getSize());
    if (vectors_) load_vectors();
    if (cold.after.in_eflags) restore_flags();
    jump_to(cold.rejoin);
  }
  u32 add_departure(const Departure& departure) {
    to_.departures.push_back(departure);
    return static_cast<u32>(to_.departures.size() - 1);
  }

  // By way of the stub, which comes back to R14.
  void load_vectors() {
    const auto at = static_cast<u32>(getSize());
    lea(reg::r14, ptr[reg::rip + 5]);
    CHECK(getSize() - at == 7);
    jump_to(to_.stubs.load_vectors);
  }
  // Only if they may be used; the departure that follows leaves the block to the interpreter.
  void load_vectors_at_entry(u32 back) {
    movzx(reg::r15d, byte[reg::rsp + frame_.at(native().vectors_allowed)]);
    and_(reg::r15d, u32{vectors_});
    cmp(reg::r15d, u32{vectors_});
    const u32 refused = jump_if(0x85);
    load_vectors();
    jump_to(back);
    patch_to(refused, getSize());
  }

  // ---- leaving the block ----

  // R14 is the target, the flags are saved.
  void lookup(unsigned first, i16 released = 0) {
    mov(reg::r15, reg::r14);
    shr(reg::r15, page_shift);
    xor_(reg::r15d, reg::r14d);
    and_(reg::r15d, native_jump_mask);
    shl(reg::r15d, 5);
    add(reg::r15, qword[reg::rsp + frame_.at(native().jumps)]);
    cmp(reg::r14, qword[reg::r15 + static_cast<int>(offsetof(NativeJump, rip))]);
    const u32 other_rip = jump_if(0x85);
    mov(reg::r14, qword[reg::rsp + frame_.at(cpu_.code_context)]);
    cmp(reg::r14, qword[reg::r15 + static_cast<int>(offsetof(NativeJump, context))]);
    const u32 other_context = jump_if(0x85);
    mov(reg::r14, qword[reg::r15 + static_cast<int>(offsetof(NativeJump, page))]);
    mov(qword[reg::rsp + frame_.at(native().code_page)], reg::r14);
    jmp(qword[reg::r15 + static_cast<int>(offsetof(NativeJump, code))]);
    patch_to(other_context, getSize());
    mov(reg::r14, qword[reg::r15 + static_cast<int>(offsetof(NativeJump, rip))]);
    patch_to(other_rip, getSize());
    mov(reg::r15d,
        add_departure(
            {.kind = DepartureKind::lookup, .first = static_cast<u16>(first), .released = released, .block = index_}));
    jump_to(to_.stubs.depart_lookup);
  }
  void lookup_page_relative(i32 target, unsigned first) {
    mov(reg::r14, qword[reg::rsp + frame_.at(native().code_page)]);
    add(reg::r14, static_cast<u32>(target));
    lookup(first);
  }

  // Ends the block: on to `target`, relative to the block's page. `first`: the branch, which is refused for a bad target.
  void exit_to(i64 target, unsigned first) {
    ended_ = true;
    if (!within_page(target)) {
      ensure_saved();
      return lookup_page_relative(static_cast<i32>(target), first);
    }
    if (!flags_.saved) ensure_eflags();
    direct_exit(0, target, first);
  }
  static bool within_page(i64 target) { return target >= 0 && target < page_bytes; }
  void direct_exit(u8 condition, i64 target, unsigned first) {
    Cold& cold = add_cold(DepartureKind::exit, first);
    cold.departure.target = static_cast<i32>(target);
    cold.departure.saved_entry = flags_.saved;
    const u32 at = jump_if(condition);
    cold.departure.patch = at;
    cold.jumps.push_back(at);
  }

  // ---- copying ----

  // Whether the slot of a register operand in ModRM.rm can be the instruction's memory operand.
  static bool slot_as_memory(const Step& step) {
    const RegisterField& field = step.enc.rm;
    if (field.kind != FieldKind::gpr || !is_slot(field.number) || step.enc.vector) return false;
    if (field.written && field.bytes == 4) return false;  // the upper half must become zero
    switch (step.in.mnemonic) {
      case ZYDIS_MNEMONIC_MOV:
      case ZYDIS_MNEMONIC_ADD:
      case ZYDIS_MNEMONIC_SUB:
      case ZYDIS_MNEMONIC_AND:
      case ZYDIS_MNEMONIC_OR:
      case ZYDIS_MNEMONIC_XOR:
      case ZYDIS_MNEMONIC_CMP:
      case ZYDIS_MNEMONIC_TEST:
      case ZYDIS_MNEMONIC_IMUL:
      case ZYDIS_MNEMONIC_MOVZX:
      case ZYDIS_MNEMONIC_MOVSX:
      case ZYDIS_MNEMONIC_MOVSXD:
      case ZYDIS_MNEMONIC_INC:
      case ZYDIS_MNEMONIC_DEC:
      case ZYDIS_MNEMONIC_NEG:
      case ZYDIS_MNEMONIC_NOT:
      case ZYDIS_MNEMONIC_SHL:
      case ZYDIS_MNEMONIC_SHR:
      case ZYDIS_MNEMONIC_SAR: return true;
      default: return false;
    }
  }

  // Slots that must be in scratch registers while the step executes: bits.
  static u32 scratch_slots(const Step& step) {
    const Encoding& enc = step.enc;
    u32 slots = 0;
    for (const RegisterField* field : {&enc.reg, &enc.rm, &enc.vvvv, &enc.opcode_reg})
      if (field->kind == FieldKind::gpr && is_slot(field->number)) slots |= bit_of(field->number);
    if (slot_as_memory(step)) {
      const bool elsewhere = (enc.reg.kind == FieldKind::gpr && enc.reg.number == enc.rm.number);
      if (!elsewhere) slots &= ~bit_of(enc.rm.number);
    }
    if (step.kind == StepKind::lea) {
      if (is_slot_operand(step.in.memory.base)) slots |= bit_of(step.in.memory.base);
      if (is_slot_operand(step.in.memory.index)) slots |= bit_of(step.in.memory.index);
    }
    return slots;
  }
  static bool is_slot_operand(u8 gpr) { return gpr < 16 && is_slot(gpr); }
  static unsigned scratch_needed(const Step& step) {
    unsigned count = static_cast<unsigned>(__builtin_popcount(scratch_slots(step)));
    if (step.kind == StepKind::lea && step.in.memory.base == MemoryOperand::rip) ++count;
    return count;
  }

  // Where a memory operand is: [base + displacement].
  struct HostMemory {
    unsigned base;
    i32 displacement;
  };

  // Whether copy() can express the step with the scratch registers that it has.
  bool can_copy(const Step& step, bool memory) const {
    if (scratch_needed(step) > (memory || in_group_ ? 1u : 2u)) return false;
    const Encoding& enc = step.enc;
    bool high = false;
    for (const RegisterField* field : {&enc.reg, &enc.rm}) high |= field->kind == FieldKind::gpr_high;
    if (!high) return true;
    if (memory || enc.wide || enc.rex) return false;
    for (const RegisterField* field : {&enc.reg, &enc.rm})  // no REX prefix may be needed
      if (field->kind == FieldKind::gpr && (field->number == x86::rsp || field->number >= 8)) return false;
    return true;
  }

  // The instruction with its registers renamed. False: it cannot be expressed.
  bool copy(const Step& step, std::optional<HostMemory> memory) {
    if (!can_copy(step, memory.has_value())) return false;
    const Encoding& enc = step.enc;
    const u32 slots = scratch_slots(step);
    std::array<u8, 16> host{};
    unsigned scratch = scratch2;
    for (unsigned gpr = 0; gpr < 16; ++gpr) {
      host[gpr] = static_cast<u8>(host_of(gpr));
      if (slots & bit_of(gpr)) host[gpr] = static_cast<u8>(scratch--);
    }
    if (!memory && enc.rm.kind == FieldKind::gpr && is_slot(enc.rm.number) && !(slots & bit_of(enc.rm.number)))
      memory = HostMemory{host_rsp, frame_.gpr(enc.rm.number)};
    u32 written = 0;
    for (const RegisterField* field : {&enc.reg, &enc.rm, &enc.vvvv, &enc.opcode_reg}) {
      if (field->kind != FieldKind::gpr || !(slots & bit_of(field->number))) continue;
      if (field->written) written |= bit_of(field->number);
      if (field->read || field->bytes < 4) mov(Xbyak::Reg64(host[field->number]), slot(field->number));
    }
    encode(enc, host, memory);
    for (unsigned gpr = 0; gpr < 16; ++gpr)
      if (written & bit_of(gpr)) mov(slot(gpr), Xbyak::Reg64(host[gpr]));
    return true;
  }

  static unsigned number_of(const RegisterField& field, const std::array<u8, 16>& host) {
    return field.kind == FieldKind::gpr ? host[field.number] : field.number;
  }
  static bool needs_byte_rex(const RegisterField& field, const std::array<u8, 16>& host) {
    return field.kind == FieldKind::gpr && field.bytes == 1 && host[field.number] >= 4;
  }

  void encode(const Encoding& enc, const std::array<u8, 16>& host, const std::optional<HostMemory>& memory) {
    encoded_at_ = static_cast<u32>(getSize());
    const unsigned reg_number = enc.reg.kind == FieldKind::none ? enc.extension : number_of(enc.reg, host);
    unsigned rm_number = enc.rm.kind == FieldKind::none ? enc.rm_bits : number_of(enc.rm, host);
    if (memory) rm_number = memory->base;
    const unsigned opcode_number = enc.opcode_reg.kind == FieldKind::none ? 0 : number_of(enc.opcode_reg, host);
    const unsigned low = enc.has_modrm ? rm_number : opcode_number;
    const unsigned r = reg_number >> 3 & 1, b = low >> 3 & 1;
    if (enc.vex) {
      const unsigned vvvv = enc.vvvv.kind == FieldKind::none ? 0 : number_of(enc.vvvv, host);
      db(0xc4);
      db((~r & 1) << 7 | 1 << 6 | (~b & 1) << 5 | enc.vex_bits);
      db((enc.wide ? 1u : 0u) << 7 | (~vvvv & 15) << 3 | enc.vex_last);
    } else {
      if (enc.lock) db(0xf0);
      if (enc.operand_prefix) db(0x66);
      if (enc.repeat_prefix) db(enc.repeat_prefix);
      const bool byte_rex = needs_byte_rex(enc.reg, host) || (!memory && needs_byte_rex(enc.rm, host)) ||
                            needs_byte_rex(enc.opcode_reg, host);
      if (enc.wide || r || b || byte_rex) db(0x40 | (enc.wide ? 8 : 0) | r << 2 | b);
    }
    for (unsigned i = 0; i < enc.opcode_count; ++i) {
      unsigned code = enc.opcode[i];
      if (i + 1u == enc.opcode_count && enc.opcode_reg.kind != FieldKind::none)
        code = (code & ~7u) | (opcode_number & 7);
      db(static_cast<int>(code));
    }
    if (enc.has_modrm) modrm(reg_number, rm_number, memory);
    for (unsigned i = 0; i < enc.immediate_count; ++i) db(enc.immediate[i]);
  }
  void modrm(unsigned reg_number, unsigned rm_number, const std::optional<HostMemory>& memory) {
    const unsigned low = (reg_number & 7) << 3 | (rm_number & 7);
    if (!memory) return db(static_cast<int>(0xc0 | low));
    const bool small = memory->displacement == static_cast<i8>(memory->displacement);
    db(static_cast<int>((small ? 0x40u : 0x80u) | low));
    if ((rm_number & 7) == 4) db(0x24);  // SIB: no index, this base
    if (small)
      db(static_cast<u8>(memory->displacement));
    else
      dd(static_cast<u32>(memory->displacement));
  }

  // ---- steps ----

  void charge(unsigned count) {
    const auto remaining = qword[reg::rsp + frame_.at(cpu_.remaining)];
    if (!flags_.in_eflags) {
      sub(remaining, count);
      return;
    }
    mov(reg::r15, remaining);
    lea(reg::r15, ptr[reg::r15 - static_cast<int>(count)]);
    mov(remaining, reg::r15);
  }

  // A load that faults when the vCPU is wanted.
  void poll(unsigned first) {
    mov(reg::r15, qword[reg::rsp + frame_.at(native().poll)]);
    add_cold(DepartureKind::poll, first).traps.push_back(static_cast<u32>(getSize()));
    mov(reg::r15d, dword[reg::r15]);
  }
  bool goes_back(unsigned first) const {
    const Step& last = steps_[segment_end_ - 1];
    if (last.kind != StepKind::branch && last.kind != StepKind::jump && last.kind != StepKind::call) return false;
    const i64 target = branch_target(last);
    return within_page(target) && target <= in_page(steps_[first]);
  }

  // One step or one group; returns the next step's number.
  unsigned emit_steps(unsigned at) {
    if (at >= segment_end_) {
      const unsigned first = at;
      segment_end_ = segment_end(at);
      if (goes_back(first)) poll(first);
      charge(segment_end_ - first);
    }
    const Step& step = steps_[at];
    switch (step.kind) {
      case StepKind::outline: return outline(at);
      case StepKind::nothing: return at + 1;
      case StepKind::jump: exit_to(branch_target(step), at); return at + 1;
      case StepKind::branch: return branch(at);
      case StepKind::jump_indirect: return jump_indirect(at);
      case StepKind::call_indirect: return call_indirect(at);
      case StepKind::push_memory:
      case StepKind::push_flags: return push_directly(at);
      case StepKind::cli:
      case StepKind::sti:
      case StepKind::swapgs: return privileged(at);
      default: break;
    }
    if (!step.touches_memory()) {
      return emit_register_step(at);
    }
    if (!expressible(step)) return outline(at);
    return emit_group(find_group(at));
  }
  bool expressible(const Step& step) const { return step.kind != StepKind::copy || can_copy(step, step.has_memory()); }

  // With all that follow it and are left to the interpreter, too.
  unsigned outline(unsigned at) {
    unsigned count = 1;
    while (at + count < segment_end_ && steps_[at + count].kind == StepKind::outline) ++count;
    ensure_saved();
    Cold& cold = add_site(at, count);
    cold.departure.outlined = true;
    cold.departure.mnemonic = steps_[at].in.mnemonic;
    cold.jumps.push_back(jump_if(0));
    flags_ = {.saved = true};
    rejoin(cold);
    return at + count;
  }

  unsigned branch(unsigned at) {
    const Step& step = steps_[at];
    ensure_eflags();
    const auto condition = static_cast<u8>(0x80 | (step.in.opcode & 15));
    const i64 target = branch_target(step);
    if (within_page(target)) {
      direct_exit(condition, target, at);
    } else {
      Cold& cold = add_cold(DepartureKind::lookup, at);
      cold.lookup_inline = true;
      cold.target = static_cast<i32>(target);
      cold.jumps.push_back(jump_if(condition));
    }
    return at + 1;
  }

  unsigned emit_register_step(unsigned at) {
    const Step& step = steps_[at];
    if (!expressible(step) || scratch_needed(step) > (in_group_ ? 1u : 2u)) {
      CHECK(!in_group_);
      return outline(at);
    }
    before(step, step.enc.gprs_written, step.traps);
    if (step.kind == StepKind::lea)
      load_address(step);
    else if (step.kind == StepKind::copy)
      copy_noting_trap(at, std::nullopt);
    after(step, at);
    return at + 1;
  }

  void copy_noting_trap(unsigned at, std::optional<HostMemory> memory) {
    const Step& step = steps_[at];
    const std::size_t cold = colds_.size();
    if (step.traps) add_site(at, 1);
    CHECK(copy(step, memory));
    if (step.traps) colds_[cold].traps.push_back(encoded_at_);
  }

  void load_address(const Step& step) {
    const MemoryOperand& memory = step.in.memory;
    const RegisterField& to = step.enc.reg;
    const unsigned host = is_slot(to.number) ? scratch2 : host_of(to.number);
    Xbyak::RegExp exp;
    if (memory.base == MemoryOperand::rip) {
      mov(reg::r15, qword[reg::rsp + frame_.at(native().code_page)]);
      exp = Xbyak::RegExp(reg::r15) + static_cast<i32>(memory.displacement + after(step));
    } else {
      // The first slot is loaded into R15, a second one into R14.
      unsigned scratch = scratch2;
      const auto load = [&](u8 gpr) {
        if (!is_slot(gpr)) return Xbyak::Reg64(static_cast<int>(host_of(gpr)));
        const Xbyak::Reg64 loaded(static_cast<int>(scratch--));
        mov(loaded, slot(gpr));
        return loaded;
      };
      if (memory.base != MemoryOperand::none) exp = Xbyak::RegExp(load(memory.base));
      if (memory.index != MemoryOperand::none)
        exp = exp + (memory.index == memory.base && is_slot(memory.base)
                         ? Xbyak::RegExp(reg::r15, 1 << memory.scale)
                         : Xbyak::RegExp(load(memory.index), 1 << memory.scale));
      exp = exp + static_cast<i32>(memory.displacement);
    }
    if (to.bytes == 8)
      lea(Xbyak::Reg64(static_cast<int>(host)), ptr[exp]);
    else
      lea(Xbyak::Reg32(static_cast<int>(host)), ptr[exp]);
    if (is_slot(to.number)) mov(slot(to.number), reg::r15);
  }

  // ---- steps with memory ----

  unsigned emit_group(const Group& group) {
    clobber();
    const std::size_t cold = colds_.size();
    add_site(group.first, group.last - group.first + 1);
    address(group.place, group.low);
    probe(static_cast<u64>(group.high - group.low), group.write, colds_[cold]);
    in_group_ = true;
    i64 moved = 0;
    for (unsigned i = group.first; i <= group.last; ++i) {
      const Step& step = steps_[i];
      const auto access = access_of(step);
      const bool stack = group.place.base == x86::rsp && group.place.index == MemoryOperand::none;
      if (access)
        emit_access(i, static_cast<i32>(access->displacement + (stack ? moved : 0) - group.low));
      else if (step.kind != StepKind::nothing)
        emit_register_step(i);
      if (stack) moved += stack_movement(step).value_or(0);
    }
    in_group_ = false;
    if (!ended_) rejoin(colds_[cold]);
    return group.last + 1;
  }

  // R14 + `at` is the host address of the operand.
  void emit_access(unsigned number, i32 at) {
    const Step& step = steps_[number];
    const auto operand = qword[reg::r14 + at];
    switch (step.kind) {
      case StepKind::push: push_value(step, operand); return move_stack(-8);
      case StepKind::pop: {
        const unsigned gpr = stack_register(step);
        before(step, bit_of(gpr), false);
        if (gpr == x86::rsp) return mov(reg::r12, operand);
        if (is_slot(gpr)) {
          mov(reg::r15, operand);
          mov(slot(gpr), reg::r15);
        } else {
          mov(Xbyak::Reg64(static_cast<int>(host_of(gpr))), operand);
        }
        return move_stack(8);
      }
      case StepKind::leave:
        before(step, bit_of(x86::rsp) | bit_of(x86::rbp), false);
        lea(reg::r12, ptr[reg::rbp + 8]);
        mov(reg::rbp, operand);
        return;
      case StepKind::call:
        push_return(step, operand);
        move_stack(-8);
        return exit_to(branch_target(step), number);
      case StepKind::ret: {
        const auto released = static_cast<i32>(8 + (step.in.immediate & 0xffff));
        mov(reg::r14, operand);
        move_stack(released);
        ensure_saved();
        ended_ = true;
        return lookup(number, static_cast<i16>(released));
      }
      default:
        before(step, step.enc.gprs_written, step.traps);
        copy_noting_trap(number, HostMemory{scratch1, at});
        after(step, number);
        return;
    }
  }
  void push_value(const Step& step, const Xbyak::Address& to) {
    if (step.in.operands[0].kind == OperandKind::immediate) {
      mov(to, step.in.immediate);
      return;
    }
    const unsigned gpr = stack_register(step);
    mov(to, Xbyak::Reg64(static_cast<int>(in_register(gpr))));
  }
  void push_return(const Step& step, const Xbyak::Address& to) {
    mov(reg::r15, qword[reg::rsp + frame_.at(native().code_page)]);
    lea(reg::r15, ptr[reg::r15 + after(step)]);
    mov(to, reg::r15);
  }
  void move_stack(i32 by) {
    if (recipe_registers() & bit_of(x86::rsp)) {
      if (!flags_.in_eflags && !flags_.saved) ensure_eflags();
      flags_.recipe = -1;
    }
    lea(reg::r12, ptr[reg::r12 + by]);
  }

  // R14 = the 64-bit operand in ModRM.rm. A probe that misses goes to the cold part `cold`.
  void load_operand(const Step& step, std::size_t cold) {
    if (!step.has_memory()) {
      const unsigned host = in_register(step.enc.rm.number, scratch1);
      if (host != scratch1) mov(reg::r14, Xbyak::Reg64(static_cast<int>(host)));
      return;
    }
    const Access access = *access_of(step);
    address(access.place, access.displacement);
    probe(8, false, colds_[cold]);
    mov(reg::r14, qword[reg::r14]);
  }

  // PUSH of memory or of the flags: with a probe of the stack for itself.
  unsigned push_directly(unsigned at) {
    const Step& step = steps_[at];
    ensure_saved();
    flags_ = {.saved = true};
    const std::size_t cold = colds_.size();
    add_site(at, 1);
    const bool memory = step.kind == StepKind::push_memory;
    if (memory) {
      load_operand(step, cold);
      mov(qword[reg::rsp + frame_.at(native().target)], reg::r14);
    }
    lea(reg::r14, ptr[reg::r12 - 8]);
    probe(8, true, colds_[cold]);
    mov(reg::r15, qword[reg::rsp + (memory ? frame_.at(native().target) : frame_.at(cpu_.other_flags))]);
    mov(qword[reg::r14], reg::r15);
    if (!memory) add_saved_flags();
    lea(reg::r12, ptr[reg::r12 - 8]);
    rejoin(colds_[cold]);
    return at + 1;
  }
  // Into the image of RFLAGS at R14.
  void add_saved_flags() {
    const i32 saved = frame_.at(native().saved_flags);
    movzx(reg::r15d, byte[reg::rsp + saved + 1]);
    and_(reg::r15d, 0xd5);
    or_(byte[reg::r14], reg::r15b);
    movzx(reg::r15d, byte[reg::rsp + saved]);
    shl(reg::r15d, 3);  // OF is bit 11
    or_(byte[reg::r14 + 1], reg::r15b);
  }

  // CLI, STI and SWAPGS of a supervisor. STI holds interrupts off for one instruction: that cannot be seen when none is pending and the
  // next instruction follows without a look at events, within the block.
  unsigned privileged(unsigned at) {
    const StepKind kind = steps_[at].kind;
    if (kind == StepKind::sti && at + 1 == segment_end_) return outline(at);
    ensure_saved();
    flags_ = {.saved = true};
    Cold& cold = add_site(at, 1);
    cmp(byte[reg::rsp + frame_.at(cpu_.user)], 0);
    cold.jumps.push_back(jump_if(0x85));
    const auto flags = qword[reg::rsp + frame_.at(cpu_.other_flags)];
    if (kind == StepKind::cli) {
      and_(flags, ~static_cast<u32>(rflags::if_));
    } else if (kind == StepKind::sti) {
      cmp(dword[reg::rsp + frame_.at(cpu_.events)], 0);
      cold.jumps.push_back(jump_if(0x85));
      or_(flags, static_cast<u32>(rflags::if_));
    } else {
      const auto current = qword[reg::rsp + frame_.segment_base(x86::gs)];
      const auto other = qword[reg::rsp + frame_.at(cpu_.s.kernel_gs_base)];
      mov(reg::r14, current);
      mov(reg::r15, other);
      mov(other, reg::r14);
      mov(current, reg::r15);
    }
    rejoin(cold);
    return at + 1;
  }

  // ---- indirect branches ----

  unsigned jump_indirect(unsigned at) {
    const Step& step = steps_[at];
    ensure_saved();
    flags_ = {.saved = true};
    const std::size_t cold = colds_.size();
    if (step.has_memory()) add_site(at, 1);
    load_operand(step, cold);
    ended_ = true;
    lookup(at);
    return at + 1;
  }
  // The target is known to be canonical before anything is pushed.
  unsigned call_indirect(unsigned at) {
    const Step& step = steps_[at];
    ensure_saved();
    flags_ = {.saved = true};
    const std::size_t cold = colds_.size();
    add_site(at, 1);
    load_operand(step, cold);
    mov(reg::r15, reg::r14);
    shl(reg::r15, 16);
    sar(reg::r15, 16);
    cmp(reg::r15, reg::r14);
    colds_[cold].jumps.push_back(jump_if(0x85));
    mov(qword[reg::rsp + frame_.at(native().target)], reg::r14);
    lea(reg::r14, ptr[reg::r12 - 8]);
    probe(8, true, colds_[cold]);
    push_return(step, qword[reg::r14]);
    lea(reg::r12, ptr[reg::r12 - 8]);
    mov(reg::r14, qword[reg::rsp + frame_.at(native().target)]);
    ended_ = true;
    lookup(at, -8);
    return at + 1;
  }

  const NativeState& native() const { return cpu_.native; }

  const Cpu& cpu_;
  const Frame frame_;
  Translations& to_;
  const Block& block_;
  const i32 page_offset_;
  std::vector<Step> steps_;
  std::vector<Cold> colds_;
  FlagState flags_;
  u32 index_ = 0;
  u8 vectors_ = 0;
  int vectors_cold_ = -1;
  unsigned segment_end_ = 0;
  u32 encoded_at_ = 0;  // where the last copied instruction is, behind the loads of its slots
  bool in_group_ = false;
  bool ended_ = false;
};

}  // namespace

u32 translate_block(const Cpu& cpu, Translations& to, Block* block) {
  return Translator(cpu, to, block).translate(block);
}

}  // namespace doppel::translator
