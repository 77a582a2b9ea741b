// The virtio SCSI host device; see scsi.h.
//
//   request   readable: u8 lun[8], u64 id, u8 attribute, priority, crn, cdb[cdb_size], data out
//             writable: u32 sense length, u32 residual, u16 qualifier, u8 status, u8 response, sense[sense_size], data in
//   control   readable: u32 type; task management: u32 subtype, u8 lun[8], u64 id; notifications: u8 lun[8], u32 events
//             writable: u8 response; notifications: u32 events, u8 response
#include "device/virtio/scsi.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/log.h"

namespace doppel {

namespace {

constexpr unsigned control_queue = 0, event_queue = 1, first_request_queue = 2;
constexpr u16 control_queue_size = 64, event_queue_size = 16;

// Response codes, §5.6.6.1 and §5.6.6.2.
enum Response : u8 {
  response_ok = 0,  // of a task management function: complete
  response_overrun = 1,
  response_aborted = 2,
  response_bad_target = 3,
  response_reset = 4,
  response_failure = 9,
  response_function_succeeded = 10,
  response_function_rejected = 11,
  response_incorrect_lun = 12,
};

enum ControlType : u32 { type_task_management = 0, type_query = 1, type_subscribe = 2 };
enum Function : u32 {
  abort_task = 0,
  abort_task_set = 1,
  clear_aca = 2,
  clear_task_set = 3,
  nexus_reset = 4,
  unit_reset = 5,
  query_task = 6,
  query_task_set = 7,
};

struct [[gnu::packed]] RequestHeader {
  u8 lun[8];
  u64 id;
  u8 attribute, priority, reference;
};
static_assert(sizeof(RequestHeader) == 19);

struct [[gnu::packed]] ResponseHeader {
  u32 sense_bytes, residual;
  u16 qualifier;
  u8 status, response;
};
static_assert(sizeof(ResponseHeader) == 12);

struct [[gnu::packed]] ManagementHeader {
  u32 type, function;
  u8 lun[8];
  u64 id;
};
static_assert(sizeof(ManagementHeader) == 24);

struct [[gnu::packed]] NotificationHeader {
  u32 type;
  u8 lun[8];
  u32 events;
};
static_assert(sizeof(NotificationHeader) == 16);

// struct virtio_scsi_config, §5.6.4.
struct Config {
  u32 num_queues, seg_max, max_sectors, cmd_per_lun, event_info_size, sense_size, cdb_size;
  u16 max_channel, max_target;
  u32 max_lun;
};
static_assert(sizeof(Config) == 36);
constexpr u64 sense_size_offset = 20, cdb_size_offset = 24;
constexpr u32 default_sense_bytes = 96, default_cdb_bytes = 32, most_sense_bytes = 252, most_cdb_bytes = 260;
constexpr u32 event_bytes = 16, most_sectors = 0xffff;

// The pieces without their first bytes.
std::vector<std::span<u8>> behind(std::span<const std::span<u8>> pieces, u64 skip) {
  std::vector<std::span<u8>> rest;
  for (const auto& piece : pieces) {
    const u64 part = std::min<u64>(skip, piece.size());
    if (part != piece.size()) rest.push_back(piece.subspan(part));
    skip -= part;
  }
  return rest;
}

std::vector<u16> queue_sizes(const VirtioScsi::Options& options) {
  std::vector<u16> sizes{control_queue_size, event_queue_size};
  sizes.insert(sizes.end(), std::clamp(options.queues, 1u, 32u), options.queue_size);
  return sizes;
}

}  // namespace

// §5.6.6.1: byte 0 is 1, byte 1 the target, then the LUN in the flat or peripheral format; or the well-known LUN that
// reports LUNs.
struct VirtioScsi::Address {
  static Address of(const u8 (&lun)[8]) {
    constexpr u8 report_luns_unit[2] = {0xc1, 0x01};
    if (std::memcmp(lun, report_luns_unit, 2) == 0) return {.valid = true, .target = 0, .lun = no_lun};
    const bool flat = (lun[2] & 0xc0) == 0x40 || lun[2] == 0;
    const bool rest = std::any_of(lun + 4, lun + 8, [](u8 byte) { return byte != 0; });
    return {
        .valid = lun[0] == 1 && flat && !rest, .target = lun[1], .lun = static_cast<u16>((lun[2] & 0x3f) << 8 | lun[3])};
  }
  static constexpr u16 no_lun = 0xffff;
  bool valid;
  u8 target;
  u16 lun;
};

struct VirtioScsi::Request {
  unsigned queue = 0;
  Virtqueue::Chain chain;
  u64 id = 0;
  scsi::LogicalUnit* unit = nullptr;
  u32 sense_bytes = 0;  // the driver's, when it made the request
  std::vector<std::span<u8>> data_out, data_in;
  u64 data_out_bytes = 0, data_in_bytes = 0;
  u8 cdb[scsi::largest_cdb_bytes] = {};
  scsi::Task task;
  std::size_t next = 0;
  u8 response = response_ok;
  std::vector<std::shared_ptr<Management>> waiting;  // for this request to end

  scsi::Step* step() { return next < task.steps.size() ? &task.steps[next] : nullptr; }
  void advance() {
    scsi::Step& done = *step();
    done.operation.offset += done.operation.bytes;
    if (--done.times == 0) ++next;
  }
};

// A task management request that waits for others: answered when nobody holds it any more.
struct VirtioScsi::Management {
  Management(VirtioScsi& to, Virtqueue::Chain made) : device(to), chain(std::move(made)) {}
  ~Management() { device.answer(chain, 0, response); }
  Management(const Management&) = delete;
  Management& operator=(const Management&) = delete;

  VirtioScsi& device;
  const Virtqueue::Chain chain;
  u8 response = response_ok;
};

VirtioScsi::VirtioScsi(std::string name, Dma dma, const CompletionPolicy& policy,
                       std::vector<std::unique_ptr<scsi::LogicalUnit>> units, const Options& options)
    : VirtioDevice(std::move(name), virtio::type_scsi, dma, policy, queue_sizes(options)),
      units_(std::move(units)),
      most_segments_(options.queue_size - 2u),  // the headers take one each
      sense_bytes_(default_sense_bytes),
      cdb_bytes_(default_cdb_bytes) {}

VirtioScsi::~VirtioScsi() { shut_down(); }

// ---- configuration ----

std::span<const u8> VirtioScsi::config() {
  const Config config{
      .num_queues = queue_count() - first_request_queue,
      .seg_max = most_segments_,
      .max_sectors = most_sectors,
      .cmd_per_lun = queue(first_request_queue).largest(),
      .event_info_size = event_bytes,
      .sense_size = sense_bytes_,
      .cdb_size = cdb_bytes_,
      .max_channel = 0,
      .max_target = static_cast<u16>(units_.empty() ? 0 : units_.size() - 1),
      .max_lun = 0,
  };
  config_.resize(sizeof config);
  std::memcpy(config_.data(), &config, sizeof config);
  return config_;
}

void VirtioScsi::config_written(u64 offset, unsigned bytes, u64 value) {
  if (bytes != 4) return;
  if (offset == sense_size_offset) {
    if (value > most_sense_bytes) return needs_reset("impossible sense size");
    sense_bytes_ = static_cast<u32>(value);
  } else if (offset == cdb_size_offset) {
    if (value > most_cdb_bytes) return needs_reset("impossible CDB size");
    cdb_bytes_ = static_cast<u32>(value);
  }
}

// §5.6.4.2: a reset restores the sizes.
void VirtioScsi::stopped() {
  sense_bytes_ = default_sense_bytes;
  cdb_bytes_ = default_cdb_bytes;
  for (const auto& unit : units_) unit->reset();
}

void VirtioScsi::drain() {
  for (const auto& unit : units_) unit->image().drain();
}

void VirtioScsi::device_state(state::Archive& archive) {
  archive.begin("virtio-scsi", 1);
  archive(sense_bytes_);
  archive(cdb_bytes_);
  archive.require(sense_bytes_ <= most_sense_bytes && cdb_bytes_ <= most_cdb_bytes, "sizes of SCSI requests");
  for (const auto& unit : units_) unit->state(archive);
  archive.end();
}

// ---- requests ----

void VirtioScsi::work(unsigned index) {
  if (index == event_queue) return;  // its buffers stay where they are
  consume(index, [&](Virtqueue::Chain chain) {
    if (index == control_queue) {
      control(std::move(chain));
    } else {
      begin(index, std::move(chain));
    }
  });
}

scsi::LogicalUnit* VirtioScsi::find_target(const Address& address) {
  return address.valid && address.target < units_.size() ? units_[address.target].get() : nullptr;
}

void VirtioScsi::begin(unsigned index, Virtqueue::Chain chain) {
  const u64 out_header = sizeof(RequestHeader) + cdb_bytes_, in_header = sizeof(ResponseHeader) + sense_bytes_;
  if (chain.readable_bytes < out_header || chain.writable_bytes < in_header)
    return needs_reset("SCSI request without a whole header");
  const auto request = std::make_shared<Request>();
  RequestHeader header;
  chain.read(0, &header, sizeof header);
  chain.read(sizeof header, request->cdb, std::min<u64>(cdb_bytes_, sizeof request->cdb));
  request->queue = index;
  request->id = header.id;
  request->sense_bytes = sense_bytes_;
  request->data_out_bytes = chain.readable_bytes - out_header;
  request->data_in_bytes = chain.writable_bytes - in_header;
  request->data_out = behind(chain.readable, out_header);
  request->data_in = behind(chain.writable, in_header);
  request->chain = std::move(chain);

  const Address address = Address::of(header.lun);
  const auto* target = find_target(address);
  if (target == nullptr) {
    request->response = response_bad_target;
    return complete(*request);
  }
  if (request->data_out_bytes != 0 && request->data_in_bytes != 0) {
    request->response = response_failure;  // bidirectional, which was not offered
    return complete(*request);
  }
  request->task = execute(*request, address);
  if (request->task.overrun) request->response = response_overrun;
  if (request->step() == nullptr) return complete(*request);
  request->unit = find_target(address);
  if (synchronous()) return run_to_end(*request);
  requests_.insert(request);
  start_step(request);
}

scsi::Task VirtioScsi::execute(const Request& request, const Address& address) {
  const scsi::Command command{.cdb = request.cdb,
                              .data_out = request.data_out,
                              .data_in = request.data_in,
                              .data_out_bytes = request.data_out_bytes,
                              .data_in_bytes = request.data_in_bytes};
  return address.lun == 0 ? find_target(address)->execute(command) : scsi::LogicalUnit::execute_without_unit(command);
}

// The completion touches nothing that is locked, so the image may be drained here.
void VirtioScsi::run_to_end(Request& request) {
  while (const scsi::Step* step = request.step()) {
    int failed = 0;
    submit(request.unit->image(), step->operation, step->buffers, [&failed](int error) { failed = error; });
    request.unit->image().drain();
    if (failed != 0) {
      fail_step(request, failed);
      break;
    }
    request.advance();
  }
  complete(request);
}

void VirtioScsi::start_step(const RequestPtr& request) {
  const scsi::Step& step = *request->step();
  submit(request->unit->image(), step.operation, step.buffers, [this, request](int error) {
    const std::lock_guard lock(mutex());
    step_ended(request, error);
  });
}

void VirtioScsi::step_ended(const RequestPtr& request, int error) {
  if (error != 0) {
    fail_step(*request, error);
  } else {
    request->advance();
    if (request->step() != nullptr && request->response == response_ok) return start_step(request);
  }
  requests_.erase(request);
  complete(*request);
  request->waiting.clear();
  request_ended();
}

void VirtioScsi::fail_step(Request& request, int error) {
  request.task.sense = scsi::LogicalUnit::failure(*request.step(), error);
  if (!std::exchange(reported_, true))  // once: the guest may ask for the same again and again
    log::warning("{}: a request failed on '{}': {}", name(), request.unit->image().path(), std::strerror(error));
}

void VirtioScsi::complete(Request& request) {
  Virtqueue::Chain& chain = request.chain;
  if (!live())
    return queue(request.queue).note_written(chain, chain.writable_bytes);  // the driver has gone, or must go
  const scsi::Task& task = request.task;
  const bool checked = request.response == response_ok && task.sense != scsi::sense::none;
  const bool failed = checked || request.response != response_ok;
  const u64 moved = failed ? 0 : task.transferred;
  ResponseHeader header{.residual = static_cast<u32>(request.data_in_bytes + request.data_out_bytes - moved),
                        .status = checked ? scsi::status_check_condition : scsi::status_good,
                        .response = request.response};
  std::vector<u8> sense(request.sense_bytes);
  if (checked) {
    const std::vector<u8> fixed = scsi::fixed_sense(task.sense);
    header.sense_bytes = static_cast<u32>(std::min(fixed.size(), sense.size()));
    std::copy_n(fixed.begin(), header.sense_bytes, sense.begin());
  }
  chain.write(0, &header, sizeof header);
  chain.write(sizeof header, sense.data(), sense.size());
  chain.write(sizeof header + sense.size(), task.data.data(), task.data.size());
  // What a failed step read into the buffers is not told, and yet has changed memory.
  const bool read = !task.steps.empty() && request.data_in_bytes != 0;
  push(request.queue, chain, read ? chain.writable_bytes : sizeof header + sense.size() + task.data.size());
  interrupt_if_wanted(request.queue);
}

// ---- the control queue ----

void VirtioScsi::control(Virtqueue::Chain chain) {
  u32 type = 0;
  if (chain.read(0, &type, sizeof type) < sizeof type) return needs_reset("SCSI control request without a type");
  switch (type) {
    case type_task_management: return manage_tasks(std::move(chain));
    case type_query:
    case type_subscribe: return answer_notification(std::move(chain));
    default:
      if (chain.writable_bytes == 0) return needs_reset("SCSI control request without room for an answer");
      return answer(chain, 0, response_failure);
  }
}

void VirtioScsi::answer(const Virtqueue::Chain& chain, u64 at, u8 response) {
  if (!live()) return;
  chain.write(at, &response, 1);
  push(control_queue, chain, at + 1);
  interrupt_if_wanted(control_queue);
}

// §5.6.6.2: no event can be subscribed to.
void VirtioScsi::answer_notification(Virtqueue::Chain chain) {
  constexpr u64 answer_bytes = 5;
  if (chain.readable_bytes < sizeof(NotificationHeader) || chain.writable_bytes < answer_bytes)
    return needs_reset("SCSI notification request without a whole header");
  NotificationHeader header;
  chain.read(0, &header, sizeof header);
  const u32 none = 0;
  chain.write(0, &none, sizeof none);
  answer(chain, sizeof none, find_target(Address::of(header.lun)) != nullptr ? response_ok : response_bad_target);
}

// Marks the requests that match: their next step is not begun. Whether there were any.
template <class Matches>
bool VirtioScsi::abort(Matches matches, u8 response, const std::shared_ptr<Management>& management) {
  bool found = false;
  for (const RequestPtr& request : requests_) {
    if (!matches(*request)) continue;
    found = true;
    request->response = response;
    request->waiting.push_back(management);
  }
  return found;
}

void VirtioScsi::manage_tasks(Virtqueue::Chain chain) {
  if (chain.readable_bytes < sizeof(ManagementHeader) || chain.writable_bytes == 0)
    return needs_reset("SCSI task management request without a whole header");
  ManagementHeader header;
  chain.read(0, &header, sizeof header);
  const auto management = std::make_shared<Management>(*this, std::move(chain));
  const Address address = Address::of(header.lun);
  scsi::LogicalUnit* unit = find_target(address);
  if (unit == nullptr) {
    management->response = response_bad_target;
    return;
  }
  if (address.lun != 0 && header.function != nexus_reset) {
    management->response = response_incorrect_lun;
    return;
  }
  const auto of_unit = [&](const Request& request) { return request.unit == unit; };
  const auto one = [&](const Request& request) { return of_unit(request) && request.id == header.id; };
  switch (header.function) {
    case abort_task: abort(one, response_aborted, management); return;
    case abort_task_set:
    case clear_task_set: abort(of_unit, response_aborted, management); return;
    case nexus_reset:
    case unit_reset:
      abort(of_unit, response_reset, management);
      unit->reset();
      return;
    case query_task:
    case query_task_set: {
      const bool there = std::ranges::any_of(requests_, [&](const RequestPtr& request) {
        return header.function == query_task ? one(*request) : of_unit(*request);
      });
      management->response = there ? response_function_succeeded : response_ok;
      return;
    }
    default: management->response = response_function_rejected; return;  // also CLEAR ACA: there is no ACA
  }
}

}  // namespace doppel
