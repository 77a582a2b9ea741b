// Guest tests as they are written: an assembly file holds cases, each a label behind a comment block that says how to start and
// what must come of it. tests/guest/README.md describes the format.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace doppel::guest {

// What the assembler knows: labels and constants. Expressions are sums of numbers and names; ".name" is local to `scope`.
class Symbols {
 public:
  static Result<Symbols> read(const std::string& map_path);
  Result<u64> evaluate(std::string_view expression, std::string_view scope) const;

 private:
  Result<u64> term(std::string_view text, std::string_view scope) const;
  std::map<std::string, u64, std::less<>> values_;
};

struct ExpectedEvent {
  std::string text;  // as written, for messages
  u8 vector = 0;
  std::optional<u64> error;
  std::optional<u64> rip;
};

struct ExpectedValue {
  std::string name;  // "rax", "cs.base", "e0.cr2"; "" for memory
  u64 address = 0;
  unsigned bytes = 0;
  u64 mask = ~u64{0};
  u64 value = 0;
  std::string text;
};

struct Case {
  std::string name;  // "paging.write_to_read_only", with the mode if there are several
  u32 mode = 0;      // MODE_… for the guest
  u64 entry = 0;
  unsigned cpus = 1;
  u64 memory_bytes = u64{16} << 20;
  u64 budget = 2'000'000;  // instructions, of all processors together
  std::string exit = "halt";
  std::vector<ExpectedEvent> events;
  std::vector<ExpectedValue> values;
};

struct Program {
  std::vector<u8> image;
  u64 load_address = 0;
  Symbols symbols;
  std::vector<Case> cases;
};

// `source`: NAME.asm; `binaries`: the folder of NAME.bin and NAME.map. The first error names file and line.
Result<Program> load_program(const std::string& source, const std::string& binaries);

// "#PF", "NMI", "int(0x40)".
std::string vector_name(u8 vector);

}  // namespace doppel::guest
