// Runs cases on an engine: a vCPU in user mode with the same address space that the native child has, and no kernel. An exception is taken
// from the engine's trace hook, before its delivery.
#pragma once

#include <memory>
#include <span>

#include "base/result.h"
#include "case.h"
#include "engine/vcpu.h"

namespace doppel::oracle {

class EmulatedCpu {
 public:
  static Result<std::unique_ptr<EmulatedCpu>> create(Engine& engine, std::span<const u8> pool);
  void run(const Case& c, Outcome& outcome);

 private:
  struct Parts;
  explicit EmulatedCpu(std::span<const u8> pool);

  std::span<const u8> pool_;
  std::shared_ptr<Parts> parts_;
};

}  // namespace doppel::oracle
