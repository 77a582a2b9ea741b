// A machine: processors under an engine, RAM, a board, a clock, and the run loop that moves them.
//
// Life cycle and its ordering rules. All of it happens on the control thread, the one that calls run():
//   create   RAM → clock → board → vCPUs → run loop; nothing runs
//   start    a saved machine is loaded, or: reset. Then resume
//   pause    vCPUs stop (no more register accesses) → clock stands still → devices pause in the order of the parts list
//            (what they have in flight finishes; the I/O thread still serves them) → I/O thread stops
//   resume   the same backwards
//   reset    pause → devices reset in the order of the parts list → board.configure() → vCPUs reset → board.boot() → resume
//   save     pause → state of clock, run loop, vCPUs, devices, then RAM → resume
//   load     into a machine that was just created: devices pause → state → RAM → resume
//   end      pause; the destructor takes everything down in the opposite order of create
// Devices ask for reset, power-off and exit through MachineControl, from any thread; the run loop stops and the control
// thread acts.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "base/result.h"
#include "board/board.h"
#include "engine/vcpu.h"
#include "machine/host_clock.h"
#include "machine/instruction_clock.h"
#include "machine/request.h"
#include "machine/run_loop.h"
#include "machine/spec.h"
#include "machine/trace.h"

namespace doppel {

class SavedMachine;

// Makes the board for a context; a function, so that tests can make a board of their own.
using BoardFactory = std::function<Result<std::unique_ptr<Board>>(const BoardSpec&, const BoardContext&)>;

struct MachineParts {
  std::unique_ptr<Engine> engine;
  BoardFactory board;
};

// How a run ended.
struct Outcome {
  int exit_code = 0;
  std::string message{};  // one line for the user, or empty
};

class Machine final : private MachineControl {
 public:
  static Result<std::unique_ptr<Machine>> create(MachineSpec spec, MachineParts parts);
  ~Machine() override;

  // Starts, and returns when the machine has ended.
  Result<Outcome> run();

  // Instead of run(): brings the board to where firmware would leave it, to be looked at.
  Result<> configure();

  // Any thread, also a callback of loop(): ends the run.
  void request_stop(Outcome outcome);

  EventLoop& loop() { return *loop_; }
  Board& board() { return *board_; }
  const PhysicalMemory& memory() const { return *memory_; }
  const Bus& ports() const { return ports_; }
  const Engine& engine() const { return *engine_; }

  // After run() has returned.
  u64 total_instructions() const { return run_loop_->total_instructions(); }
  std::string statistics() const;  // of all vCPUs

 private:
  class Processor;

  explicit Machine(MachineSpec spec);
  Result<> build(MachineParts parts);
  Result<> start();
  void pause();
  void pause_devices();
  void resume();
  Result<> reset();
  Result<> save(const std::string& path);
  Result<> load(const std::string& path);
  void state(state::Archive& archive);
  Result<std::optional<Outcome>> act_on(const Request& request);

  void request_reset() override { ask({.kind = Request::Kind::reset}); }
  void request_power_off() override { ask({.kind = Request::Kind::power_off}); }
  void request_exit(int code) override { ask({.kind = Request::Kind::exit, .exit_code = code}); }
  void ask(Request request);

  const MachineSpec spec_;
  RequestBox requests_;
  std::unique_ptr<EventLoop> loop_;
  Bus mmio_{u64{1} << 52};
  Bus ports_{0x10000};
  std::unique_ptr<PhysicalMemory> memory_;
  std::unique_ptr<HostClock> host_clock_;  // one of the two
  std::unique_ptr<InstructionClock> instruction_clock_;
  std::unique_ptr<Trace> trace_;
  std::unique_ptr<Engine> engine_;
  std::vector<std::unique_ptr<Processor>> processors_;
  std::unique_ptr<Board> board_;
  std::unique_ptr<RunLoop> run_loop_;
  bool stopped_ = true;  // nothing moves: not the vCPUs, not the clock, not the I/O thread
  bool devices_paused_ = false;
};

}  // namespace doppel
