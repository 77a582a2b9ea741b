// What a board is to the machine: the parts around the processors, made from a plain description. And what the machine is to
// a board: who resets it, who powers it off, where its console goes.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/event_loop.h"
#include "base/result.h"
#include "base/units.h"
#include "device/device.h"
#include "device/serial/character_port.h"
#include "disk/cache_mode.h"
#include "disk/format.h"
#include "engine/vcpu.h"
#include "memory/bus.h"
#include "memory/physical_memory.h"
#include "network/spec.h"

namespace doppel {

enum class DiskBus : u8 {
  virtio,  // a PCI device of its own: vda, vdb …
  scsi,    // a target of the machine's one SCSI host: sda, sdb …; a CD-ROM drive: sr0, sr1 …
};

struct DiskSpec {
  std::string path;
  bool snapshot = false;  // writes go to memory and are forgotten
  bool read_only = false;
  std::string serial{};  // what the guest sees; empty: by the disk's place
  DiskBus bus = DiskBus::virtio;
  bool cdrom = false;  // a CD-ROM drive, which is on the SCSI bus and read-only
  disk::Format format = disk::Format::automatic;
  disk::CacheMode cache = disk::CacheMode::writeback;
  std::string base{};      // not empty: the disk is an overlay of this raw image, and made if it does not exist
  std::string contents{};  // instead of a file: a read-only disk of these bytes, for which `path` is a name only
};

// A folder of the host that the guest can mount under the tag (9P).
struct ShareSpec {
  std::string path;
  std::string tag;
  bool read_only = false;
};

enum class ConsoleKind : u8 { serial, virtio };

// The hardware, and what it boots. Plain data: what is equal here is the same machine to its guest.
struct BoardSpec {
  unsigned cpus = 1;  // 1–8
  u64 memory_bytes = 512 * MiB;
  std::string kernel, initrd, append;
  std::vector<DiskSpec> disks;
  std::vector<network::NicSpec> nics = std::vector<network::NicSpec>(1);  // one, connected to nothing
  std::vector<ShareSpec> shares;
  ConsoleKind console = ConsoleKind::serial;  // the device that the host's terminal is connected to
  bool debug_exit = false;                    // port 0xf4 ends the machine
};
constexpr unsigned max_cpus = 8;

// What a guest can ask of the machine. Any thread; returns at once; acted on when the vCPUs have stopped. No vCPU executes
// another block before that.
class MachineControl {
 public:
  virtual ~MachineControl() = default;
  virtual void request_reset() = 0;
  virtual void request_power_off() = 0;
  virtual void request_exit(int code) = 0;
};

// A processor's input pins. Any thread; a halted vCPU is woken.
class CpuPins {
 public:
  virtual ~CpuPins() = default;
  virtual void set_interrupt_request(bool level) = 0;
  virtual void raise_nmi() = 0;
  virtual void raise_init() = 0;
  virtual void raise_sipi(u8 vector) = 0;
};

// Everything outlives the board.
struct BoardContext {
  PhysicalMemory& memory;
  Bus& ports;
  Clock& clock;
  EventLoop& loop;     // of the I/O thread
  bool deterministic;  // instruction clock: no other thread may work for a device
  MachineControl& control;
  i64 epoch_seconds;  // since 1970, at Clock time 0
  std::vector<CpuPins*> cpus;
};

class Board {
 public:
  virtual ~Board() = default;

  // In the order of the parts list: reset, pause and state go through it in this order.
  virtual std::vector<Device*> devices() = 0;
  virtual LocalInterrupts& local_interrupts(unsigned cpu) = 0;
  // After reset of the devices: what firmware does before it looks for something to boot, such as giving PCI its addresses.
  virtual Result<> configure() = 0;
  // After that and reset of the vCPUs: puts in place what runs first, and the processors in the state in which it finds them.
  // The first of them is the bootstrap processor.
  virtual Result<> boot(std::span<Vcpu* const> vcpus) = 0;

  // Of the device that BoardSpec::console names.
  virtual CharacterPort& console() = 0;
  virtual void press_power_button() = 0;
  // The interrupt lines, for `doppel machine show --map`.
  struct Wire {
    unsigned line;
    std::string name;
  };
  virtual std::vector<Wire> wires() const = 0;
};

}  // namespace doppel
