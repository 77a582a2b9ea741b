#include "engine/translator/x87_unit.h"

#include <cpuid.h>

#include <cstring>

#include "engine/interpreter/x87/save_area.h"

namespace doppel::translator {

using interpreter::Cpu;
using interpreter::Fpu;
using interpreter::SaveArea;

static_assert(sizeof(SaveArea) == sizeof(interpreter::NativeState::x87_image));

namespace {

// XSAVE, enabled by the system.
bool host_saves() {
  static const bool saves = [] {
    u32 eax, ebx, ecx, edx;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_OSXSAVE);
  }();
  return saves;
}

}  // namespace

bool x87_allowed(const Cpu& cpu) {
  return !(cpu.s.cr0 & (x86::cr0::em | x86::cr0::ts)) &&
         (cpu.s.fpu.control & interpreter::fcw::masks) == interpreter::fcw::masks && host_saves();
}

void prepare_x87(Cpu& cpu) {
  interpreter::NativeState& native = cpu.native;
  auto& image = *reinterpret_cast<SaveArea*>(native.x87_image.data());
  put_x87(cpu, image, true);
  image.opcode = 0;
  image.instruction_pointer = image.data_pointer = 0;
  image.xstate_bv = 1;
  native.x87_page = native.code_page;
  native.x87_offset = -1;
  native.x87_prepared = 1;
}

bool collect_x87(Cpu& cpu) {
  interpreter::NativeState& native = cpu.native;
  native.x87_prepared = 0;
  if (!native.x87_loaded) return false;
  native.x87_loaded = 0;
  const auto& image = *reinterpret_cast<const SaveArea*>(native.x87_image.data());
  Fpu& f = cpu.s.fpu;
  f.control = image.control;
  f.status = image.status;
  f.valid = image.valid;
  for (unsigned i = 0; i < 8; ++i) interpreter::st(f, i) = {image.st[i].low, static_cast<u16>(image.st[i].high)};
  if (native.x87_offset < 0) return true;
  f.instruction_pointer = native.x87_page + static_cast<u64>(native.x87_offset);
  f.instruction_selector = cpu.s.segments[x86::cs].selector;
  return true;
}

}  // namespace doppel::translator
