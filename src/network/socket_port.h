// Two machines wired together through a Unix stream socket. Both name the same path: who comes first listens, who comes
// second connects; when one goes, the other waits there for the next. On the wire: length, 32 bits big endian, and the
// frame, as QEMU's -netdev stream speaks.
#pragma once

#include <sys/un.h>

#include <memory>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "base/fd.h"
#include "network/port.h"

namespace doppel::network {

class SocketPort final : public Port {
 public:
  static constexpr std::size_t longest_path = sizeof(sockaddr_un::sun_path) - 10;

  // `path` has at most `longest_path` bytes: names beside it are used for a moment.
  static Result<std::unique_ptr<SocketPort>> create(EventLoop& loop, const std::string& path);
  ~SocketPort() override;

  bool link_up() const override { return static_cast<bool>(peer_); }
  Offloads takes() const override { return {.checksum = true}; }
  void send(const PacketHeader& header, std::span<const u8> frame) override;
  void flush() override;
  void set_receiver(Receiver* receiver) override { receiver_ = receiver; }
  void ready() override;

 private:
  static constexpr std::size_t length_bytes = 4, most_unsent = 4 << 20;
  static constexpr unsigned most_attempts = 100;

  SocketPort(EventLoop& loop, std::string path) : loop_(loop), path_(std::move(path)) {}
  Result<> join();  // connects or listens
  Result<bool> listen();
  Result<bool> take_away(const Fd& fd);
  std::string temporary_name() const;
  Result<> attach(Fd peer);
  void stop_listening();
  void accept();
  void on_events(u32 events);
  bool read();     // false: nothing more now
  bool deliver();  // what has been read; false: the peer does not keep to the format
  void watch();
  void lost(std::string_view why);

  EventLoop& loop_;
  const std::string path_;
  Fd listener_, peer_;
  Receiver* receiver_ = nullptr;
  std::vector<u8> unsent_;
  std::size_t sent_ = 0;  // of these
  std::vector<u8> received_ = std::vector<u8>(2 * (length_bytes + max_frame_bytes));
  std::size_t first_ = 0, end_ = 0;  // what of it has not been delivered
  u32 watched_ = 0;
  bool stalled_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>();  // for what is posted
};

}  // namespace doppel::network
