#include "engine/interpreter/state.h"

namespace doppel::interpreter {
namespace {

using namespace x86;

void segment(state::Archive& archive, SegmentRegister& reg) {
  archive(reg.base);
  archive(reg.limit);
  archive(reg.selector);
  archive(reg.attributes);
}

void fpu(state::Archive& archive, FpuState& fpu) {
  for (Float80& reg : fpu.registers) {
    archive(reg.significand);
    archive(reg.sign_exponent);
  }
  archive(fpu.control);
  archive(fpu.status);
  archive(fpu.valid);
  archive(fpu.opcode);
  archive(fpu.instruction_pointer);
  archive(fpu.data_pointer);
  archive(fpu.instruction_selector);
  archive(fpu.data_selector);
}

}  // namespace

void save_or_load(state::Archive& archive, X86State& s, PendingEvents& pending) {
  archive.begin("x86-cpu", 1);
  archive(s.gpr);
  archive(s.rip);
  archive(s.rflags);
  for (SegmentRegister& reg : s.segments) segment(archive, reg);
  segment(archive, s.ldtr);
  segment(archive, s.tr);
  for (DescriptorTable* table : {&s.gdtr, &s.idtr}) {
    archive(table->base);
    archive(table->limit);
  }
  for (u64* value : {&s.cr0, &s.cr2, &s.cr3, &s.cr4, &s.efer, &s.xcr0}) archive(*value);
  archive(s.pdptrs);
  archive(s.dr);
  fpu(archive, s.fpu);
  for (VectorRegister& reg : s.vectors) archive(reg.words);
  archive(s.mxcsr);
  for (u64* value :
       {&s.star, &s.lstar, &s.cstar, &s.fmask, &s.kernel_gs_base, &s.sysenter_cs, &s.sysenter_esp, &s.sysenter_eip,
        &s.pat, &s.misc_enable, &s.spec_ctrl, &s.debugctl, &s.xss, &s.tsc_adjust, &s.tsc_offset})
    archive(*value);
  archive(s.tsc_aux);
  archive(s.mtrr_fixed);
  archive(s.mtrr_variable);
  archive(s.mtrr_default);
  archive(s.activity);
  archive.require(s.activity <= Activity::shutdown, "the activity of a processor");
  archive(s.sti_shadow);
  archive(s.mov_ss_shadow);
  archive(s.nmi_blocked);
  archive(s.instruction_count);
  archive(pending.events);
  archive(pending.sipi_vector);
  archive(pending.pending_debug);
  archive.end();
}

}  // namespace doppel::interpreter
