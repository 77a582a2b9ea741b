// Two ports by which guests talk to whoever debugs them: a console at 0xe9 (Bochs and others: reads give 0xe9, so that a guest
// can tell that it is there), and an exit port, which a board maps only when asked to.
#pragma once

#include <functional>
#include <mutex>
#include <span>
#include <vector>

#include "device/device.h"
#include "memory/bus.h"

namespace doppel {

class DebugConsole final : public Device, public IoHandler {
 public:
  static constexpr u8 present = 0xe9;
  static constexpr std::size_t longest_line = 1024;  // bytes held back at most
  using Output = std::function<void(std::span<const u8>)>;

  // `output` gets whole lines, or what flush() finds; on the writing vCPU's thread, with the device's lock held.
  explicit DebugConsole(Output output) : output_(std::move(output)) {}

  void flush();  // any thread: at the end, and when someone wants to see an unfinished line

  u64 read(Access access) override;
  void write(Access access, u64 value) override;
  std::string_view name() const override { return "debug-console"; }
  void reset() override { flush(); }
  void state(state::Archive& archive) override;

 private:
  void flush_locked();

  const Output output_;
  std::mutex mutex_;  // guards line_
  std::vector<u8> line_;
};

class DebugExit final : public Device, public IoHandler {
 public:
  // `request_exit` runs on the writing vCPU's thread, with no lock held.
  explicit DebugExit(std::function<void(u32 value)> request_exit) : request_exit_(std::move(request_exit)) {}

  u64 read(Access) override { return 0; }
  void write(Access, u64 value) override { request_exit_(static_cast<u32>(value)); }
  std::string_view name() const override { return "debug-exit"; }
  void reset() override {}
  void state(state::Archive& archive) override;

 private:
  const std::function<void(u32)> request_exit_;
};

}  // namespace doppel
