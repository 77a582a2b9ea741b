// Resource descriptors: ACPI 6.5 §6.4. Small items carry their length in the tag byte, large ones in two bytes after it.
#include "base/check.h"
#include "firmware/acpi/aml.h"
#include "firmware/bytes.h"

namespace doppel::firmware::aml {

namespace {

namespace tag {
constexpr u8 irq_no_flags = 0x22, io = 0x47, end = 0x79;  // small
constexpr u8 memory32_fixed = 0x86, dword_address = 0x87, word_address = 0x88, interrupt = 0x89, qword_address = 0x8a;
}  // namespace tag

// §6.4.3.5: resource type, general flags, type-specific flags, then five numbers of `width` bytes.
enum class AddressType : u8 { memory = 0, io = 1, bus_number = 2 };
constexpr u8 fixed_minimum_and_maximum = 0x0c;  // and: the bridge produces it, positive decode
constexpr u8 memory_writable = 0x01, memory_cacheable = 0x02;
constexpr u8 io_entire_range = 0x03;

Term address_space(u8 tag, unsigned width, AddressType type, u8 specific, u64 first, u64 last) {
  CHECK(first <= last);
  ByteWriter out;
  out.byte(tag).word(3 + 5 * width).byte(static_cast<u8>(type)).byte(fixed_minimum_and_maximum).byte(specific);
  for (const u64 number :
       {u64{0}, first, last, u64{0}, last - first + 1}) {  // granularity, min, max, translation, length
    for (unsigned i = 0; i < width; ++i) out.byte(number >> (8 * i));
  }
  return out.take();
}

}  // namespace

Term resource_template(const std::vector<Term>& descriptors) {
  const Term end{tag::end, 0};  // checksum zero: not checked
  return buffer(terms(terms_of(descriptors), end));
}

Term io(u16 base, u8 bytes) {
  constexpr u8 decodes_16_bits = 1;
  ByteWriter out;
  out.byte(tag::io).byte(decodes_16_bits).word(base).word(base).byte(1).byte(bytes);
  return out.take();
}

Term irq_no_flags(unsigned irq) {
  CHECK(irq < 16);
  ByteWriter out;
  out.byte(tag::irq_no_flags).word(u64{1} << irq);
  return out.take();
}

Term interrupts(std::span<const u32> gsis, Trigger trigger, Polarity polarity, Sharing sharing) {
  constexpr unsigned consumer = 1;
  ByteWriter out;
  out.byte(tag::interrupt).word(2 + 4 * gsis.size());
  out.byte(consumer | static_cast<unsigned>(trigger) << 1 | static_cast<unsigned>(polarity) << 2 |
           static_cast<unsigned>(sharing) << 3);
  out.byte(gsis.size());
  for (const u32 gsi : gsis) out.dword(gsi);
  return out.take();
}

Term memory32_fixed(bool writable, u32 base, u32 bytes) {
  ByteWriter out;
  out.byte(tag::memory32_fixed).word(9).byte(writable).dword(base).dword(bytes);
  return out.take();
}

Term word_bus_number(u16 first, u16 last) {
  return address_space(tag::word_address, 2, AddressType::bus_number, 0, first, last);
}
Term word_io(u16 first, u16 last) {
  return address_space(tag::word_address, 2, AddressType::io, io_entire_range, first, last);
}

Term dword_memory(bool cacheable, u32 first, u32 last) {
  const u8 specific = memory_writable | (cacheable ? memory_cacheable : 0);
  return address_space(tag::dword_address, 4, AddressType::memory, specific, first, last);
}

Term qword_memory(bool cacheable, u64 first, u64 last) {
  const u8 specific = memory_writable | (cacheable ? memory_cacheable : 0);
  return address_space(tag::qword_address, 8, AddressType::memory, specific, first, last);
}

}  // namespace doppel::firmware::aml
