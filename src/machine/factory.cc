// See factory.h.
#include "machine/factory.h"

#include <fmt/format.h>

#include "base/log.h"
#include "board/pc/pc.h"
#include "engine/interpreter/interpreter.h"
#include "engine/translator/translator.h"

namespace doppel {

Result<std::unique_ptr<Engine>> make_engine(const MachineSpec& spec) {
  const std::string& name = spec.engine;
  const bool repeatable = spec.clock == ClockMode::instructions;
  if (name == "interpreter") return make_interpreter({.cpu_model = spec.cpu_model, .repeatable = repeatable});
  if (name == "auto") log::info("engine: translator; hardware virtualization is not used yet");
  if (name == "auto" || name == "translator")
    return make_translator({.translation_cache_bytes = spec.engine_settings.translation_cache_bytes,
                            .cpu_model = spec.cpu_model,
                            .repeatable = repeatable,
                            .verify = spec.engine_settings.verify,
                            .instruction_counts = spec.engine_settings.profile,
                            .profile = spec.engine_settings.profile,
                            .perf_map = spec.engine_settings.perf_map});
  for (const std::string_view planned : {"direct", "kvm"}) {
    if (name == planned)
      return usage_error(fmt::format("--engine: '{}' does not exist yet: use auto, translator or interpreter", name));
  }
  return usage_error(fmt::format("--engine: unknown engine '{}': use auto, translator or interpreter", name));
}

Result<std::unique_ptr<Machine>> make_machine(const MachineSpec& spec) {
  auto engine = TRY(make_engine(spec));
  return Machine::create(spec, {.engine = std::move(engine), .board = pc::make_board});
}

}  // namespace doppel
