// L2 entries, compressed clusters' descriptors and refcounts; see format.h.
#include "disk/qcow2/format.h"

namespace doppel::disk::qcow2 {

L2Entry load_entry(const Header& header, const u8* at) {
  return {load_be<u64>(at), header.extended() ? load_be<u64>(at + 8) : 0};
}

void store_entry(const Header& header, u8* at, L2Entry value) {
  store_be(at, value.descriptor);
  if (header.extended()) store_be(at + 8, value.bitmap);
}

bool is_compressed(L2Entry value) { return (value.descriptor & entry::compressed) != 0; }

// An external data file has a cluster at offset 0: there the flag tells.
bool has_host(const Header& header, L2Entry value) {
  if (is_compressed(value)) return false;
  return host_offset(value) != 0 || (header.external() && (value.descriptor & entry::copied) != 0);
}

Kind kind_at(const Header& header, L2Entry value, u64 subcluster) {
  if (is_compressed(value)) return header.external() ? Kind::bad : Kind::compressed;
  if ((host_offset(value) & (header.cluster_bytes() - 1)) != 0) return Kind::bad;
  const bool host = has_host(header, value);
  if (header.extended()) {
    const bool allocated = (value.bitmap >> subcluster & 1) != 0, zero = (value.bitmap >> (32 + subcluster) & 1) != 0;
    if (allocated && (zero || !host)) return Kind::bad;
    return allocated ? Kind::data : zero ? Kind::zero : Kind::unallocated;
  }
  if ((value.descriptor & entry::zero) != 0) return header.version >= 3 ? Kind::zero : Kind::bad;
  return host ? Kind::data : Kind::unallocated;
}

namespace {

unsigned compressed_offset_bits(const Header& header) { return 62 - (header.cluster_bits - 8); }

}  // namespace

CompressedPlace compressed_place(const Header& header, u64 descriptor) {
  const unsigned bits = compressed_offset_bits(header);
  const u64 offset = descriptor & low_bits(bits) & low_bits(56);
  const u64 sectors = ((descriptor & low_bits(62)) >> bits) + 1;
  return {offset, sectors * 512 - offset % 512};
}

u64 compressed_descriptor(const Header& header, u64 offset, u64 bytes) {
  const u64 more_sectors = ((offset + bytes - 1) >> 9) - (offset >> 9);
  return entry::compressed | offset | more_sectors << compressed_offset_bits(header);
}

u64 compressed_limit(const Header& header) { return low_bits(std::min(compressed_offset_bits(header), 56u)); }

u64 load_refcount(const u8* block, u64 index, unsigned order) {
  switch (order) {
    case 3: return block[index];
    case 4: return load_be<u16>(block + index * 2);
    case 5: return load_be<u32>(block + index * 4);
    case 6: return load_be<u64>(block + index * 8);
    default: {
      const unsigned width = 1u << order, per_byte = 8 >> order;
      return block[index / per_byte] >> (index % per_byte * width) & low_bits(width);
    }
  }
}

void store_refcount(u8* block, u64 index, unsigned order, u64 value) {
  switch (order) {
    case 3: block[index] = static_cast<u8>(value); return;
    case 4: return store_be(block + index * 2, static_cast<u16>(value));
    case 5: return store_be(block + index * 4, static_cast<u32>(value));
    case 6: return store_be(block + index * 8, value);
    default: {
      const unsigned width = 1u << order, per_byte = 8 >> order;
      const unsigned shift = static_cast<unsigned>(index % per_byte) * width;
      u8& byte = block[index / per_byte];
      byte = static_cast<u8>((byte & ~(low_bits(width) << shift)) | value << shift);
    }
  }
}

}  // namespace doppel::disk::qcow2
