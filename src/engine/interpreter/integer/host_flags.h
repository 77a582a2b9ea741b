// Flags that the architecture leaves undefined are what the host's processor makes of them: translated code executes these instructions
// as they are, and engines must agree to the last bit. So the instructions execute here, too, and say what they did to the flags.
// Intel's processors write all flags, and AF, which no condition tells, as 0; a division leaves them alone. AMD's leave some as they were
// (host_keeps_flags), and set AF after shifts.
#pragma once

#include "engine/interpreter/flags.h"
#include "isa/x86/host_vendor.h"

namespace doppel::interpreter {

// MUL, IMUL, DIV, BSF, LZCNT and the like leave some undefined flags as they were before.
inline const bool host_keeps_flags = !x86::host_is_intel();

struct HostFlags {
  bool cf = false, pf = false, zf = false, sf = false, of = false;
  u64 image;  // instead of these, if the host keeps some: before and after the instruction

  explicit HostFlags(const LazyFlags& before) : image(host_keeps_flags ? before.pack() : 0) {}

  void put(LazyFlags& flags) const {
    if (host_keeps_flags) return flags.unpack(image);
    flags.result = u64{!zf} << 32;
    flags.adjust = u64{sf} << 63 | u64{!pf};
    flags.set_carries(cf, of, false);
  }
};

#define DOPPEL_OUTPUTS(...) __VA_ARGS__
// Executes `text`, whose operands have names, with outputs given as DOPPEL_OUTPUTS(…) and then its inputs; all are registers.
#define DOPPEL_ON_HOST(flags, text, outputs, ...)                                                      \
  if (host_keeps_flags)                                                                                \
    asm("lea -128(%%rsp), %%rsp\n\tpush %[image]\n\tpopfq\n\t" text                                    \
        "\n\tpushfq\n\tpop %[image]\n\tlea 128(%%rsp), %%rsp"                                          \
        : outputs, [image] "+&r"((flags).image)                                                        \
        : __VA_ARGS__                                                                                  \
        : "cc", "memory");                                                                             \
  else                                                                                                 \
    asm(text                                                                                           \
        : outputs, "=@ccc"((flags).cf), "=@ccp"((flags).pf), "=@ccz"((flags).zf), "=@ccs"((flags).sf), \
          "=@cco"((flags).of)                                                                          \
        : __VA_ARGS__)

}  // namespace doppel::interpreter
