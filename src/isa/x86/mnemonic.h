// The names of operations are Zydis' mnemonics (ZYDIS_MNEMONIC_ADD …); nothing outside isa/ includes Zydis itself.
#pragma once

#include <Zydis/Mnemonic.h>
#include <Zydis/SharedTypes.h>

#include "base/types.h"

namespace doppel::x86 {

using Mnemonic = ZydisMnemonic;

}  // namespace doppel::x86
