#include "engine/interpreter/cpu.h"

#include "isa/x86/cpuid.h"

namespace doppel::interpreter {

using namespace x86;

Cpu::Cpu(const VcpuWiring& wiring, const Decoder& the_decoder, u64 block_arena_bytes)
    : memory(wiring.memory),
      ports(wiring.ports),
      clock(wiring.clock),
      interrupts(wiring.interrupts),
      decoder(the_decoder),
      index(wiring.index),
      count(wiring.count),
      tlbs(wiring.memory.ram_bytes() >> page_shift),
      blocks(block_arena_bytes),
      grace(wiring.memory.grace_periods(), [this] { request_attention(); }, [this] { watch_flagged_pages(); }) {
  ram = memory.ram();
  page_flags = memory.page_flags();
  generations = memory.code_generations();
  jumps = blocks.jump_cache();
  tlbs.flush_all();
  load_state(s);
}

namespace {
constexpr u64 breakpoint_enables = 0xff;  // DR7: L0, G0 … L3, G3
}

void Cpu::set_rflags(u64 value) {
  flags.unpack(value);
  const u64 changed = (other_flags ^ value) & (rflags::if_ | rflags::tf | rflags::vm | rflags::ac);
  other_flags = (value & ~rflags::status) | rflags::fixed;
  if (!(s.dr[7] & breakpoint_enables)) other_flags &= ~rflags::rf;  // RF only holds off instruction breakpoints
  if (changed & (rflags::tf | rflags::vm | rflags::ac)) update_mode();
  if ((changed & rflags::if_) && (value & rflags::if_) && events.load(std::memory_order_relaxed)) request_attention();
}

namespace {

constexpr u64 ymm_state = xcr0::sse | xcr0::avx;

CodeMode code_mode(const Cpu& cpu) {
  const u16 attributes = cpu.s.segments[cs].attributes;
  const bool big = SegmentRegister::Big::get(attributes);
  if (!cpu.protected_mode()) return CodeMode::real16;
  if (cpu.vm86()) return CodeMode::real16;
  if (!cpu.s.long_mode()) return big ? CodeMode::legacy32 : CodeMode::legacy16;
  if (SegmentRegister::Long::get(attributes)) return CodeMode::long64;
  return big ? CodeMode::compat32 : CodeMode::compat16;
}

// What the rights in TLB entries were computed under (besides the table they are in).
u64 translation_rules(const X86State& s) {
  return (s.cr0 & (cr0::pg | cr0::wp)) | (s.cr4 & (cr4::pse | cr4::pae | cr4::smep)) << 32 |
         (s.efer & efer::nxe) << 44 | (s.efer & efer::lma) << 46;
}

// Which code an address means to the translator, in 32 bits: epochs come again (Cpu::epoch_round), of modes there are few.
u32 native_context(const Cpu& cpu) {
  const bool legacy = cpu.mode == CodeMode::legacy32, compat = cpu.mode == CodeMode::compat32;
  if (!cpu.long64 && !legacy && !compat) return 0;
  const u32 mode = cpu.long64 ? 1 : legacy ? 2 : 3;
  return (cpu.user ? static_cast<u32>(cpu.tlbs.asid()) : 0) | mode << 12 | u32{cpu.user} << 14 |
         cpu.epoch << Cpu::epoch_shift;
}

}  // namespace

void Cpu::update_mode() {
  mode = code_mode(*this);
  long64 = mode == CodeMode::long64;
  sse_fault = (s.cr0 & cr0::em) || !(s.cr4 & cr4::osfxsr) ? invalid_opcode : s.cr0 & cr0::ts ? device_not_available : 0;

  const bool ymm = (s.cr4 & cr4::osxsave) && (s.xcr0 & ymm_state) == ymm_state;
  avx_fault = !ymm ? invalid_opcode : s.cr0 & cr0::ts ? device_not_available : 0;

  if (const u64 now = translation_rules(s); now != rules) {
    rules = now;
    tlbs.flush_all();
    begin_epoch();
  }
  const bool breakpoints = s.dr[7] & breakpoint_enables;
  debug_accesses = breakpoints;
  single_step = (other_flags & rflags::tf) || breakpoints || s.sti_shadow || s.mov_ss_shadow ||
                (trace && trace->instruction);
  if (single_step) request_attention();
  update_privilege();
}

void Cpu::update_privilege() {
  user = cpl() == 3;
  const bool check_alignment = user && (s.cr0 & cr0::am) && (other_flags & rflags::ac);
  native.access_tables = {};
  if (debug_accesses || check_alignment) {
    tlb = Tlb::blind_table();
  } else {
    if (cpl() == 0) {
      TlbEntries* const open = tlbs.table(TlbTable::supervisor);
      native.access_tables = {s.cr4 & cr4::smap ? tlbs.table(TlbTable::supervisor_smap) : open, open};
    }
    const bool smap = (s.cr4 & cr4::smap) && !(other_flags & rflags::ac);
    tlb = tlbs.table(user ? TlbTable::user : smap ? TlbTable::supervisor_smap : TlbTable::supervisor);
  }
  // What a supervisor runs is the same in all address spaces where it is global; where not, switch_address_space sees to it.
  code_context = (user ? tlbs.asid() : 0) | u64{user} << 12 | static_cast<u64>(mode) << 13 | u64{1} << 16 |
                 u64{epoch} << 17;
  native.set_context(native_context(*this), user);
  if (!long64) {
    // Legacy code is cached by its offset: another base or limit of CS is another context.
    const SegmentRegister& code = s.segments[cs];
    code_context ^= (code.base * 0x9e37'79b9'7f4a'7c15u ^ code.limit * 0xc2b2'ae3d'27d4'eb4fu) & ~low_bits(17);
  }
}

bool Cpu::mark_code(u64 page, unsigned first_byte, unsigned last_byte) {
  const bool kept = memory.mark_code(page, first_byte, last_byte, &grace);
  watch_flagged_pages();
  return kept;
}

void Cpu::watch_flagged_pages() {
  const auto watch = [this](u64 page) { tlbs.watch(page, ram + (page << page_shift)); };
  if (!memory.for_each_flagged(flagged_pages, watch)) tlbs.watch_all();
}

void Cpu::begin_epoch() {
  ++epoch;
  native.code_mark = 1 + epoch % TlbEntries::last_mark;
  if (native.code_mark == 1) tlbs.forget_code();  // marks come again
}

void Cpu::forget_jumps() {
  begin_epoch();
  jumped_pages.fill(false);
  local_jumps = false;
  update_mode();
}

void Cpu::load_state(const X86State& state) {
  s = state;
  for (unsigned i = 0; i < 16; ++i) gpr[i] = state.gpr[i];
  gpr[slot_zero] = 0;
  rip = state.rip;
  flags.unpack(state.rflags);
  other_flags = (state.rflags & ~rflags::status) | rflags::fixed;
  tlbs.flush_all();
  forget_jumps();
  request_attention();
}

void Cpu::store_state() {
  for (unsigned i = 0; i < 16; ++i) s.gpr[i] = gpr[i];
  s.rip = rip;
  s.rflags = get_rflags();
  s.instruction_count = executed();
  budget_start = static_cast<u64>(remaining);  // what was executed until here is in the count now
}

u64 Cpu::executed() const { return s.instruction_count + (budget_start - static_cast<u64>(remaining)); }

}  // namespace doppel::interpreter
