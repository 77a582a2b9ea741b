// The binders of the general-register instructions, by the file that holds their handlers. rows.cc says which mnemonic each serves.
#pragma once

#include "engine/interpreter/bind.h"

namespace doppel::interpreter {

// move.cc
Binding bind_mov(const x86::Instruction& instruction, Op& op);
Binding bind_movzx(const x86::Instruction& instruction, Op& op);
Binding bind_movsx(const x86::Instruction& instruction, Op& op);
Binding bind_lea(const x86::Instruction& instruction, Op& op);
Binding bind_cmov(const x86::Instruction& instruction, Op& op);
Binding bind_xlat(const x86::Instruction& instruction, Op& op);
Binding bind_bswap(const x86::Instruction& instruction, Op& op);

// arithmetic.cc
Binding bind_add(const x86::Instruction& instruction, Op& op);
Binding bind_adc(const x86::Instruction& instruction, Op& op);
Binding bind_sub(const x86::Instruction& instruction, Op& op);
Binding bind_sbb(const x86::Instruction& instruction, Op& op);
Binding bind_cmp(const x86::Instruction& instruction, Op& op);
Binding bind_inc(const x86::Instruction& instruction, Op& op);
Binding bind_dec(const x86::Instruction& instruction, Op& op);
Binding bind_neg(const x86::Instruction& instruction, Op& op);

// logic.cc
Binding bind_and(const x86::Instruction& instruction, Op& op);
Binding bind_or(const x86::Instruction& instruction, Op& op);
Binding bind_not(const x86::Instruction& instruction, Op& op);
Binding bind_xor(const x86::Instruction& instruction, Op& op);
Binding bind_test(const x86::Instruction& instruction, Op& op);

// multiply.cc
Binding bind_mul(const x86::Instruction& instruction, Op& op);
Binding bind_imul(const x86::Instruction& instruction, Op& op);
Binding bind_div(const x86::Instruction& instruction, Op& op);
Binding bind_idiv(const x86::Instruction& instruction, Op& op);
Binding bind_cbw(const x86::Instruction& instruction, Op& op);
Binding bind_cwde(const x86::Instruction& instruction, Op& op);
Binding bind_cdqe(const x86::Instruction& instruction, Op& op);
Binding bind_cwd(const x86::Instruction& instruction, Op& op);
Binding bind_cdq(const x86::Instruction& instruction, Op& op);
Binding bind_cqo(const x86::Instruction& instruction, Op& op);

// shift.cc
Binding bind_shl(const x86::Instruction& instruction, Op& op);
Binding bind_shr(const x86::Instruction& instruction, Op& op);
Binding bind_sar(const x86::Instruction& instruction, Op& op);
Binding bind_rol(const x86::Instruction& instruction, Op& op);
Binding bind_ror(const x86::Instruction& instruction, Op& op);
Binding bind_rcl(const x86::Instruction& instruction, Op& op);
Binding bind_rcr(const x86::Instruction& instruction, Op& op);
Binding bind_shld(const x86::Instruction& instruction, Op& op);
Binding bind_shrd(const x86::Instruction& instruction, Op& op);

// bits.cc
Binding bind_bt(const x86::Instruction& instruction, Op& op);
Binding bind_bts(const x86::Instruction& instruction, Op& op);
Binding bind_btr(const x86::Instruction& instruction, Op& op);
Binding bind_btc(const x86::Instruction& instruction, Op& op);
Binding bind_bsf(const x86::Instruction& instruction, Op& op);
Binding bind_bsr(const x86::Instruction& instruction, Op& op);
Binding bind_popcnt(const x86::Instruction& instruction, Op& op);
Binding bind_crc32(const x86::Instruction& instruction, Op& op);

// bmi.cc
Binding bind_bmi(const x86::Instruction& instruction, Op& op);
Binding bind_mulx(const x86::Instruction& instruction, Op& op);
Binding bind_rorx(const x86::Instruction& instruction, Op& op);
Binding bind_movbe(const x86::Instruction& instruction, Op& op);

// stack.cc
Binding bind_push(const x86::Instruction& instruction, Op& op);
Binding bind_pop(const x86::Instruction& instruction, Op& op);
Binding bind_pusha(const x86::Instruction& instruction, Op& op);
Binding bind_pushad(const x86::Instruction& instruction, Op& op);
Binding bind_popa(const x86::Instruction& instruction, Op& op);
Binding bind_popad(const x86::Instruction& instruction, Op& op);
Binding bind_enter(const x86::Instruction& instruction, Op& op);
Binding bind_leave(const x86::Instruction& instruction, Op& op);

// branch.cc
Binding bind_jcc(const x86::Instruction& instruction, Op& op);
Binding bind_jcxz(const x86::Instruction& instruction, Op& op);
Binding bind_loop(const x86::Instruction& instruction, Op& op);
Binding bind_loope(const x86::Instruction& instruction, Op& op);
Binding bind_loopne(const x86::Instruction& instruction, Op& op);
Binding bind_jmp(const x86::Instruction& instruction, Op& op);

// call.cc
Binding bind_call(const x86::Instruction& instruction, Op& op);
Binding bind_ret(const x86::Instruction& instruction, Op& op);

// flags.cc
Binding bind_clc(const x86::Instruction& instruction, Op& op);
Binding bind_stc(const x86::Instruction& instruction, Op& op);
Binding bind_cmc(const x86::Instruction& instruction, Op& op);
Binding bind_cld(const x86::Instruction& instruction, Op& op);
Binding bind_std(const x86::Instruction& instruction, Op& op);
Binding bind_lahf(const x86::Instruction& instruction, Op& op);
Binding bind_sahf(const x86::Instruction& instruction, Op& op);
Binding bind_salc(const x86::Instruction& instruction, Op& op);
Binding bind_setcc(const x86::Instruction& instruction, Op& op);

// decimal.cc
Binding bind_daa(const x86::Instruction& instruction, Op& op);
Binding bind_das(const x86::Instruction& instruction, Op& op);
Binding bind_aaa(const x86::Instruction& instruction, Op& op);
Binding bind_aas(const x86::Instruction& instruction, Op& op);
Binding bind_aam(const x86::Instruction& instruction, Op& op);
Binding bind_aad(const x86::Instruction& instruction, Op& op);

// atomic.cc
Binding bind_xchg(const x86::Instruction& instruction, Op& op);
Binding bind_xadd(const x86::Instruction& instruction, Op& op);
Binding bind_cmpxchg(const x86::Instruction& instruction, Op& op);
Binding bind_cmpxchg8b(const x86::Instruction& instruction, Op& op);
Binding bind_cmpxchg16b(const x86::Instruction& instruction, Op& op);

// misc.cc
Binding bind_nop(const x86::Instruction& instruction, Op& op);
Binding bind_pause(const x86::Instruction& instruction, Op& op);
Binding bind_mfence(const x86::Instruction& instruction, Op& op);
Binding bind_load_or_store_fence(const x86::Instruction& instruction, Op& op);
Binding bind_clflush(const x86::Instruction& instruction, Op& op);
Binding bind_random(const x86::Instruction& instruction, Op& op);

}  // namespace doppel::interpreter
