// A hostile guest's 9P messages: straight to the server, and through the rings. Whatever it does stays in one folder.
#include <fmt/format.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "device/testing/virtio_fuzz.h"
#include "device/virtio/share.h"

using namespace doppel;
using namespace doppel::testing;

namespace {

namespace fs = std::filesystem;

// Beside the folder lies what must not change.
struct Place {
  fs::path base = fs::temp_directory_path() / fmt::format("doppel-share-fuzz-{}", ::getpid());
  fs::path folder = base / "shared";
  Place() {
    rlimit limit{.rlim_cur = 16 << 20, .rlim_max = 16 << 20};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    ::signal(SIGXFSZ, SIG_IGN);
    fs::create_directories(folder);
    std::ofstream(base / "secret") << "secret";
    fill();
  }
  ~Place() { fs::remove_all(base); }
  void fill() {
    fs::remove_all(folder / "a");
    fs::create_directories(folder / "a/b");
    std::ofstream(folder / "a/c") << "contents";
    std::error_code error;
    fs::create_symlink("../secret", folder / "d", error);
  }
  void check() {
    std::string text;
    std::getline(std::ifstream(base / "secret"), text);
    CHECK(text == "secret");
  }
};

// Names and numbers that mean something, so that messages get somewhere.
std::vector<u8> message(ByteSource& in) {
  constexpr std::array<u8, 26> types{8,  12, 14, 16, 18, 20, 22,  24,  26,  30,  32,  40,  50,
                                     52, 54, 70, 72, 74, 76, 100, 104, 108, 110, 116, 118, 120};
  constexpr std::array<const char*, 8> names{"a", "b", "c", "d", "..", "e", "secret", "9P2000.L"};
  p9::Writer bytes(4096);
  bytes.put(u32{0});
  bytes.put(types[in.next(1) % types.size()]);
  bytes.put(u16{1});
  const unsigned fields = static_cast<unsigned>(in.next(1) % 10);
  for (unsigned i = 0; i < fields; ++i) {
    switch (in.next(1) % 6) {
      case 0: bytes.text(names[in.next(1) % names.size()]); break;
      case 1: bytes.put(static_cast<u32>(in.next(1) % 6)); break;
      case 2: bytes.put(static_cast<u32>(in.next(4))); break;
      case 3: bytes.put(static_cast<u64>(in.next(2))); break;
      case 4: bytes.put(static_cast<u16>(in.next(1) % 4)); break;
      case 5: bytes.put(static_cast<u8>(in.next(1))); break;
    }
  }
  bytes.overwrite(0, static_cast<u32>(in.next(1) == 0 ? in.next(4) : bytes.size()));
  return bytes.take_bytes();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Place place;
  static unsigned runs = 0;
  if (++runs % 256 == 0) {
    fs::remove_all(place.folder);
    place.fill();
  }
  ByteSource in(data, size);
  const bool read_only = (in.next(1) & 7) == 0;
  if ((in.next(1) & 1) == 0) {
    auto server = std::move(*p9::Server::create(place.folder, read_only));
    while (!in.empty()) {
      const std::size_t capacity = p9::error_bytes + in.next(2);
      CHECK(server->answer(message(in), capacity).size() <= capacity);
    }
    auto archive = state::Archive::for_saving();
    server->state(archive);
  } else {
    VirtioMachine machine((in.next(1) & 1) != 0);
    machine.plug([&](VirtioMachine& m) {
      return std::make_unique<VirtioShare>("share", m.dma(), m.policy(),
                                           std::move(*p9::Server::create(place.folder, read_only)), "tag");
    });
    fuzz_virtio(machine, in, [&](ByteSource& bytes) {
      const auto text = message(bytes);
      machine.dma().write(0x20000, text.data(), text.size());
      if (bytes.next(1) == 0) machine.function->reset(), machine.power_up();
    });
  }
  place.check();
  return 0;
}
