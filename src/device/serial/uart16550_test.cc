// The 16550A's registers, FIFOs and interrupts as Linux's 8250 driver probes and uses them, and the host's end.
#include "device/serial/uart16550.h"

#include <thread>

#include "device/testing/port_script.h"

namespace doppel {
namespace {

class UartRig : public testing::ScriptRig {
 public:
  UartRig() {
    uart.connect([this](std::span<const u8> bytes) { return show(bytes); }, [this] { say("wanted"); });
    attach(uart);
    map(0x3f8, Uart16550::port_count, uart);
  }
  // What the host's terminal takes, and how much of it.
  std::size_t show(std::span<const u8> bytes) {
    const std::size_t taken = std::min(bytes.size(), terminal_room);
    const std::string text(bytes.begin(), bytes.begin() + static_cast<long>(taken));
    shown += text;
    say("'" + text + "'");
    return taken;
  }
  // rx TEXT: the host types; says how many were taken. print TEXT: the guest writes.
  bool command(std::string_view name, std::string_view rest) override {
    const std::span bytes(reinterpret_cast<const u8*>(rest.data()), rest.size());
    if (name == "rx") {
      say(fmt::format("rx{}", uart.receive(bytes)));
    } else if (name == "break") {
      uart.receive_break();
    } else if (name == "print") {
      for (const u8 byte : bytes) bus.write(0x3f8, 1, byte);
    } else {
      return false;
    }
    return true;
  }
  std::string shown;
  std::size_t terminal_room = ~std::size_t{0};
  Uart16550 uart{"serial0", clock, line("irq4")};
};

constexpr auto check = testing::check_script<UartRig>;

TEST(Uart16550, Probe) {
  // IER keeps four bits, SCR all; no EFR, no 64-byte FIFO.
  check("out 3f9,0; in 3f9; out 3f9,f; in 3f9; out 3f9,ff; in 3f9; out 3ff,a5; in 3ff", "0 +irq4 f f a5");
  check("in 3fa; out 3fa,1; in 3fa; out 3fa,21; in 3fa; out 3fb,bf; in 3fa; out 3fb,0; out 3fa,0; in 3fa",
        "1 c1 c1 c1 1");
  // The loopback probe: RTS and OUT2 come back as CTS and DCD.
  check("in 3fe; out 3fc,1a; in 3fe; out 3fc,8; in 3fe; in 3fe", "b0 92 b2 b0");
  check("out 3fc,ff; in 3fc; out 3fc,10; in 3fe; out 3fc,1f; in 3fe; out 3fc,1b; in 3fe; out 3fc,0", "1f f fb b4");
  // The divisor latch, bytewise and as a word.
  check("out 3fb,83; outw 3f8,1; inw 3f8; out 3f9,12; out 3fb,3; out 3f9,5; out 3fb,83; in 3f8; in 3f9; in 3fb",
        "1 1 12 83");
}

TEST(Uart16550, TransmitterInterrupt) {
  // The driver's test: enabling the interrupt while THR is empty raises it, each time.
  check("out 3f9,2; in 3fa; in 3fa; out 3f9,0; out 3f9,2; in 3fa; out 3f9,0; in 3fd",
        "+irq4 -irq4 2 1 +irq4 -irq4 2 60");
  // Writing a byte makes room for the next at once.
  check("out 3f9,2; in 3fa; print a; in 3fa; ms 1; in 3fa", "+irq4 -irq4 2 +irq4 -irq4 2 'a' | 1");
  // A cause of higher priority does not take it back.
  check("out 3f9,3; rx x; in 3fa; in 3f8; in 3fa; in 3fa", "+irq4 rx1 4 78 -irq4 2 1");
}

TEST(Uart16550, Output) { check("print Hello; us 999; us 1; print again; ms 1", "| 'Hello' | 'again' |"); }

TEST(Uart16550, Input) {
  // Below the trigger level the timeout comes at once.
  check(
      "out 3fa,41; out 3f9,1; rx abc; in 3fa; rx d; in 3fa; in 3fd; in 3f8; in 3fa; in 3f8; in 3f8; in 3f8; in 3fa; in "
      "3fd; in 3f8",
      "+irq4 rx3 cc rx1 c4 61 61 cc 62 63 -irq4 64 c1 60 64");
  // Back-pressure: 16 bytes, or one without FIFOs.
  check("rx ab; in 3f8; in 3f8", "rx1 wanted 61 61");
  check("out 3fa,1; rx 0123456789abcdefXYZ; in 3f8; in 3f8; rx XYZ; out 3fa,3; in 3fd",
        "rx16 wanted 30 31 rx2 wanted 60");
  check("out 3fc,10; rx a; out 3fc,0; rx a", "rx0 wanted rx1");  // nobody listens in loopback
}

TEST(Uart16550, LineErrors) {
  // A break is a character with its error, which shows when it is at the top.
  check("out 3fa,1; out 3f9,5; rx a; break; in 3fd; in 3f8; in 3fa; in 3fd; in 3fa; in 3fd; in 3f8; in 3fd",
        "+irq4 rx1 e1 61 c6 f9 c4 61 -irq4 0 60");
  // Loopback: characters and breaks come back; a full FIFO is an overrun and keeps what it has.
  check("out 3fb,3; out 3fc,10; print A; in 3fd; in 3f8; out 3fb,43; in 3fd; in 3f8; ms 2", "61 41 79 0 |");
  check("out 3fb,3; out 3fa,1; out 3fc,10; print 0123456789abcdefg; in 3fd; in 3fd; in 3f8", "63 61 30");
  check("out 3fb,3; out 3fc,10; print ab; in 3fd; in 3f8; in 3fd", "63 62 60");
}

TEST(Uart16550, ModemInterrupt) {
  check("out 3f9,8; out 3fc,10; in 3fa; in 3fe; in 3fa; out 3fc,14; in 3fe; out 3fc,10; in 3fe",
        "+irq4 0 -irq4 b 1 40 +irq4 -irq4 4");
}

// A terminal that stalls: THRE is withheld, nothing is lost, the interrupt comes back when it has caught up.
TEST(Uart16550, FlowControl) {
  UartRig rig;
  rig.terminal_room = 0;
  std::string written;
  const auto print = [&](std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      written += static_cast<char>('a' + written.size() % 26);
      rig.bus.write(0x3f8, 1, static_cast<u8>(written.back()));
    }
  };
  const auto ready = [&] { return (rig.bus.read(0x3fd, 1) & 0x60) == 0x60; };
  rig.bus.write(0x3f9, 1, 2);
  rig.bus.write(0x3fb, 1, 3);
  print(Uart16550::congested_bytes - 1);
  EXPECT_TRUE(ready());
  print(1);
  EXPECT_FALSE(ready());
  EXPECT_EQ(rig.bus.read(0x3fa, 1), 1u);
  print(1000);  // against THRE
  rig.clock.advance(1'000'000'000);
  EXPECT_LE(rig.clock.fired(), 2u);  // a sink that is full is left alone
  EXPECT_EQ(rig.clock.armed(), 0u);
  rig.terminal_room = 2000;
  rig.uart.flush();
  EXPECT_TRUE(ready());
  EXPECT_EQ(rig.bus.read(0x3fa, 1), 2u);
  UartRig loaded;  // what is not shown yet travels with the state
  loaded.load_from(rig);
  loaded.uart.flush();
  EXPECT_TRUE(rig.shown + loaded.shown == written)
      << rig.shown.size() << "+" << loaded.shown.size() << " of " << written.size();
}

// A clock for threads: it stands still, and its alarms never fire.
struct StandingClock final : Clock {
  struct Silent final : Alarm {
    void set(Nanoseconds) override {}
    void cancel() override {}
  };
  Nanoseconds now() override { return 0; }
  std::unique_ptr<Alarm> make_alarm(std::function<void()>) override { return std::make_unique<Silent>(); }
};

// A guest that waits for THRE on one thread, a terminal that takes a little at a time on another.
TEST(Uart16550, GuestAndTerminalOnTheirOwnThreads) {
  constexpr u32 total = 300'000;
  StandingClock clock;
  Uart16550 uart("serial0", clock, IrqLine([](bool) {}));
  u32 taken = 0, wrong = 0, typed = 0;
  uart.connect(
      [&](std::span<const u8> bytes) {
        const std::size_t some = std::min<std::size_t>(bytes.size(), 5000);
        for (const u8 byte : bytes.first(some)) wrong += byte != static_cast<u8>(taken++ * 7 % 251);
        return some;
      },
      [] {});
  u32 heard = 0;
  std::jthread guest([&] {
    for (u32 i = 0; i < total; ++i) {
      u64 status;
      while (((status = uart.read({5, 1})) & 0x20) == 0) std::this_thread::yield();
      if ((status & 1) != 0) heard += uart.read({0, 1}) == heard % 256;
      uart.write({0, 1}, i * 7 % 251);
    }
  });
  while (taken < total) {
    uart.flush();
    const u8 key = static_cast<u8>(typed);
    typed += static_cast<u32>(uart.receive({&key, 1}));
  }
  guest.join();
  while (uart.can_receive() == 0) heard += uart.read({0, 1}) == heard % 256;
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(typed, 0u);
  EXPECT_EQ(heard, typed);
}

TEST(Uart16550, OutputIsBounded) {
  UartRig rig;
  rig.terminal_room = 0;
  for (std::size_t i = 0; i < 2 * Uart16550::output_bytes; ++i) rig.bus.write(0x3f8, 1, 'x');
  EXPECT_LE(rig.save().size(), Uart16550::output_bytes + 1000);
}

}  // namespace
}  // namespace doppel
