#include "engine/translator/block_writer.h"

namespace doppel::translator {

using namespace x86;
namespace reg = Xbyak::util;

namespace {

u32 bits_of(const RegisterField& field) { return field.kind == FieldKind::gpr ? bit_of(field.number) : 0; }

// What must not change while the recipe is to be good.
u32 recipe_registers(const Step& step) {
  switch (step.recipe) {
    case Recipe::none:
    case Recipe::shift:
    case Recipe::test_of_memory: return 0;
    case Recipe::repeat: return step.enc.gprs_read;
    case Recipe::test: return bits_of(step.has_memory() ? step.enc.reg : step.destination());
    case Recipe::negate: return bits_of(step.destination());
    case Recipe::add:
    case Recipe::sub: return bits_of(step.destination()) | bits_of(step.source());
    case Recipe::compare_memory:
    case Recipe::add_memory:
    case Recipe::sub_memory:
    case Recipe::add_of_memory:
    case Recipe::sub_of_memory: return bits_of(step.enc.reg);
  }
  return 0;
}

}  // namespace

bool overwrites_flags(const Step& step) {
  return step.enc.flags_written == static_cast<u32>(rflags::status) && step.enc.flags_read == 0 && !step.shift_by_cl;
}

// As FlagImage says; EFLAGS are still as they were. Without PUSHFQ, R15 is not.
void BlockWriter::save_flags() {
  if (to_.pushes_flags) {
    pushfq();
    lea(reg::rsp, ptr[reg::rsp + 8]);
    return;
  }
  mov(reg::r15, reg::rax);
  lahf();
  seto(reg::al);
  mov(word[reg::rsp + frame_.at(cpu_.saved_flags)], reg::ax);
  mov(reg::rax, reg::r15);
}

void BlockWriter::restore_flags() {
  mov(reg::r15, reg::rax);
  movzx(reg::eax, word[reg::rsp + frame_.at(cpu_.saved_flags)]);
  if (to_.pushes_flags) {
    rol(reg::ax, 8);
    add(reg::al, 0x78);  // overflows with bit 11 of the flags, whatever is beside it
  } else {
    add(reg::al, 0x7f);  // with bit 0
  }
  sahf();
  mov(reg::rax, reg::r15);
}

void BlockWriter::repeat(int recipe) {
  const Step& step = steps_[static_cast<unsigned>(recipe)];
  const auto kept = qword[reg::rsp + frame_.at(native().kept)];
  const bool memory = step.has_memory();
  const unsigned bytes = memory ? step.enc.memory_bytes : step.destination().bytes;
  const Xbyak::Reg value = sized(scratch2, static_cast<int>(bytes));
  switch (step.recipe) {
    case Recipe::none: break;
    case Recipe::repeat: copy(step, std::nullopt); break;
    case Recipe::compare_memory: copy(step, HostMemory{host_rsp, frame_.at(native().kept)}); break;
    case Recipe::test: repeat_test(memory ? step.enc.reg : step.destination()); break;
    case Recipe::test_of_memory:
      mov(reg::r15, kept);
      test(value, value);
      break;
    case Recipe::negate:
      load_result(step.destination());
      neg(value);
      neg(value);
      break;
    case Recipe::add:
    case Recipe::sub:
      load_result(step.destination());
      repeat_sum(step, step.source(), bytes, step.recipe == Recipe::add);
      break;
    case Recipe::add_memory:
    case Recipe::sub_memory:
      load_result(step.enc.reg);
      repeat_sum(step, step.enc.rm, bytes, step.recipe == Recipe::add_memory);
      break;
    case Recipe::add_of_memory:
    case Recipe::sub_of_memory:
      mov(reg::r15, kept);
      repeat_sum(step, step.enc.reg, bytes, step.recipe == Recipe::add_of_memory);
      break;
    case Recipe::shift:
      mov(reg::r15, kept);
      repeat_shift(step, value);
      break;
  }
}

void BlockWriter::load_result(const RegisterField& field) {
  if (is_slot(field.number))
    mov(reg::r15, slot(field.number));
  else
    mov(reg::r15, Xbyak::Reg64(static_cast<int>(host_of(field.number))));
}

void BlockWriter::repeat_test(const RegisterField& field) {
  const unsigned host = in_register(field.number);
  test(sized(host, field.bytes), sized(host, field.bytes));
}

// R15 is the result; what was there before is found by the inverse operation. `source` in memory is what was kept.
void BlockWriter::repeat_sum(const Step& step, const RegisterField& source, unsigned bytes, bool sum) {
  const auto width = static_cast<int>(bytes);
  const Xbyak::Reg value = sized(scratch2, width);
  const auto in_memory = [&](i32 at) {
    const auto from = reg::rsp + at;
    return width == 8 ? qword[from] : width == 4 ? dword[from] : width == 2 ? word[from] : byte[from];
  };
  const auto apply = [&](bool plus) {
    if (source.kind == FieldKind::none) {
      const u64 immediate = step.in.immediate;
      const auto constant = static_cast<u32>(width == 2 ? static_cast<u64>(static_cast<i16>(immediate)) : immediate);
      plus ? add(value, constant) : sub(value, constant);
    } else if (source.kind == FieldKind::memory || is_slot(source.number)) {
      const auto from = in_memory(source.kind == FieldKind::memory ? frame_.at(native().kept)
                                                                   : frame_.gpr(source.number));
      plus ? add(value, from) : sub(value, from);
    } else {
      const Xbyak::Reg from = sized(host_of(source.number), width);
      plus ? add(value, from) : sub(value, from);
    }
  };
  apply(!sum);
  apply(sum);
}

void BlockWriter::repeat_shift(const Step& step, const Xbyak::Reg& value) {
  const int count = step.enc.immediate_count ? step.enc.immediate[0] : 1;
  if (step.in.mnemonic == ZYDIS_MNEMONIC_SHL)
    shl(value, count);
  else if (step.in.mnemonic == ZYDIS_MNEMONIC_SHR)
    shr(value, count);
  else
    sar(value, count);
}

void BlockWriter::ensure_eflags() {
  if (flags_.in_eflags) return;
  if (flags_.recipe >= 0)
    repeat(flags_.recipe);
  else
    restore_flags();
  flags_.in_eflags = true;
}

void BlockWriter::ensure_saved() {
  if (flags_.saved) return;
  ensure_eflags();
  save_flags();
  flags_.saved = true;
}

// Before code that changes EFLAGS.
void BlockWriter::clobber() {
  if (!flags_.saved && flags_.recipe < 0) ensure_saved();
  flags_.in_eflags = false;
}

// Before registers of its operands change.
void BlockWriter::forget_recipe(u32 written) {
  if (flags_.recipe < 0) return;
  if ((recipe_registers(steps_[static_cast<unsigned>(flags_.recipe)]) & written) == 0) return;
  if (!flags_.in_eflags && !flags_.saved) ensure_eflags();
  flags_.recipe = -1;
}

// Before a step that is not outlined changes registers and flags. `may_fault`: the flags before it could be looked at; DIV, which may,
// leaves them undefined, and so perhaps as they were.
void BlockWriter::before(const Step& step, u32 written, bool may_fault) {
  if (overwrites_flags(step) && !may_fault) {
    flags_ = {.in_eflags = true};
    return;
  }
  if (step.enc.flags_read != 0 || step.enc.flags_written != 0) ensure_eflags();
  forget_recipe(written);
}

// `kept`: the step left in NativeState::kept what its recipe needs.
void BlockWriter::after(const Step& step, unsigned number, bool kept) {
  if (step.enc.flags_written == 0) return;
  const bool known = step.recipe != Recipe::none && (kept || !keeps(step.recipe));
  flags_ = {.in_eflags = true, .saved = false, .recipe = known ? static_cast<int>(number) : -1};
}

// Whether the flags that the step leaves are still there when code of ours needs EFLAGS: a value is kept for them then.
bool BlockWriter::flags_last(unsigned number) const {
  for (unsigned i = number + 1; i < steps_.size(); ++i) {
    const Step& step = steps_[i];
    if (step.kind == StepKind::outline || (step.touches_memory() && i > group_last_)) return true;
    if (overwrites_flags(step) && !step.traps) return false;
  }
  return true;
}

// Whether steps that change these registers, and flags only if they overwrite all, need no scratch register for the flags before them.
bool BlockWriter::leaves_recipe(u32 written) const {
  return flags_.saved || flags_.recipe < 0 ||
         (recipe_registers(steps_[static_cast<unsigned>(flags_.recipe)]) & written) == 0;
}

// A copied step with a memory operand, by way of R15, so that its flags can be computed again.
void BlockWriter::copy_keeping(const Step& step, i32 at) {
  const unsigned bytes = step.enc.memory_bytes;
  const auto kept = qword[reg::rsp + frame_.at(native().kept)];
  load_extended(host_memory() + at, bytes);
  if (!step.enc.rm.written) mov(kept, reg::r15);
  copy_with(step, scratch2);
  if (!step.enc.rm.written) return;
  const Xbyak::Reg result = sized(scratch2, static_cast<int>(bytes));
  const auto to = reg::r14 + at;
  mov(bytes == 8 ? qword[to] : bytes == 4 ? dword[to] : bytes == 2 ? word[to] : byte[to], result);
  mov(kept, reg::r15);
}

}  // namespace doppel::translator
