// See factory.h.
#include "machine/factory.h"

#include <fmt/format.h>

#include "base/log.h"
#include "board/pc/pc.h"
#include "engine/interpreter/interpreter.h"
#include "engine/translator/translator.h"

namespace doppel {

Result<std::unique_ptr<Engine>> make_engine(std::string_view name, bool reproducible, const x86::CpuModel& cpu_model) {
  if (name == "interpreter") return make_interpreter({.cpu_model = cpu_model, .repeatable = reproducible});
  if (name == "auto") log::info("engine: translator; hardware virtualization is not used yet");
  if (name == "auto" || name == "translator")
    return make_translator({.cpu_model = cpu_model, .repeatable = reproducible});
  for (const std::string_view planned : {"direct", "kvm"}) {
    if (name == planned)
      return usage_error(fmt::format("--engine: '{}' does not exist yet: use auto, translator or interpreter", name));
  }
  return usage_error(fmt::format("--engine: unknown engine '{}': use auto, translator or interpreter", name));
}

Result<std::unique_ptr<Machine>> make_machine(const MachineSpec& spec) {
  auto engine = TRY(make_engine(spec.engine, spec.clock == ClockMode::instructions, spec.cpu_model));
  return Machine::create(spec, {.engine = std::move(engine), .board = pc::make_board});
}

}  // namespace doppel
