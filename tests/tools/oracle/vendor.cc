#include "vendor.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "isa/x86/host_vendor.h"
#include "isa/x86/paging.h"

namespace doppel::oracle {

using namespace x86;

namespace {

template <class T>
T get(const std::array<u8, 512>& image, unsigned at) {
  T value;
  std::memcpy(&value, &image[at], sizeof(T));
  return value;
}
template <class T>
void put(std::array<u8, 512>& image, unsigned at, T value) {
  std::memcpy(&image[at], &value, sizeof(T));
}

bool both_fault(const Outcome& host, const Outcome& engine) {
  return host.vector == engine.vector && host.vector != no_vector;
}
bool both_page_fault(const Outcome& host, const Outcome& engine) {
  return both_fault(host, engine) && host.vector == page_fault;
}
bool engine_refused_memory(const Outcome& engine) {
  return engine.vector == page_fault || engine.vector == general_protection || engine.vector == stack_fault;
}

// The engine saw the fault of the memory operand where the host had found another exception before it got there.
void becomes(Outcome& engine, u8 vector) {
  engine.vector = vector;
  engine.error_code = 0;
}

// ---- one function for each difference ----

// A repeated CMPS or SCAS that faults has the flags of before the instruction (SDM vol. 1 §7.3.9.2); AMD's has those of the last
// comparison.
void restore_flags_of_strings(const Drawn& drawn, const Outcome& host, Outcome& engine) {
  if (!both_fault(host, engine) || !drawn.c.repeats) return;
  u64& flags = engine.registers.rflags;
  flags = (flags & ~rflags::status) | (drawn.c.registers.rflags & rflags::status);
}

// A store of an MMX register has set TOP to 0 when its operand faults; AMD's processors set it afterwards.
void set_top_before_store(const Drawn& drawn, const Outcome& host, Outcome& engine) {
  const Operand& from = drawn.instruction.operands[1];
  if (!both_fault(host, engine) || !engine_refused_memory(engine) || from.kind != OperandKind::mmx) return;
  auto& image = engine.registers.fx;
  const auto status = get<u16>(image, fx::fsw);
  const unsigned top = status >> 11 & 7;
  std::rotate(image.begin() + fx::st0, image.begin() + fx::st0 + 16 * ((8 - top) & 7), image.begin() + fx::st0 + 128);
  put<u16>(image, fx::fsw, status & ~0x3800);
}

// An unmasked x87 exception keeps the store from being made, and with that from faulting; AMD's processors probe the operand first.
void suppress_x87_store(const Drawn& drawn, const Outcome& host, Outcome& engine) {
  constexpr u16 error_summary = 0x80;
  const auto status = get<u16>(host.registers.fx, fx::fsw);
  if (host.vector != no_vector || !engine_refused_memory(engine) || !(status & error_summary)) return;
  becomes(engine, no_vector);
  engine.registers.rip = drawn.c.registers.rip + drawn.c.code_length;
  put<u16>(engine.registers.fx, fx::fsw, status);
}

// Of a store of ten bytes that crosses into a page which faults, the part before that page may have been written.
void allow_part_of_x87_store(const Drawn& drawn, const Outcome& host, Outcome& engine) {
  if (!both_page_fault(host, engine)) return;
  const u64 first = operand_address(drawn), end = (first + 9) & ~u64{0xfff};
  for (u64 at = first; at < end; ++at)
    if (at - data_base < data_bytes) engine.data[at - data_base] = host.data[at - data_base];
}

// BOUND compares with the lower bound before it loads the upper one.
void check_lower_bound_first(const Drawn& drawn, const Outcome& host, Outcome& engine) {
  const u64 upper = operand_address(drawn) + drawn.instruction.operands[0].bytes;
  if (host.vector == bound_range && engine.vector == page_fault && engine.fault_address >= upper)
    becomes(engine, bound_range);
}

// VCVTPS2PH converts, and notes or raises what that meets with, before it stores.
void convert_before_store(const Drawn& drawn, const Outcome& host, Outcome& engine) {
  constexpr u32 sticky = 0x3f;
  if (!drawn.instruction.has_memory() || !engine_refused_memory(engine)) return;
  if (host.vector == simd_error) becomes(engine, simd_error);
  const u32 flags = get<u32>(host.registers.fx, fx::mxcsr) & sticky;
  if (engine.vector == host.vector)
    put(engine.registers.fx, fx::mxcsr, get<u32>(engine.registers.fx, fx::mxcsr) | flags);
}

// The parts of a masked operand lie one behind the other even where its 32-bit effective address wraps; AMD's processors wrap each.
void go_on_past_4_gib(const Drawn& drawn, const Outcome& host, Outcome& engine) {
  const bool address32 = !drawn.c.compat32 && drawn.instruction.memory.address_bytes == 4;
  const u64 end = operand_offset(drawn) + drawn.instruction.operands[1].bytes;
  if (address32 && end > u64{1} << 32) engine = host;
}

// Which address within the operand a masked store's fault has is the processor's own, in the page that faults.
void fault_anywhere_in_operand(const Drawn& drawn, const Outcome& host, Outcome& engine) {
  if (!both_page_fault(host, engine) || drawn.instruction.operands[0].kind != OperandKind::memory) return;
  const u64 offset = host.fault_address - operand_address(drawn);
  const bool same_page = (host.fault_address ^ engine.fault_address) <= 0xfff;
  if (same_page && offset < drawn.instruction.operands[1].bytes) engine.fault_address = host.fault_address;
}

// A segment register that is pushed by 32-bit code is 16 bits wide in memory (SDM vol. 2, PUSH); AMD's processors extend it with zeros.
void push_word_of_segment(const Drawn& drawn, const Outcome& host, Outcome& engine, std::span<const u8> pool) {
  const bool segment = drawn.instruction.operands[0].kind == OperandKind::segment;
  if (!segment || host.vector != no_vector || !drawn.c.compat32 || drawn.instruction.operand_bytes != 4) return;
  const u64 upper = engine.registers.gpr[rsp] + 2 - data_base;
  if (upper > data_bytes - 2) return;
  std::array<u8, data_bytes> before;
  fill_data(before.data(), pool.data(), drawn.c);
  std::memcpy(&engine.data[upper], &before[upper], 2);
}

// AMD's processors have MXCSR.MM, which a guest's have not (APM vol. 2 §3.1.8): for the engine bit 17 is reserved.
void allow_misaligned_mask(const Drawn& drawn, const Outcome& host, Outcome& engine) {
  const auto loaded = get<u32>(host.registers.fx, fx::mxcsr);
  if (host.vector != no_vector || engine.vector != general_protection || !(loaded & 1u << 17)) return;
  becomes(engine, no_vector);
  engine.registers.rip = drawn.c.registers.rip + drawn.c.code_length;
  put<u32>(engine.registers.fx, fx::mxcsr, loaded);
}

// ---- gathers ----

using Vector = std::array<u8, 32>;

Vector get_vector(const Registers& registers, unsigned i) {
  Vector value;
  std::memcpy(value.data(), &registers.fx[fx::xmm0 + 16 * i], 16);
  std::memcpy(&value[16], &registers.ymm_high[2 * i], 16);
  return value;
}
void put_vector(Registers& registers, unsigned i, const Vector& value) {
  std::memcpy(&registers.fx[fx::xmm0 + 16 * i], value.data(), 16);
  std::memcpy(&registers.ymm_high[2 * i], &value[16], 16);
}

struct Gather {
  unsigned element_bytes, index_bytes;
};
std::optional<Gather> find_gather(Mnemonic mnemonic) {
  switch (mnemonic) {
    case ZYDIS_MNEMONIC_VGATHERDPS:
    case ZYDIS_MNEMONIC_VPGATHERDD: return Gather{4, 4};
    case ZYDIS_MNEMONIC_VGATHERQPS:
    case ZYDIS_MNEMONIC_VPGATHERQD: return Gather{4, 8};
    case ZYDIS_MNEMONIC_VGATHERDPD:
    case ZYDIS_MNEMONIC_VPGATHERDQ: return Gather{8, 4};
    case ZYDIS_MNEMONIC_VGATHERQPD:
    case ZYDIS_MNEMONIC_VPGATHERQQ: return Gather{8, 8};
    default: return std::nullopt;
  }
}

// A gather that faults has extended the signs of its mask's elements and cut the mask off behind them; with the first element that it
// loads it cuts off the destination, too; and it may have loaded elements to the left of the one that faults (SDM vol. 2).
// AMD's processors leave what is to do as it was.
void extend_mask_of_gather(const Drawn& drawn, Gather gather, const Outcome& host, Outcome& engine) {
  if (!both_fault(host, engine) || !engine_refused_memory(engine)) return;
  const unsigned to = drawn.instruction.operands[0].index, mask = drawn.instruction.operands[2].index;
  const unsigned bytes = gather.element_bytes, vector_bytes = drawn.instruction.vex.l ? 32 : 16;
  const unsigned end = vector_bytes / std::max(bytes, gather.index_bytes) * bytes;
  const Vector host_to = get_vector(host.registers, to), host_mask = get_vector(host.registers, mask);
  const Vector mask_before = get_vector(drawn.c.registers, mask);
  Vector engine_to = get_vector(engine.registers, to), engine_mask = get_vector(engine.registers, mask);
  bool found_faulting = false, any_loaded = false;
  for (unsigned at = 0; at < vector_bytes; at += bytes) {
    const auto selected = [&](const Vector& vector) { return (vector[at + bytes - 1] & 0x80) != 0; };
    const bool early = at < end && found_faulting && selected(engine_mask) && !selected(host_mask);
    if (early) std::memcpy(&engine_to[at], &host_to[at], bytes);
    const bool to_do = selected(engine_mask) && !early;
    found_faulting |= to_do;
    any_loaded |= selected(mask_before) && !to_do;
    std::memset(&engine_mask[at], to_do ? 0xff : 0, bytes);
  }
  std::fill(engine_mask.begin() + vector_bytes, engine_mask.end(), 0);
  if (any_loaded) std::fill(engine_to.begin() + vector_bytes, engine_to.end(), 0);
  put_vector(engine.registers, to, engine_to);
  put_vector(engine.registers, mask, engine_mask);
}

}  // namespace

void follow_host_vendor(const Drawn& drawn, std::span<const u8> pool, const Outcome& host, Outcome& engine) {
  const Mnemonic mnemonic = drawn.instruction.mnemonic;
  if (!x86::host_is_intel()) {
    if (mnemonic == ZYDIS_MNEMONIC_LDMXCSR || mnemonic == ZYDIS_MNEMONIC_VLDMXCSR)
      allow_misaligned_mask(drawn, host, engine);
    return;
  }
  switch (mnemonic) {
    case ZYDIS_MNEMONIC_CMPSB:
    case ZYDIS_MNEMONIC_CMPSW:
    case ZYDIS_MNEMONIC_CMPSD:
    case ZYDIS_MNEMONIC_CMPSQ:
    case ZYDIS_MNEMONIC_SCASB:
    case ZYDIS_MNEMONIC_SCASW:
    case ZYDIS_MNEMONIC_SCASD:
    case ZYDIS_MNEMONIC_SCASQ: return restore_flags_of_strings(drawn, host, engine);
    case ZYDIS_MNEMONIC_MOVD:
    case ZYDIS_MNEMONIC_MOVQ:
    case ZYDIS_MNEMONIC_MOVNTQ: return set_top_before_store(drawn, host, engine);
    case ZYDIS_MNEMONIC_FIST:
    case ZYDIS_MNEMONIC_FISTP:
    case ZYDIS_MNEMONIC_FISTTP:
    case ZYDIS_MNEMONIC_FST: return suppress_x87_store(drawn, host, engine);
    case ZYDIS_MNEMONIC_FSTP:
    case ZYDIS_MNEMONIC_FBSTP:
      suppress_x87_store(drawn, host, engine);
      if (drawn.instruction.operands[0].bytes == 10) allow_part_of_x87_store(drawn, host, engine);
      return;
    case ZYDIS_MNEMONIC_BOUND: return check_lower_bound_first(drawn, host, engine);
    case ZYDIS_MNEMONIC_VCVTPS2PH: return convert_before_store(drawn, host, engine);
    case ZYDIS_MNEMONIC_VMASKMOVPS:
    case ZYDIS_MNEMONIC_VMASKMOVPD:
    case ZYDIS_MNEMONIC_VPMASKMOVD:
    case ZYDIS_MNEMONIC_VPMASKMOVQ:
      go_on_past_4_gib(drawn, host, engine);
      return fault_anywhere_in_operand(drawn, host, engine);
    case ZYDIS_MNEMONIC_PUSH: return push_word_of_segment(drawn, host, engine, pool);
    default:
      if (const auto gather = find_gather(mnemonic)) extend_mask_of_gather(drawn, *gather, host, engine);
  }
}

}  // namespace doppel::oracle
