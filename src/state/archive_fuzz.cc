// Any bytes as a saved state: no crash, no allocation beyond the input's size, and begin/end stay paired.
#include "state/archive.h"

using doppel::state::Archive;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace doppel;
  Archive archive = Archive::for_loading({data, data + size});
  u64 word = 0;
  u8 byte = 0;
  bool flag = false;
  std::array<u16, 3> array{};
  std::string text;
  std::vector<u8> bytes;
  std::array<u8, 5> raw{};
  archive.begin("outer", 2);
  archive(word);
  archive(byte);
  for (unsigned i = 0; i < byte && archive.ok(); ++i) {
    archive.begin("inner", 1);
    archive(flag);
    archive(array);
    archive(text, 64);
    archive(bytes, 4096);
    archive.raw(raw.data(), raw.size());
    archive.end();
  }
  archive.end();
  if (bytes.size() > 4096 || text.size() > 64) __builtin_trap();
  if (archive.ok() != archive.status().has_value()) __builtin_trap();
  return 0;
}
