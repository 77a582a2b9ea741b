// See reassembly.h.
//
//   frame  +0 Ethernet, type at +c   +e IPv4: +0 version, length  +2 length  +4 id  +6 flags, offset  +9 protocol
//          +a checksum  +c source, destination
#include "network/user/reassembly.h"

#include <algorithm>
#include <cstring>

#include "network/checksum.h"

namespace doppel::network {

namespace {

constexpr std::size_t ethernet = 14, least_header = 20;
constexpr u16 more_fragments = 0x2000, offset_mask = 0x1fff;

u16 get16(const u8* at) { return static_cast<u16>(at[0] << 8 | at[1]); }
void put16(u8* at, std::size_t value) {
  at[0] = static_cast<u8>(value >> 8);
  at[1] = static_cast<u8>(value);
}

bool is_fragment(std::span<const u8> frame) {
  return frame.size() >= ethernet + least_header && get16(&frame[12]) == 0x0800 && frame[ethernet] >> 4 == 4 &&
         (get16(&frame[ethernet + 6]) & (more_fragments | offset_mask)) != 0;
}

}  // namespace

// Of a frame that is a fragment: what it holds, if it is well-formed.
std::optional<Reassembly::Fragment> Reassembly::parse(std::span<const u8> frame) {
  const u8* ip = &frame[ethernet];
  const std::size_t header = (ip[0] & 0x0f) * std::size_t{4}, total = get16(ip + 2);
  if (header < least_header || total <= header || total > frame.size() - ethernet) return std::nullopt;
  if (internet_sum({ip, header}) != 0xffff) return std::nullopt;
  const u16 place = get16(ip + 6);
  Fragment fragment{.key = {},
                    .header = header,
                    .offset = (place & offset_mask) * unit,
                    .bytes = total - header,
                    .more = (place & more_fragments) != 0};
  if (fragment.more && fragment.bytes % unit != 0) return std::nullopt;
  if (fragment.offset + fragment.bytes > most_bytes - least_header) return std::nullopt;
  std::copy_n(ip + 12, 8, fragment.key.begin());
  std::copy_n(ip + 4, 2, fragment.key.begin() + 8);
  fragment.key[10] = ip[9];
  return fragment;
}

// The one under way, or a new one in a free place, or in that of the oldest.
Reassembly::Datagram& Reassembly::find(const Key& key) {
  for (Datagram& datagram : datagrams_) {
    if (datagram.started != 0 && datagram.key == key) return datagram;
  }
  Datagram& place = *std::ranges::min_element(datagrams_, {}, &Datagram::started);
  place = Datagram{};
  place.key = key;
  place.started = ++started_;
  return place;
}

// False: the fragments do not fit together.
bool Reassembly::add(Datagram& datagram, const Fragment& fragment, std::span<const u8> frame) {
  const std::size_t end = fragment.offset + fragment.bytes;
  if (datagram.end && (end > *datagram.end || !fragment.more)) return false;
  if (!fragment.more && datagram.payload.size() > end) return false;
  for (std::size_t at = fragment.offset; at < end; at += unit) {
    if (datagram.present.test(at / unit)) return false;
    datagram.present.set(at / unit);
    ++datagram.units;
  }
  if (datagram.payload.size() < end) datagram.payload.resize(end);
  const auto data = frame.subspan(ethernet + fragment.header, fragment.bytes);
  std::ranges::copy(data, datagram.payload.begin() + static_cast<std::ptrdiff_t>(fragment.offset));
  if (!fragment.more) datagram.end = end;
  if (fragment.offset == 0)
    datagram.head.assign(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(ethernet + fragment.header));
  return true;
}

std::optional<std::span<const u8>> Reassembly::finish(Datagram& datagram) {
  whole_ = std::move(datagram.head);
  whole_.insert(whole_.end(), datagram.payload.begin(), datagram.payload.end());
  const std::size_t header = whole_.size() - datagram.payload.size() - ethernet, total = whole_.size() - ethernet;
  datagram = Datagram{};
  if (total > most_bytes) return std::nullopt;
  u8* ip = &whole_[ethernet];
  put16(ip + 2, total);
  put16(ip + 6, 0);
  put16(ip + 10, 0);
  const u16 sum = static_cast<u16>(~internet_sum({ip, header}));
  std::memcpy(ip + 10, &sum, sizeof sum);
  return whole_;
}

std::optional<std::span<const u8>> Reassembly::pass(std::span<const u8> frame) {
  if (!is_fragment(frame)) return frame;
  const auto fragment = parse(frame);
  if (!fragment) return std::nullopt;
  Datagram& datagram = find(fragment->key);
  if (!add(datagram, *fragment, frame)) {
    datagram = Datagram{};
    return std::nullopt;
  }
  if (!datagram.end || datagram.units != (*datagram.end + unit - 1) / unit) return std::nullopt;
  return finish(datagram);
}

}  // namespace doppel::network
