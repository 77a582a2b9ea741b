// Any sequence of register accesses, messages, pins and time against three local APICs wired as on a PC. INTR tells exactly
// whether an acknowledgement yields a vector, the timers' alarms are bounded, and what is saved must load and save the same.
#include "device/interrupt/local_apic.h"

#include "base/check.h"
#include "device/testing/apic_system.h"
#include "device/testing/byte_source.h"

using namespace doppel;

namespace {

constexpr unsigned cpus = 3;

std::vector<u8> save(testing::ApicSystem& system) {
  auto archive = state::Archive::for_saving();
  system.state(archive);
  return archive.take();
}

void reload_and_compare(testing::ApicSystem& system) {
  const std::vector<u8> saved = save(system);
  testing::ApicSystem copy(cpus);
  copy.clock.advance(system.clock.now());
  auto archive = state::Archive::for_loading(saved);
  copy.state(archive);
  CHECK(archive.ok() && save(copy) == saved);
  CHECK(copy.clock.next_deadline() == system.clock.next_deadline());
  for (unsigned i = 0; i < cpus; ++i) CHECK(copy.pins[i].intr == system.pins[i].intr);
}

void access_msr(LocalApic& apic, testing::ByteSource& in) {
  const u64 choice = in.next(1);
  const u32 index = choice == 0xff   ? apic::msr_apic_base
                    : choice == 0xfe ? apic::msr_tsc_deadline
                                     : 0x800 + static_cast<u32>(choice);
  if (!(in.next(1) & 3)) {
    apic.read_msr(index);
  } else if (index == apic::msr_apic_base) {
    apic.write_msr(index, 0xfee0'0000 | (in.next(1) << 8));
  } else {
    apic.write_msr(index, in.next(1) & 1 ? in.next(8) : in.next(4));
  }
}

void pass_time(testing::ApicSystem& system, u64 nanoseconds) {
  const u64 fired = system.clock.fired();
  system.clock.advance(nanoseconds);
  CHECK(system.clock.fired() - fired <= cpus * (nanoseconds / ApicTimer::shortest_period + 2));
}

void perform(testing::ApicSystem& system, u8 action, testing::ByteSource& in) {
  const unsigned cpu = (action >> 4) % cpus;
  LocalApic& apic = *system.apics[cpu];
  switch (action & 0xf) {
    case 0: apic.read(static_cast<u32>(in.next(2) & 0xfff)); break;
    case 1: {
      const bool expected = system.pins[cpu].intr;
      CHECK(apic.acknowledge().has_value() == expected);
      break;
    }
    case 2: apic.write(0xb0, 0); break;
    case 3: apic.set_task_priority(static_cast<u8>(in.next(1) & 0xf)); break;
    case 4: access_msr(apic, in); break;
    case 5: system.fabric.deliver_msi({0xfee0'0000 | in.next(3), static_cast<u32>(in.next(2))}); break;
    case 6: system.io_apic.set_input(static_cast<unsigned>(in.next(1)) % IoApic::inputs, action & 0x80); break;
    case 7: system.io_apic.write({.offset = in.next(1), .bytes = 4}, in.next(4)); break;
    case 8: apic.set_lint(action >> 6 & 1, action & 0x80); break;
    case 9: system.pic.line(static_cast<unsigned>(in.next(1)) & 0xf).set(action & 0x80); break;
    case 10: pass_time(system, in.next(3)); break;
    case 11: apic.tsc_offset_changed(in.next(8)); break;
    case 12: reload_and_compare(system); break;
    case 13: apic.write(0x300 + 0x10 * static_cast<u32>(in.next(1) % 16), static_cast<u32>(in.next(4))); break;
    default: apic.write(static_cast<u32>(in.next(1)) << 4, static_cast<u32>(in.next(4))); break;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
  testing::ByteSource in(data, size);
  testing::ApicSystem system(cpus);
  for (auto& apic : system.apics) {
    apic->write(apic::reg::svr, 0x1ff);
    apic->write(apic::reg::lvt_lint0, 0x700);
  }
  while (!in.empty()) perform(system, static_cast<u8>(in.next(1)), in);
  return 0;
}
