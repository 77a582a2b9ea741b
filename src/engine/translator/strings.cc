// REP STOS, REP MOVS and bit strings: how far they reach is known when they execute.
#include "engine/translator/block_writer.h"

namespace doppel::translator {

using namespace x86;
namespace reg = Xbyak::util;

// What is left of a page behind `gpr` must have room for RCX elements: else to `cold`. Clobbers R14.
void BlockWriter::check_run(unsigned gpr, unsigned element, Cold& cold) {
  mov(reg::r14d, Xbyak::Reg32(static_cast<int>(host_of(gpr))));
  and_(reg::r14d, static_cast<u32>(page_bytes - 1));
  lea(reg::r14, ptr[reg::r14 + reg::rcx * static_cast<int>(element)]);
  cmp(reg::r14, static_cast<u32>(page_bytes));
  cold.jumps.push_back(jump_if(0x87));
}

// REP STOS and REP MOVS of 64-bit code, upwards and within a page: by the host's own, between host addresses.
unsigned BlockWriter::repeat_string(unsigned at) {
  const Step& step = steps_[at];
  const auto element = static_cast<unsigned>(step.in.operand_bytes);
  const bool moves = step.kind == StepKind::rep_movs;
  ensure_saved();
  flags_ = {.saved = true};
  const std::size_t cold = colds_.size();
  add_site(at, 1);
  colds_[cold].departure.mnemonic = static_cast<u16>(step.in.mnemonic);
  constexpr u8 direction_flag = static_cast<u8>(rflags::df >> 8);
  test(byte[reg::rsp + frame_.at(cpu_.other_flags) + 1], direction_flag);
  colds_[cold].jumps.push_back(jump_if(0x85));
  cmp(reg::rcx, static_cast<u32>(page_bytes));  // so that the sums do not wrap around
  colds_[cold].jumps.push_back(jump_if(0x87));
  test(reg::rcx, reg::rcx);
  const u32 nothing = jump_if(0x84);
  check_run(x86::rdi, element, colds_[cold]);
  if (moves) {
    check_run(x86::rsi, element, colds_[cold]);
    mov(reg::r14, reg::rsi);
    probe(element, false, false, colds_[cold]);
    mov(qword[reg::rsp + frame_.at(native().target)], reg::r14);
  }
  mov(reg::r14, reg::rdi);
  probe(element, true, true, colds_[cold]);
  const auto scale = static_cast<int>(element);
  lea(reg::r15, ptr[reg::rdi + reg::rcx * scale]);
  mov(reg::rdi, reg::r14);
  if (moves) {
    lea(reg::r14, ptr[reg::rsi + reg::rcx * scale]);
    mov(reg::rsi, qword[reg::rsp + frame_.at(native().target)]);
  }
  db(0xf3);  // REP, operand size, MOVS or STOS
  if (element == 2) db(0x66);
  if (element == 8) db(0x48);
  db((moves ? 0xa4 : 0xaa) | (element == 1 ? 0 : 1));
  mov(reg::rdi, reg::r15);
  if (moves) mov(reg::rsi, reg::r14);
  patch_to(nothing, getSize());
  rejoin(colds_[cold]);
  return at + 1;
}

// BT, BTS, BTR, BTC of memory with an offset in a register, of 64-bit code: the element that holds the bit, as if it were the operand.
// They change CF alone.
unsigned BlockWriter::bit_string(unsigned at) {
  const Step& step = steps_[at];
  const bool wide = step.in.operand_bytes == 8;
  const bool write = step.in.mnemonic != ZYDIS_MNEMONIC_BT;
  const u8 offset = step.enc.reg.number;
  const auto load_offset = [&] {
    if (is_slot(offset))
      wide ? mov(reg::r15, slot(offset)) : movsxd(reg::r15, dword[reg::rsp + frame_.gpr(offset)]);
    else
      wide ? mov(reg::r15, sized(host_of(offset), 8))
           : movsxd(reg::r15, Xbyak::Reg32(static_cast<int>(host_of(offset))));
  };
  ensure_saved();
  flags_ = {.saved = true};
  const std::size_t cold = colds_.size();
  add_site(at, 1);
  colds_[cold].departure.mnemonic = static_cast<u16>(step.in.mnemonic);
  const Access access = *access_of(step, page_offset_);
  address(access.place, access.displacement);
  load_offset();
  sar(reg::r15, wide ? 6 : 5);
  lea(reg::r14, ptr[reg::r14 + reg::r15 * (wide ? 8 : 4)]);
  probe(step.in.operand_bytes, write, write, colds_[cold]);
  load_offset();
  and_(reg::r15d, wide ? 63 : 31);
  mov(qword[reg::rsp + frame_.at(native().target)], reg::r15);
  restore_flags();
  mov(reg::r15, qword[reg::rsp + frame_.at(native().target)]);
  const auto operand = wide ? qword[reg::r14] : dword[reg::r14];
  const Xbyak::Reg bit = sized(scratch2, wide ? 8 : 4);
  if (step.enc.lock) lock();
  switch (step.in.mnemonic) {
    case ZYDIS_MNEMONIC_BTS: bts(operand, bit); break;
    case ZYDIS_MNEMONIC_BTR: btr(operand, bit); break;
    case ZYDIS_MNEMONIC_BTC: btc(operand, bit); break;
    default: bt(operand, bit); break;
  }
  flags_ = {.in_eflags = true};
  rejoin(colds_[cold]);
  return at + 1;
}

}  // namespace doppel::translator
