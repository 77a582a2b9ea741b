// See capture.h.
//
//   file    magic a1b23c4d   version 2.4   0   0   longest frame   link type: 1 is Ethernet
//   record  seconds   nanoseconds   bytes here   bytes of the frame   the frame
#include "network/capture.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <time.h>

#include <array>

#include "base/fd.h"
#include "base/log.h"

namespace doppel::network {

Result<std::unique_ptr<CapturePort>> CapturePort::create(std::unique_ptr<Port> port, const std::string& path) {
  Fd fd = TRY(open_file(path, O_WRONLY | O_CREAT | O_TRUNC));
  std::unique_ptr<CapturePort> capture(new CapturePort);
  capture->path_ = path;
  capture->file_.reset(::fdopen(fd.get(), "w"));
  if (!capture->file_) return fail_errno(fmt::format("cannot write '{}'", path));
  (void)fd.release();
  capture->port_ = std::move(port);
  constexpr std::array<u32, 6> header{0xa1b2'3c4d, 2 | 4 << 16, 0, 0, max_frame_bytes, 1};
  std::fwrite(header.data(), sizeof header, 1, capture->file_.get());
  capture->write_out();
  return capture;
}

void CapturePort::set_receiver(Port::Receiver* receiver) {
  receiver_ = receiver;
  port_->set_receiver(receiver == nullptr ? nullptr : this);
}

void CapturePort::send(const PacketHeader& header, std::span<const u8> frame) {
  record(frame);
  port_->send(header, frame);
}

void CapturePort::flush() {
  write_out();
  port_->flush();
}

bool CapturePort::receive(const PacketHeader& header, std::span<const u8> frame) {
  if (!receiver_->receive(header, frame)) return false;
  record(frame);
  return true;
}

void CapturePort::end_of_batch() {
  write_out();
  receiver_->end_of_batch();
}

// The date is the host's whatever clock the guest has: it is for people, and no guest sees it.
void CapturePort::record(std::span<const u8> frame) {
  if (!file_) return;
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  const u32 bytes = static_cast<u32>(frame.size());
  const std::array<u32, 4> header{static_cast<u32>(now.tv_sec), static_cast<u32>(now.tv_nsec), bytes, bytes};
  std::fwrite(header.data(), sizeof header, 1, file_.get());
  std::fwrite(frame.data(), frame.size(), 1, file_.get());
}

void CapturePort::write_out() {
  if (!file_ || (std::fflush(file_.get()) == 0 && std::ferror(file_.get()) == 0)) return;
  log::error("cannot write '{}': the capture ends here", path_);
  file_.reset();
}

}  // namespace doppel::network
