// The registers of the 16550A (PC16550D datasheet, table 2).
#pragma once

#include "base/bits.h"

namespace doppel::uart16550 {

namespace ier {
using ReceivedData = Bits<0>;
using TransmitterHoldingEmpty = Bits<1>;
using LineStatus = Bits<2>;
using ModemStatus = Bits<3>;
constexpr u8 writable = 0x0f;
}  // namespace ier

namespace iir {
constexpr u8 modem_status = 0x0, none = 0x1, transmitter_holding_empty = 0x2, received_data = 0x4, line_status = 0x6,
             character_timeout = 0xc;
constexpr u8 fifos_enabled = 0xc0;
}  // namespace iir

namespace fcr {
using Enable = Bits<0>;
using ClearReceiver = Bits<1>;
using ClearTransmitter = Bits<2>;
using Trigger = Bits<6, 2>;  // 1, 4, 8 or 14 bytes
constexpr u8 kept = 0xc9;
}  // namespace fcr

namespace lcr {
using Break = Bits<6>;
using DivisorAccess = Bits<7>;
}  // namespace lcr

namespace mcr {
using TerminalReady = Bits<0>;
using RequestToSend = Bits<1>;
using Out1 = Bits<2>;
using Out2 = Bits<3>;
using Loop = Bits<4>;
constexpr u8 writable = 0x1f;
}  // namespace mcr

namespace lsr {
using DataReady = Bits<0>;
using OverrunError = Bits<1>;
using FramingError = Bits<3>;
using BreakInterrupt = Bits<4>;
using TransmitterHoldingEmpty = Bits<5>;
using TransmitterEmpty = Bits<6>;
using FifoError = Bits<7>;
constexpr u8 errors = 0x1c;  // what a character in the FIFO carries: parity, framing, break
}  // namespace lsr

namespace msr {
using TrailingRing = Bits<2>;
using ClearToSend = Bits<4>;
using DataSetReady = Bits<5>;
using RingIndicator = Bits<6>;
using CarrierDetect = Bits<7>;
constexpr u8 deltas = 0x0f, lines = 0xf0;
// A terminal is always there and listens.
constexpr u8 connected = ClearToSend::mask | DataSetReady::mask | CarrierDetect::mask;
}  // namespace msr

}  // namespace doppel::uart16550
