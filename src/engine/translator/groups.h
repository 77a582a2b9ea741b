// Which accesses of a block one TLB probe can answer for.
#pragma once

#include <optional>
#include <span>

#include "engine/translator/step.h"

namespace doppel::translator {

// Which memory an access reaches, but for its displacement: accesses of one place can share a probe.
struct Place {
  u8 base = x86::MemoryOperand::none;
  u8 index = x86::MemoryOperand::none;
  u8 scale = 0;
  x86::Segment segment = x86::ds;
  bool is_stack() const { return base == x86::rsp && index == x86::MemoryOperand::none; }
  bool one_register() const { return base < 16 && index == x86::MemoryOperand::none; }
  bool operator==(const Place&) const = default;
};

struct Access {
  Place place;
  i64 displacement = 0;
  unsigned bytes = 0;
  bool write = false;
};

// A run of steps whose accesses one probe answers for. `low` is where the host address that it gives points, relative to the place.
struct Group {
  unsigned first = 0, last = 0;
  bool overwrites_flags = false;  // the first step does, and touches no memory
  Place place;
  i64 low = 0, high = 0;
  bool write = false;
  unsigned uses = 0;  // by accesses behind it
};

// What the step reads or writes; nothing if it touches no memory. `page_offset`: of the block in its page.
std::optional<Access> access_of(const Step& step, i32 page_offset);

// The register that PUSH or POP names.
unsigned stack_register(const Step& step);

// By how much a step moves a register, if that is a constant.
std::optional<i64> movement(const Step& step, unsigned gpr);

// Whether `place` means something else behind the step; how far its register moves is added to `moved`.
bool changes(const Step& step, const Place& place, i64& moved);

// Whether it is left to the interpreter, or has code of its own that no run of accesses goes on behind.
bool stands_alone(const Step& step);

// Whether it can be one of a group, written with R15 alone.
bool may_be_in_group(const Step& step);

// As many steps as one probe serves, from `first` on, which has an access.
Group find_group(std::span<const Step> steps, unsigned first, i32 page_offset);

}  // namespace doppel::translator
