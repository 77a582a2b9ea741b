// Opcodes and encodings: ACPI 6.5 §20.2. Names and strings here are our own, so what does not encode is a CHECK.
#include "firmware/acpi/aml.h"

#include "base/check.h"
#include "firmware/bytes.h"

namespace doppel::firmware::aml {

namespace {

namespace op {
constexpr u8 zero = 0x00, one = 0x01, name = 0x08, byte = 0x0a, word = 0x0b, dword = 0x0c, string = 0x0d, qword = 0x0e,
             scope = 0x10, buffer = 0x11, package = 0x12, method = 0x14, local0 = 0x60, arg0 = 0x68, store = 0x70,
             subtract = 0x74, shift_left = 0x79, and_ = 0x7b, or_ = 0x7d, find_set_right_bit = 0x82,
             create_dword_field = 0x8a, logical_not = 0x92, if_ = 0xa0, else_ = 0xa1, return_ = 0xa4, extended = 0x5b;
constexpr u8 extended_operation_region = 0x80, extended_field = 0x81, extended_device = 0x82;
constexpr u8 dual_name = 0x2e, multi_name = 0x2f;
}  // namespace op

Term bytes(std::initializer_list<u8> list) { return Term(list); }

// The length counts its own bytes too: 1 byte up to 63, else 2–4 with four bits in the first.
Term package_length(u64 body) {
  if (body + 1 < 0x40) return {static_cast<u8>(body + 1)};
  for (unsigned more = 1; more <= 3; ++more) {
    const u64 total = body + 1 + more;
    if (total >> (4 + 8 * more) != 0) continue;
    Term out{static_cast<u8>(more << 6 | (total & 0xf))};
    for (unsigned i = 0; i < more; ++i) out.push_back(static_cast<u8>(total >> (4 + 8 * i)));
    return out;
  }
  CHECK(!"a package shorter than 256 MiB");
}

Term sized(const Term& opcode, const Term& body) { return terms(opcode, package_length(body.size()), body); }

Term with_target(u8 opcode, const Term& left, const Term& right, const Term& target) {
  return terms(bytes({opcode}), left, right, target.empty() ? bytes({op::zero}) : target);  // zero: no target
}

}  // namespace

Term terms_of(const std::vector<Term>& parts) {
  Term all;
  for (const Term& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

Term integer(u64 value) {
  if (value == 0) return {op::zero};
  if (value == 1) return {op::one};
  ByteWriter out;
  if (value <= 0xff) {
    out.byte(op::byte).byte(value);
  } else if (value <= 0xffff) {
    out.byte(op::word).word(value);
  } else if (value <= 0xffff'ffff) {
    out.byte(op::dword).dword(value);
  } else {
    out.byte(op::qword).qword(value);
  }
  return out.take();
}

Term string(std::string_view text) {
  ByteWriter out;
  out.byte(op::string).text(text, text.size()).byte(0);
  return out.take();
}

// Three letters of five bits, four hexadecimal digits, big endian.
Term eisa_id(std::string_view id) {
  CHECK(id.size() == 7);
  const auto letter = [&](unsigned i) { return static_cast<u32>(id[i] - 'A' + 1) & 0x1f; };
  const auto digit = [&](unsigned i) { return static_cast<u32>(id[i] <= '9' ? id[i] - '0' : id[i] - 'A' + 10) & 0xf; };
  const u32 value = letter(0) << 26 | letter(1) << 21 | letter(2) << 16 | digit(3) << 12 | digit(4) << 8 |
                    digit(5) << 4 | digit(6);
  return integer(__builtin_bswap32(value));
}

Term buffer(std::span<const u8> contents) { return sized({op::buffer}, terms(integer(contents.size()), contents)); }

Term package(const std::vector<Term>& elements) {
  CHECK(elements.size() <= 0xff);
  return sized({op::package}, terms(bytes({static_cast<u8>(elements.size())}), terms_of(elements)));
}

Term path(std::string_view text) {
  Term out;
  while (!text.empty() && (text[0] == '\\' || text[0] == '^')) {
    out.push_back(static_cast<u8>(text[0]));
    text.remove_prefix(1);
  }
  std::vector<std::string_view> segments;
  while (!text.empty()) {
    const auto dot = text.find('.');
    segments.push_back(text.substr(0, dot));
    text.remove_prefix(dot == text.npos ? text.size() : dot + 1);
  }
  if (segments.empty()) out.push_back(0);  // the root itself
  if (segments.size() == 2) out.push_back(op::dual_name);
  if (segments.size() > 2) {
    out.push_back(op::multi_name);
    out.push_back(static_cast<u8>(segments.size()));
  }
  for (const std::string_view segment : segments) {
    CHECK(!segment.empty() && segment.size() <= 4);
    for (unsigned i = 0; i < 4; ++i) out.push_back(static_cast<u8>(i < segment.size() ? segment[i] : '_'));
  }
  return out;
}

Term name(std::string_view where, const Term& value) { return terms(bytes({op::name}), path(where), value); }

namespace detail {

Term scope(std::string_view where, const Term& body) { return sized({op::scope}, terms(path(where), body)); }

Term device(std::string_view where, const Term& body) {
  return sized({op::extended, op::extended_device}, terms(path(where), body));
}

Term method(std::string_view where, unsigned arguments, bool serialized, const Term& body) {
  CHECK(arguments <= 7);
  const u8 flags = static_cast<u8>(arguments | (serialized ? 8 : 0));
  return sized({op::method}, terms(path(where), bytes({flags}), body));
}

Term if_(const Term& condition, const Term& body) { return sized({op::if_}, terms(condition, body)); }
Term else_(const Term& body) { return sized({op::else_}, body); }

}  // namespace detail

Term operation_region(std::string_view where, Space space, u64 offset, u64 size) {
  return terms(bytes({op::extended, op::extended_operation_region}), path(where), bytes({static_cast<u8>(space)}),
               integer(offset), integer(size));
}

Term byte_field(std::string_view region, std::initializer_list<FieldUnit> units) {
  constexpr u8 byte_access_preserve = 0x01;
  Term body = terms(path(region), bytes({byte_access_preserve}));
  for (const FieldUnit& unit : units) {
    // A field's length is written like a package length, but counts bits and not itself.
    CHECK(unit.bits < 0x40);
    const Term length{static_cast<u8>(unit.bits)};
    body = terms(body, unit.name.empty() ? bytes({0}) : path(unit.name), length);
  }
  return sized({op::extended, op::extended_field}, body);
}

Term create_dword_field(const Term& source, u64 byte_offset, std::string_view where) {
  return terms(bytes({op::create_dword_field}), source, integer(byte_offset), path(where));
}

Term arg(unsigned index) { return {static_cast<u8>(op::arg0 + index)}; }
Term local(unsigned index) { return {static_cast<u8>(op::local0 + index)}; }
Term return_(const Term& value) { return terms(bytes({op::return_}), value); }
Term store(const Term& value, const Term& target) { return terms(bytes({op::store}), value, target); }
Term or_(const Term& left, const Term& right, const Term& target) { return with_target(op::or_, left, right, target); }
Term and_(const Term& left, const Term& right, const Term& target) {
  return with_target(op::and_, left, right, target);
}
Term shift_left(const Term& value, const Term& count, const Term& target) {
  return with_target(op::shift_left, value, count, target);
}
Term find_set_right_bit(const Term& value, const Term& target) {
  return with_target(op::find_set_right_bit, value, {}, target);
}
Term subtract(const Term& left, const Term& right, const Term& target) {
  return with_target(op::subtract, left, right, target);
}
Term logical_not(const Term& value) { return terms(bytes({op::logical_not}), value); }

}  // namespace doppel::firmware::aml
