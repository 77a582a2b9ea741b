// The virtio block device; see block.h.
//
//   request: readable {u32 type, u32 reserved, u64 sector} and data to write; writable data that is read, and a status byte
#include "device/virtio/block.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"
#include "base/log.h"
#include "device/image_operation.h"

namespace doppel {

namespace {

using disk::sector_bytes;

// Feature bits, §5.2.3.
constexpr u64 feature_seg_max = 1 << 2, feature_read_only = 1 << 5, feature_block_size = 1 << 6, feature_flush = 1 << 9;
constexpr u64 feature_topology = 1 << 10, feature_multi_queue = 1 << 12, feature_discard = 1 << 13,
              feature_write_zeroes = 1 << 14;

// Request types and status values, §5.2.6.
enum Type : u32 {
  type_in = 0,
  type_out = 1,
  type_flush = 4,
  type_get_id = 8,
  type_discard = 11,
  type_write_zeroes = 13
};
constexpr u8 status_ok = 0, status_io_error = 1, status_unsupported = 2;
constexpr u8 status_pending = 0xff;  // ours: there is work to do first

constexpr u32 unmap_flag = 1;
constexpr u32 max_ranges = 64;
constexpr u32 max_range_sectors = 1u << 22;  // 2 GiB
constexpr u64 id_bytes = 20;
constexpr u64 at_once_bytes = u64{2} << 20;  // of the transfers that one notification lets a vCPU's thread do itself

struct Header {
  u32 type;
  u32 reserved;
  u64 sector;
};
struct Range {
  u64 sector;
  u32 sectors;
  u32 flags;
};

// struct virtio_blk_config, §5.2.4.
struct [[gnu::packed]] Config {
  u64 capacity;
  u32 size_max, seg_max;
  u16 cylinders;
  u8 heads, sectors;
  u32 blk_size;
  u8 physical_block_exp, alignment_offset;
  u16 min_io_size;
  u32 opt_io_size;
  u8 writeback, unused0;
  u16 num_queues;
  u32 max_discard_sectors, max_discard_seg, discard_sector_alignment;
  u32 max_write_zeroes_sectors, max_write_zeroes_seg;
  u8 write_zeroes_may_unmap, unused1[3];
};
static_assert(sizeof(Config) == 60);

std::vector<u16> queue_sizes(const VirtioBlock::Options& options) {
  return std::vector<u16>(std::clamp(options.queues, 1u, 64u), options.queue_size);
}

}  // namespace

struct VirtioBlock::Request {
  unsigned queue = 0;
  Virtqueue::Chain chain;
  std::vector<iovec> buffers;
  std::vector<ImageOperation> operations;  // one after another
  std::size_t next = 0;
};

VirtioBlock::VirtioBlock(std::string name, Dma dma, const CompletionPolicy& policy,
                         std::unique_ptr<disk::BlockImage> image, const Options& options)
    : VirtioDevice(std::move(name), virtio::type_block, dma, policy, queue_sizes(options)),
      image_(std::move(image)),
      serial_(options.serial) {
  serial_.resize(std::min<u64>(serial_.size(), id_bytes));
  fill_config(options);
}

VirtioBlock::~VirtioBlock() { shut_down(); }

void VirtioBlock::fill_config(const Options& options) {
  const u32 preferred_sectors = image_->preferred_bytes() / static_cast<u32>(sector_bytes);
  const Config config{
      .capacity = image_->size_bytes() / sector_bytes,
      .seg_max = options.queue_size - 2u,  // header and status take one each
      .blk_size = sector_bytes,
      .physical_block_exp = static_cast<u8>(std::countr_zero(preferred_sectors)),
      .min_io_size = static_cast<u16>(std::min(preferred_sectors, 0xffffu)),
      .writeback = 1,
      .num_queues = static_cast<u16>(queue_count()),
      .max_discard_sectors = max_range_sectors,
      .max_discard_seg = max_ranges,
      .discard_sector_alignment = preferred_sectors,
      .max_write_zeroes_sectors = max_range_sectors,
      .max_write_zeroes_seg = max_ranges,
      .write_zeroes_may_unmap = 1,
  };
  config_.resize(sizeof config);
  std::memcpy(config_.data(), &config, sizeof config);
}

u64 VirtioBlock::features() const {
  const u64 writing = feature_discard | feature_write_zeroes;
  return feature_seg_max | feature_block_size | feature_flush | feature_topology |
         (queue_count() > 1 ? feature_multi_queue : 0) | (image_->read_only() ? feature_read_only : writing);
}

void VirtioBlock::work(unsigned index) {
  consume(index, [&](Virtqueue::Chain chain) { begin(index, std::move(chain)); });
}

void VirtioBlock::work_at_once(unsigned index) {
  u64 bytes_left = at_once_bytes;
  consume_while(index, [&](Virtqueue::Chain& chain) { return finish_at_once(index, chain, bytes_left); });
}

// A transfer whose data lies in the host's page cache. Whatever else the chain is, it is left as it was.
bool VirtioBlock::finish_at_once(unsigned index, Virtqueue::Chain& chain, u64& bytes_left) {
  Header header;
  const u64 bytes = chain.readable_bytes + chain.writable_bytes;
  if (bytes > bytes_left || chain.writable_bytes == 0 || chain.read(0, &header, sizeof header) != sizeof header)
    return false;
  if (header.type != type_in && header.type != type_out) return false;
  Request request{.queue = index, .chain = std::move(chain)};
  if (parse_transfer(request, header.sector, header.type == type_out) != status_pending || !transfer_at_once(request)) {
    chain = std::move(request.chain);
    if (header.type == type_in)
      queue(index).note_written(chain, chain.writable_bytes);  // part of it may have been read
    return false;
  }
  bytes_left -= bytes;
  complete(request, status_ok);
  return true;
}

bool VirtioBlock::transfer_at_once(Request& request) {
  if (request.operations.size() != 1) return false;  // a flush follows
  const ImageOperation& operation = request.operations[0];
  return operation.kind == ImageOperation::Kind::read ? image_->read_at_once(operation.offset, request.buffers)
                                                      : image_->write_at_once(operation.offset, request.buffers);
}

void VirtioBlock::begin(unsigned index, Virtqueue::Chain chain) {
  if (chain.readable_bytes < sizeof(Header) || chain.writable_bytes == 0)
    return needs_reset("block request without header or status");
  auto request = std::make_shared<Request>();
  request->queue = index;
  request->chain = std::move(chain);
  const u8 status = parse(*request);
  if (status != status_pending) return complete(*request, status);
  if (synchronous()) return run_to_end(*request);
  ++under_way_;
  start_next(request);
}

// Fills in the operations; or returns the status of a request that needs none.
u8 VirtioBlock::parse(Request& request) const {
  Header header;
  request.chain.read(0, &header, sizeof header);
  switch (header.type) {
    case type_in: return parse_transfer(request, header.sector, false);
    case type_out: return parse_transfer(request, header.sector, true);
    case type_flush: request.operations = {{.kind = ImageOperation::Kind::flush}}; return status_pending;
    case type_get_id: {
      if (request.chain.writable_bytes != id_bytes + 1) return status_io_error;
      char id[id_bytes] = {};
      serial_.copy(id, id_bytes);
      request.chain.write(0, id, id_bytes);
      return status_ok;
    }
    case type_discard: return negotiated(feature_discard) ? parse_ranges(request, false) : status_unsupported;
    case type_write_zeroes: return negotiated(feature_write_zeroes) ? parse_ranges(request, true) : status_unsupported;
    default: return status_unsupported;
  }
}

bool VirtioBlock::in_disk(u64 sector, u64 sectors) const {
  const u64 capacity = image_->size_bytes() / sector_bytes;
  return sector <= capacity && sectors <= capacity - sector;
}

u8 VirtioBlock::parse_transfer(Request& request, u64 sector, bool write) const {
  const u64 skip = write ? sizeof(Header) : 0;
  const u64 bytes = write ? request.chain.readable_bytes - sizeof(Header) : request.chain.writable_bytes - 1;
  if (bytes % sector_bytes != 0 || !in_disk(sector, bytes / sector_bytes) || (write && image_->read_only()))
    return status_io_error;
  if (bytes == 0) return status_ok;
  request.buffers = cut_buffers(write ? request.chain.readable : request.chain.writable, skip, bytes);
  request.operations.push_back({.kind = write ? ImageOperation::Kind::write : ImageOperation::Kind::read,
                                .offset = sector * sector_bytes,
                                .bytes = bytes});
  if (write && !negotiated(feature_flush)) request.operations.push_back({.kind = ImageOperation::Kind::flush});
  return status_pending;
}

u8 VirtioBlock::parse_ranges(Request& request, bool zeroes) const {
  const u64 bytes = request.chain.readable_bytes - sizeof(Header);
  if (bytes == 0 || bytes % sizeof(Range) != 0 || bytes / sizeof(Range) > max_ranges || image_->read_only())
    return status_io_error;
  for (u64 at = sizeof(Header); at < sizeof(Header) + bytes; at += sizeof(Range)) {
    Range range;
    request.chain.read(at, &range, sizeof range);
    if ((range.flags & ~(zeroes ? unmap_flag : 0u)) != 0) return status_unsupported;  // §5.2.6.2
    if (range.sectors > max_range_sectors || !in_disk(range.sector, range.sectors)) return status_io_error;
    request.operations.push_back({.kind = zeroes ? ImageOperation::Kind::zeroes : ImageOperation::Kind::discard,
                                  .offset = range.sector * sector_bytes,
                                  .bytes = range.sectors * sector_bytes,
                                  .may_unmap = (range.flags & unmap_flag) != 0});
  }
  if (!negotiated(feature_flush)) request.operations.push_back({.kind = ImageOperation::Kind::flush});
  return status_pending;
}

// The completion touches nothing that is locked, so the image may be drained here.
void VirtioBlock::run_to_end(Request& request) {
  int failed = 0;
  for (; request.next < request.operations.size() && failed == 0; ++request.next) {
    submit(*image_, request.operations[request.next], request.buffers, [&failed](int error) { failed = error; });
    image_->drain();
  }
  if (failed != 0) report(failed);
  complete(request, failed == 0 ? status_ok : status_io_error);
}

// Once: the guest may ask for the same again and again.
void VirtioBlock::report(int error) {
  if (!std::exchange(reported_, true))
    log::warning("{}: a request failed on '{}': {}", name(), image_->path(), std::strerror(error));
}

void VirtioBlock::start_next(const RequestPtr& request) {
  submit(*image_, request->operations[request->next], request->buffers, [this, request](int error) {
    const std::lock_guard lock(mutex());
    if (error == 0 && ++request->next < request->operations.size()) return start_next(request);
    if (error != 0) report(error);
    --under_way_;
    complete(*request, error == 0 ? status_ok : status_io_error);
    request_ended();
  });
}

// The status byte is the last writable byte, wherever the data ends (§5.2.6).
void VirtioBlock::complete(Request& request, u8 status) {
  if (!live())
    return queue(request.queue)
        .note_written(request.chain, request.chain.writable_bytes);  // the driver has gone, or must go
  const u64 last = request.chain.writable_bytes - 1;
  request.chain.write(last, &status, 1);
  push(request.queue, request.chain, last + 1);
  interrupt_if_wanted(request.queue);
}

}  // namespace doppel
