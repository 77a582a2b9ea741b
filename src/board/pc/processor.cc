// See processor.h.
#include "board/pc/processor.h"

#include "board/pc/layout.h"

namespace doppel::pc {

Processor::Processor(unsigned index, CpuPins& pins, Clock& clock, InterruptBus& bus, InterruptAcknowledge& external)
    : pins_(pins),
      apic_(index, physical_address_bits, {.clock = clock, .bus = bus, .pins = *this, .external = external}) {}

}  // namespace doppel::pc
