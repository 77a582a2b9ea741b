// The keyboard controller as Linux's i8042, atkbd and psmouse drivers probe it.
#include "device/input/i8042.h"

#include "device/testing/port_script.h"

namespace doppel {
namespace {

class I8042Rig : public testing::ScriptRig {
 public:
  I8042Rig() {
    attach(i8042);
    map(0x60, 1, i8042.data_port());
    map(0x64, 1, i8042.command_port());
  }
  // key CODES: scan codes as one hexadecimal number. read N: so many bytes from the data port, with their status.
  bool command(std::string_view name, std::string_view rest) override {
    if (name == "key") {
      std::vector<u8> codes;
      for (; rest.size() >= 2; rest.remove_prefix(2))
        codes.push_back(static_cast<u8>(testing::parse_number(rest.substr(0, 2), 16)));
      if (!i8042.type(codes)) say("dropped");
    } else if (name == "read") {
      for (u64 i = testing::parse_number(rest, 10); i > 0; --i) {
        const u64 status = bus.read(0x64, 1);
        const char* source = (status & 1) == 0 ? "-" : (status & 0x20) != 0 ? "a" : "k";
        say(source + fmt::format("{:02x}", bus.read(0x60, 1)));
      }
    } else {
      return false;
    }
    return true;
  }
  I8042 i8042{line("irq1"), line("irq12"), [this] { say("reset"); }};
};

constexpr auto check = testing::check_script<I8042Rig>;

TEST(I8042, Controller) {
  check("in 64; out 64,20; in 64; read 2; in 64", "14 +irq1 1d -irq1 k65 -65 1c");
  check("out 64,60; out 60,44; out 64,aa; read 1; out 64,ab; read 1; out 64,a9; read 1; out 64,20; read 1",
        "k55 k00 k00 k44");
  check("out 64,60; out 60,40; in 64; out 64,aa; in 64", "10 1d");
  // The auxiliary port can be switched off and on (the driver's test of a real one).
  check("out 64,60; out 60,44; out 64,a8; out 64,20; read 1; out 64,a7; out 64,20; read 1", "k44 k64");
  check("out 64,ad; out 64,20; read 1; out 64,ae; out 64,20; read 1", "+irq1 -irq1 k75 +irq1 -irq1 k65");
  check("out 64,7f; out 60,77; out 64,3f; read 1; out 64,c0; read 1; out 64,a4; read 1; out 64,0; read 1",
        "+irq1 -irq1 k77 +irq1 -irq1 k80 +irq1 -irq1 kf1 -f1");
}

TEST(I8042, Loop) {
  // What is put into the auxiliary buffer comes with IRQ 12: how the driver tests the interrupt.
  check("out 64,60; out 60,47; out 64,d3; out 60,5a; in 64; read 1; out 64,d2; out 60,1c; read 1",
        "+irq12 35 -irq12 a5a +irq1 -irq1 k1c");
}

TEST(I8042, ResetAndA20) {
  check("out 64,fe; out 64,ff; out 64,d1; out 60,3; out 64,d1; out 60,2", "reset reset");
  check(
      "out 64,60; out 60,44; out 64,d0; read 1; out 64,dd; out 64,d0; read 1; out 64,d1; out 60,df; out 64,d0; read 1",
      "k03 k01 k03");
}

TEST(I8042, Keyboard) {
  check("out 64,60; out 60,44; out 60,ff; read 3; out 60,f2; read 3; out 60,ed; read 1; out 60,7; read 2",
        "kfa kaa -aa kfa kab k41 kfa kfa -fa");
  check(
      "out 64,60; out 60,4; out 60,f0; read 1; out 60,0; read 2; out 60,ee; read 1; out 60,fe; read 1; out 60,ea; read "
      "1",
      "kfa kfa k02 kee kee kfe");
  check(
      "out 64,60; out 60,4; out 60,f3; read 1; out 60,20; read 1; out 60,f5; read 1; key 1c; out 60,f4; read 1; key "
      "1c; read 2",
      "kfa kfa kfa dropped kfa k1c -1c");
  // A new command interrupts an old one.
  check("out 64,60; out 60,4; out 60,ed; read 1; out 60,f4; read 1; out 60,2; read 1", "kfa kfa kfe");
}

TEST(I8042, Keys) {
  // A, Enter, the right arrow: pressed and released, translated to set 1; every byte with an edge of its own.
  check("key 1cf01c; read 3", "+irq1 -irq1 +irq1 k1e -irq1 k9e -9e");
  check("key e074e0f074; in 60; in 60; in 60; in 60; in 64",
        "+irq1 -irq1 +irq1 e0 -irq1 +irq1 4d -irq1 +irq1 e0 -irq1 cd 14");
  check("out 64,60; out 60,4; key 5af05a; read 4", "k5a kf0 k5a -5a");                  // set 2
  check("out 64,60; out 60,50; key 1c; in 64; out 64,ae; in 64; read 1", "10 19 k1e");  // the clock held
  check("key 0102030405060708; key 0102030405060708; key 01; read 18",
        "+irq1 -irq1 +irq1 k43 -irq1 +irq1 k41 -irq1 +irq1 k3f -irq1 +irq1 k3d -irq1 +irq1 k3b -irq1 +irq1 k3c -irq1 "
        "+irq1 k58 -irq1 +irq1 "
        "k64 -irq1 +irq1 k43 -irq1 +irq1 k41 -irq1 +irq1 k3f -irq1 +irq1 k3d -irq1 +irq1 k3b -irq1 +irq1 k3c -irq1 "
        "+irq1 k58 -irq1 +irq1 "
        "k64 -irq1 k43 -43");
}

TEST(I8042, Mouse) {
  check(
      "out 64,60; out 60,44; out 64,d4; out 60,ff; read 4; out 64,d4; out 60,f2; read 2; out 64,d4; out 60,e9; read 4",
      "afa aaa a00 -00 afa a00 afa a00 a02 a64");
  check(
      "out 64,60; out 60,44; out 64,d4; out 60,f3; read 1; out 64,d4; out 60,c8; read 1; out 64,d4; out 60,f4; read 1; "
      "out 64,d4; out 60,e9; read 4",
      "afa afa afa afa a20 a02 ac8");
  check("out 64,60; out 60,44; out 64,d4; out 60,e1; read 1; out 64,d4; out 60,eb; read 5", "afe afa a08 a00 a00 -00");
  check(
      "out 64,60; out 60,44; out 64,d4; out 60,ee; read 1; out 64,d4; out 60,f4; read 1; out 64,d4; out 60,ec; read 1",
      "afa af4 afa");
}

}  // namespace
}  // namespace doppel
