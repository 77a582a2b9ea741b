#include "engine/translator/block_writer.h"

namespace doppel::translator {

using namespace x86;
namespace reg = Xbyak::util;

namespace {

const RegisterField& destination(const Step& step) { return step.enc.rm.written ? step.enc.rm : step.enc.reg; }

}  // namespace

bool overwrites_flags(const Step& step) {
  return step.enc.flags_written == static_cast<u32>(rflags::status) && step.enc.flags_read == 0 && !step.shift_by_cl;
}

void BlockWriter::save_flags() {
  mov(reg::r15, reg::rax);
  lahf();
  seto(reg::al);
  mov(word[reg::rsp + frame_.at(native().saved_flags)], reg::ax);
  mov(reg::rax, reg::r15);
}

void BlockWriter::restore_flags() {
  mov(reg::r15, reg::rax);
  movzx(reg::eax, word[reg::rsp + frame_.at(native().saved_flags)]);
  add(reg::al, 0x7f);
  sahf();
  mov(reg::rax, reg::r15);
}

void BlockWriter::repeat(int recipe) {
  const Step& step = steps_[static_cast<unsigned>(recipe)];
  switch (step.recipe) {
    case Recipe::none: break;
    case Recipe::repeat: copy(step, std::nullopt); break;
    case Recipe::test: repeat_test(step); break;
    case Recipe::add:
    case Recipe::sub: repeat_sum(step, step.recipe == Recipe::add); break;
  }
}

void BlockWriter::repeat_test(const Step& step) {
  const RegisterField& field = destination(step);
  const unsigned host = in_register(field.number);
  test(sized(host, field.bytes), sized(host, field.bytes));
}

// The result is at hand, what was there before is found by the inverse operation.
void BlockWriter::repeat_sum(const Step& step, bool sum) {
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
      const Xbyak::Address from = field.bytes == 8 ? slot(source.number) : dword[reg::rsp + frame_.gpr(source.number)];
      plus ? add(value, from) : sub(value, from);
    } else {
      const Xbyak::Reg from = sized(host_of(source.number), field.bytes);
      plus ? add(value, from) : sub(value, from);
    }
  };
  apply(!sum);
  apply(sum);
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
  const Encoding& enc = steps_[static_cast<unsigned>(flags_.recipe)].enc;
  if (((enc.gprs_read | enc.gprs_written) & written) == 0) return;
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

void BlockWriter::after(const Step& step, unsigned number) {
  if (step.enc.flags_written == 0) return;
  flags_ = {.in_eflags = true, .saved = false, .recipe = step.recipe == Recipe::none ? -1 : static_cast<int>(number)};
}

}  // namespace doppel::translator
