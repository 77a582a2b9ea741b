// Fragments of a few datagrams, with headers that are mostly right.
#include <algorithm>
#include <cstring>

#include "network/checksum.h"
#include "network/user/reassembly.h"

using namespace doppel;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  network::Reassembly reassembly;
  while (size >= 6) {
    std::vector<u8> frame(14 + 20 + data[0] % 4 * 4 + data[1]);
    frame[12] = 8;
    u8* ip = &frame[14];
    const std::size_t header = 20 + data[0] % 4 * std::size_t{4}, total = header + data[1] + (data[0] >> 7);
    ip[0] = static_cast<u8>(0x40 | header / 4);
    ip[2] = static_cast<u8>(total >> 8), ip[3] = static_cast<u8>(total);
    ip[5] = data[2] % 20;
    ip[6] = data[3], ip[7] = data[4];
    ip[9] = data[5] % 2;
    const u16 sum = static_cast<u16>(~network::internet_sum({ip, header}));
    std::memcpy(ip + 10, &sum, sizeof sum);
    data += 6, size -= 6;
    if (const auto whole = reassembly.pass(frame)) {
      if (whole->size() > 14 + 65'535 || (*whole)[12] != 8) __builtin_trap();
    }
  }
  return 0;
}
