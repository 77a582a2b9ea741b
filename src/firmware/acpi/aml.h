// Writes AML, ACPI's bytecode: one function per term, named and nested as in ASL, so that a table's source reads like one.
// ACPI 6.5 §20 (AML), §6.4 (resource descriptors). Only the terms that our tables use.
//
//   scope("\\_SB", device("PWRB", name("_HID", eisa_id("PNP0C0C"))))
#pragma once

#include <initializer_list>
#include <span>
#include <string_view>
#include <vector>

#include "base/types.h"

namespace doppel::firmware::aml {

// Encoded terms, in order.
using Term = std::vector<u8>;

template <class... Terms>
Term terms(const Terms&... parts) {
  Term all;
  (all.insert(all.end(), parts.begin(), parts.end()), ...);
  return all;
}
Term terms_of(const std::vector<Term>& parts);

// ---- data ----
Term integer(u64 value);  // in the shortest form
Term string(std::string_view text);
Term eisa_id(std::string_view id);  // "PNP0A03"
Term buffer(std::span<const u8> bytes);
Term package(const std::vector<Term>& elements);
// "\\_SB.PCI0", "^ISA.LNKA", "_HID": segments of up to four characters.
Term path(std::string_view text);

// ---- named objects ----
Term name(std::string_view where, const Term& value);
namespace detail {
Term scope(std::string_view where, const Term& body);
Term device(std::string_view where, const Term& body);
Term method(std::string_view where, unsigned arguments, bool serialized, const Term& body);
Term if_(const Term& condition, const Term& body);
Term else_(const Term& body);
}  // namespace detail
template <class... Terms>
Term scope(std::string_view where, const Terms&... body) {
  return detail::scope(where, terms(body...));
}
template <class... Terms>
Term device(std::string_view where, const Terms&... body) {
  return detail::device(where, terms(body...));
}
template <class... Terms>
Term method(std::string_view where, unsigned arguments, const Terms&... body) {
  return detail::method(where, arguments, false, terms(body...));
}
// For methods that create objects of their own.
template <class... Terms>
Term serialized_method(std::string_view where, unsigned arguments, const Terms&... body) {
  return detail::method(where, arguments, true, terms(body...));
}

enum class Space : u8 { system_memory = 0, system_io = 1, pci_config = 2 };
Term operation_region(std::string_view where, Space space, u64 offset, u64 bytes);
struct FieldUnit {
  std::string_view name;
  unsigned bits;
};  // an empty name leaves the bits out
Term byte_field(std::string_view region, std::initializer_list<FieldUnit> units);  // ByteAcc, NoLock, Preserve
Term create_dword_field(const Term& buffer, u64 byte_offset, std::string_view name);

// ---- statements and expressions ----
template <class... Terms>
Term if_(const Term& condition, const Terms&... body) {
  return detail::if_(condition, terms(body...));
}
template <class... Terms>
Term else_(const Terms&... body) {
  return detail::else_(terms(body...));
}
Term arg(unsigned index);
Term local(unsigned index);
Term return_(const Term& value);
Term store(const Term& value, const Term& target);
Term or_(const Term& left, const Term& right, const Term& target = {});  // no target: the value only
Term and_(const Term& left, const Term& right, const Term& target = {});
Term shift_left(const Term& value, const Term& count, const Term& target = {});
Term find_set_right_bit(const Term& value, const Term& target = {});
Term subtract(const Term& left, const Term& right, const Term& target = {});
Term logical_not(const Term& value);

// ---- resource descriptors ----
Term resource_template(const std::vector<Term>& descriptors);  // a buffer with its end tag
enum class Sharing : u8 { exclusive = 0, shared = 1 };
enum class Trigger : u8 { level = 0, edge = 1 };
enum class Polarity : u8 { active_high = 0, active_low = 1 };
Term io(u16 base, u8 bytes);      // IO (Decode16, base, base, 1, bytes)
Term irq_no_flags(unsigned irq);  // an ISA interrupt: edge, active high, exclusive
Term interrupts(std::span<const u32> gsis, Trigger trigger, Polarity polarity, Sharing sharing);
Term memory32_fixed(bool writable, u32 base, u32 bytes);
// Address space windows that a bridge passes on; [first, last] inclusive.
Term word_bus_number(u16 first, u16 last);
Term word_io(u16 first, u16 last);
Term dword_memory(bool cacheable, u32 first, u32 last);
Term qword_memory(bool cacheable, u64 first, u64 last);

}  // namespace doppel::firmware::aml
