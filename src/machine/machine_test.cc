// Life cycle, time and requests, with a fake engine and board, under both clocks.
#include "machine/machine.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

#include "machine/testing/fake_machine.h"

namespace doppel {
namespace {

MachineSpec spec(ClockMode clock, unsigned cpus = 1) {
  MachineSpec result;
  result.clock = clock;
  result.board.cpus = cpus;
  return result;
}
constexpr auto host = ClockMode::host;
constexpr auto instructions = ClockMode::instructions;

void check_outcome(FakeMachine& fake, int exit_code, const std::string& message, const std::string& log) {
  const auto outcome = fake.machine->run();
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_EQ(outcome->exit_code, exit_code);
  EXPECT_EQ(outcome->message, message);
  EXPECT_EQ(fake.board->log, log);
}

class BothClocks : public testing::TestWithParam<ClockMode> {};
INSTANTIATE_TEST_SUITE_P(Machine, BothClocks, testing::Values(host, instructions),
                         [](const auto& test) { return test.param == host ? "host" : "instructions"; });

TEST_P(BothClocks, PowerOff) {
  FakeMachine* self = nullptr;
  FakeMachine fake(spec(GetParam()), [&](FakeVcpu&, u64 count) {
    if (count == 100) self->board->press_power_button();
  });
  self = &fake;
  check_outcome(fake, 0, "", "reset configure boot pause ");
  // The request reached the vCPU before its next instruction.
  EXPECT_EQ(fake.machine->total_instructions(), 101u);
}

TEST_P(BothClocks, ResetBootsAgain) {
  FakeMachine* self = nullptr;
  FakeMachine fake(spec(GetParam(), 2), [&](FakeVcpu& vcpu, u64 count) {
    if (vcpu.index != 1) return;
    if (count == 100) self->board->context.control.request_reset();
    if (count == 200) self->board->context.control.request_exit(7);
  });
  self = &fake;
  check_outcome(fake, 7, "", "reset configure boot pause reset configure boot resume pause ");
}

TEST_P(BothClocks, NoReboot) {
  FakeMachine* self = nullptr;
  MachineSpec once = spec(GetParam());
  once.no_reboot = true;
  FakeMachine fake(once, [&](FakeVcpu&, u64) { self->board->context.control.request_reset(); });
  self = &fake;
  check_outcome(fake, 0, "", "reset configure boot pause ");
}

TEST_P(BothClocks, TripleFault) {
  FakeMachine fake(spec(GetParam()), [](FakeVcpu& vcpu, u64 count) { vcpu.triple_fault = count == 5; });
  check_outcome(fake, 1, "the guest stopped: triple fault on CPU 0 at 0x1234", "reset configure boot pause ");
}

TEST_P(BothClocks, AnAlarmWakesAHaltedVcpu) {
  FakeMachine* self = nullptr;
  FakeMachine fake(
      spec(GetParam(), 2),
      [&](FakeVcpu& vcpu, u64 count) {
        if (vcpu.index == 0) {
          vcpu.halt = true;
        } else if (vcpu.interrupts_taken == 3) {
          self->board->context.control.request_exit(static_cast<int>(count));
        } else {
          vcpu.halt = true;
          self->board->set(vcpu.clock.now() + 1'000'000);
        }
      },
      [](FakeBoard& board) { board.context.cpus[1]->set_interrupt_request(true); });
  self = &fake;
  const auto outcome = fake.machine->run();
  EXPECT_EQ(outcome->exit_code, 3);
}

TEST_P(BothClocks, TheHostStopsAnIdleMachine) {
  FakeMachine fake(spec(GetParam()), [](FakeVcpu& vcpu, u64) { vcpu.halt = true; });
  std::thread stopper([&] {
    ::usleep(2000);
    fake.machine->loop().post([&] { fake.machine->request_stop({3, "enough"}); });
  });
  check_outcome(fake, 3, "enough", "reset configure boot pause ");
  stopper.join();
}

TEST(InstructionClockMachine, TimeIsInstructionsAndSkipsIdling) {
  FakeMachine* self = nullptr;
  FakeMachine fake(
      spec(instructions, 2),
      [&](FakeVcpu& vcpu, u64 count) {
        FakeBoard& board = *self->board;
        if (vcpu.index == 0) {
          // now() counts instructions that are complete, this one among them.
          if (count == 99) {
            EXPECT_EQ(vcpu.clock.now(), 100u);
            board.set(500);  // in this turn, exactly
          } else if (count == 999) {
            board.set(10);  // long past: least_delay after the instruction that set it
          } else if (count == 9'998) {
            board.set(10'050);  // in the other CPU's turn
            vcpu.halt = true;
          }
        } else if (count == 1000) {
          board.set(5'000'000);
          vcpu.halt = true;
        }
      },
      [](FakeBoard& board) {
        if (board.context.clock.now() >= 5'000'000) board.context.control.request_power_off();
      });
  self = &fake;
  check_outcome(fake, 0, "", "reset configure boot alarm@500 alarm@1128 alarm@10127 alarm@5000000 pause ");
  EXPECT_EQ(fake.machine->total_instructions(), 9'999u + 1'001u);
}

// A program whose every step depends on time, on the other CPU's progress and on alarms; ends with a hash of it all.
struct Busy {
  FakeMachine* self = nullptr;
  std::array<u64, 3> last{};
  Program program() {
    return [this](FakeVcpu& vcpu, u64 count) {
      u64& hash = vcpu.state_.gpr[0];
      hash = hash * 31 + vcpu.clock.now();
      last[vcpu.index] = hash;
      if (hash % 1009 == 0) self->board->set(vcpu.clock.now() + hash % 3000);
      if (hash % 5003 == 0) vcpu.halt = true;
      if (vcpu.index == 0 && count == 100'000) self->board->press_power_button();
    };
  }
  static void on_alarm(FakeBoard& board) {
    for (CpuPins* cpu : board.context.cpus) cpu->set_interrupt_request(true);
    board.set(board.context.clock.now() + 2500);
  }
};

std::pair<u64, std::array<u64, 3>> run_busy(std::optional<SaveAt> save_at, const std::string& load) {
  Busy busy;
  MachineSpec with = spec(instructions, 3);
  with.save_at = std::move(save_at);
  with.load = load;
  FakeMachine fake(with, busy.program(), Busy::on_alarm);
  busy.self = &fake;
  const auto outcome = fake.machine->run();
  EXPECT_TRUE(outcome) << outcome.error().message;
  return {fake.machine->total_instructions(), busy.last};
}

TEST(InstructionClockMachine, RunsAreReproducibleAlsoAcrossSaveAndLoad) {
  const std::string path = "/tmp/doppel-machine-test-" + std::to_string(::getpid());
  const auto first = run_busy({}, "");
  EXPECT_EQ(run_busy({}, ""), first);
  for (const u64 at : {u64{1}, u64{10'000}, u64{77'777}, u64{123'456}}) {
    EXPECT_EQ(run_busy(SaveAt{at, path}, ""), first) << at;
    EXPECT_EQ(run_busy({}, path), first) << at;
  }
  ::unlink(path.c_str());
}

TEST(Machine, AnotherMachineIsRefused) {
  const std::string path = "/tmp/doppel-machine-test-" + std::to_string(::getpid());
  run_busy(SaveAt{1000, path}, "");
  MachineSpec other = spec(instructions, 2);
  other.load = path;
  FakeMachine fake(other, [](FakeVcpu&, u64) {});
  const auto outcome = fake.machine->run();
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().message,
            "cannot load '" + path + "': saved state refused: machine: saved with cpus=3, this machine has cpus=2");
  ::unlink(path.c_str());
}

void check_spec(void (*change)(MachineSpec&), const std::string& error) {
  MachineSpec changed = spec(host);
  changed.board.kernel = "kernel";
  change(changed);
  const auto result = validate(changed);
  ASSERT_FALSE(result) << error;
  EXPECT_EQ(result.error().message, error);
  EXPECT_EQ(result.error().kind, ErrorKind::usage);
}

TEST(MachineSpec, Refused) {
  check_spec([](auto& s) { s.board.cpus = 0; }, "a machine has 1 to 8 CPUs, not 0");
  check_spec([](auto& s) { s.board.memory_bytes = 0; }, "a machine has 4 MiB to 1 TiB of memory, not 0 bytes");
  check_spec([](auto& s) { s.board.memory_bytes = 9999 * (GiB << 10); },
             "a machine has 4 MiB to 1 TiB of memory, not 9999 TiB");
  check_spec([](auto& s) { s.board.memory_bytes = 8 * MiB + 4096; }, "memory comes in whole MiB, not 8196 KiB");
  check_spec([](auto& s) { s.board.kernel = "", s.board.initrd = "x"; }, "--initrd needs --kernel");
  check_spec([](auto& s) { s.save_at = SaveAt{1, "x"}; },
             "--save-at needs --clock instructions: only then is an instruction count a point in time");
}

TEST(MachineSpec, Traces) {
  const TraceSpec trace = *parse_trace("io+mmio,a,b");
  EXPECT_TRUE(trace.io && trace.mmio && !trace.interrupts);
  EXPECT_EQ(trace.path, "a,b");
  EXPECT_FALSE(parse_trace("all"));
  EXPECT_FALSE(parse_trace(""));
  EXPECT_FALSE(parse_trace("io,"));
  EXPECT_FALSE(parse_trace("io+"));
}

}  // namespace
}  // namespace doppel
