#include "engine/interpreter/builder.h"

#include <algorithm>

#include "engine/interpreter/bind.h"
#include "engine/interpreter/translate.h"

namespace doppel::interpreter {
namespace {

using namespace x86;

constexpr unsigned longest_instruction = 15;

void execute_too_long(Cpu& cpu, const Op* op) { return raise(cpu, op, general_protection, 0); }

// The marker of a block that was cut short: back to the run loop.
void execute_stop(Cpu& cpu, const Op* op) {
  cpu.rip = cpu.wrap_rip(cpu.gpr[slot_rip] + op->offset);
  cpu.leave = Leave::next_block;
  cpu.next_op = nullptr;
}

// The Op of a block that spans two pages: the first page was checked on the way in.
void execute_crossing(Cpu& cpu, const Op* op) {
  const Block& block = *cpu.block;
  if (cpu.generations[block.second_page].load(std::memory_order_relaxed) != block.second_generation) [[unlikely]]
    return leave_before(cpu, op, Leave::restart);
  return block.crossing(cpu, op);
}

struct CodeBytes {
  u8* host = nullptr;  // nullptr: not RAM or ROM
  u64 physical = 0;
  unsigned room = 0;  // to the end of the page

  u64 page(const Cpu& cpu) const { return static_cast<u64>(host - cpu.ram) >> page_shift; }
};

bool fetch_page(Cpu& cpu, u64 linear, CodeBytes& code) {
  const TlbTable table = current_table(cpu);
  code.room = static_cast<unsigned>(page_size - (linear & (page_size - 1)));
  code.host = cpu.tlbs.find_code(table, linear);
  if (code.host) return true;
  const HostTranslation page = translate_to_host(cpu, linear, AccessKind::fetch, table);
  code.host = page.host;
  code.physical = page.physical;
  return page.ok;
}

// The same, noted as a page that jumps lead to.
bool fetch_for_jump(Cpu& cpu, u64 linear, CodeBytes& code) {
  if (!fetch_page(cpu, linear, code)) return false;
  cpu.note_code_page(linear, current_table(cpu));
  return true;
}

// Decoded instructions before they have a block.
struct Draft {
  std::array<Op, Block::max_instructions + 1> ops;
  unsigned count = 0;
  unsigned length = 0;
  bool done = false;

  void add(const Decoder& decoder, CodeMode mode, std::span<const u8> bytes) {
    Instruction instruction;
    Op& op = ops[count];
    op = {};
    op.offset = static_cast<u16>(length);
    switch (decoder.decode(mode, bytes, instruction)) {
      case DecodeStatus::ok: done = bind(instruction, op).ends_block; break;
      case DecodeStatus::need_more_bytes: done = true; return;
      case DecodeStatus::invalid: refuse(op, execute_invalid_opcode); break;
      case DecodeStatus::too_long: refuse(op, execute_too_long); break;
    }
    length += op.length;
    ++count;
  }
  void refuse(Op& op, Handler handler) {
    op.handler = handler;
    op.length = 1;
    done = true;
  }
  void fill(Block& block, Handler marker) {
    block.count = static_cast<u16>(count);
    block.length = static_cast<u16>(length);
    std::copy_n(ops.begin(), count, block.ops);
    block.ops[count] = {};
    block.ops[count].handler = marker;
    block.ops[count].offset = block.length;
  }
};

void decode_within_page(Cpu& cpu, std::span<const u8> bytes, unsigned limit, Draft& draft) {
  while (!draft.done && draft.count < limit && draft.length < bytes.size())
    draft.add(cpu.decoder, cpu.mode, bytes.subspan(draft.length));
}

// Decodes what RAM holds now, marks it as code, and makes sure that it still is what was decoded.
void decode_ram(Cpu& cpu, const CodeBytes& code, unsigned limit, Draft& draft, Block& block) {
  const auto offset = static_cast<u64>(code.host - cpu.ram);
  const u64 page = offset >> page_shift;
  const auto in_page = static_cast<unsigned>(offset & (page_size - 1));
  std::array<u8, Block::max_instructions * longest_instruction> copy;
  for (;;) {
    // The generation is read before the lines are marked: a writer that clears them in between also bumps it.
    block.generation = cpu.generations[page].load();
    const unsigned size = std::min<unsigned>(code.room, limit * longest_instruction);
    std::memcpy(copy.data(), code.host, size);
    draft = {};
    decode_within_page(cpu, std::span(copy).first(size), limit, draft);
    if (draft.count == 0) return;  // the first instruction leaves the page
    block.uncached = !cpu.mark_code(page, in_page, in_page + draft.length - 1);
    if (std::memcmp(copy.data(), code.host, draft.length) == 0) break;
  }
  block.physical = offset;
  block.generation_now = &cpu.generations[page];
}

u64 linear_of_code(const Cpu& cpu) {
  return cpu.long64 ? cpu.rip : static_cast<u32>(cpu.s.segments[cs].base + cpu.rip);
}

// The page that follows the one at `linear`.
bool fetch_next_page(Cpu& cpu, u64 linear, unsigned room, CodeBytes& second) {
  const u64 beyond = cpu.long64 ? linear + room : static_cast<u32>(linear + room);
  if (cpu.long64 && !is_canonical(beyond)) {
    set_fault(cpu, general_protection, 0);
    return false;
  }
  return fetch_for_jump(cpu, beyond, second);
}

u8 code_byte(Cpu& cpu, const CodeBytes& code, unsigned at) {
  return code.host ? code.host[at] : static_cast<u8>(cpu.memory.mmio().read(code.physical + at, 1));
}

// One instruction whose bytes lie in two pages, or in no RAM (then its block is used once).
bool decode_crossing(Cpu& cpu, u64 linear, const CodeBytes& code, Draft& draft, Block& block) {
  CodeBytes second;
  const unsigned available = std::min(code.room, longest_instruction);
  std::array<u8, longest_instruction> bytes;
  const auto fetch = [&](unsigned from, unsigned to) {
    for (unsigned i = from; i < to; ++i)
      bytes[i] = i < available ? code_byte(cpu, code, i) : code_byte(cpu, second, i - available);
  };
  fetch(0, available);
  draft = {};
  draft.add(cpu.decoder, cpu.mode, std::span(bytes).first(available));
  block.uncached = true;
  block.generation_now = &cpu.generations[0];
  block.generation = block.generation_now->load();
  if (draft.count > 0) return true;
  if (!fetch_next_page(cpu, linear, code.room, second)) return false;
  const bool in_ram = code.host && second.host;
  if (in_ram) {
    block.physical = static_cast<u64>(code.host - cpu.ram);
    block.generation_now = &cpu.generations[code.page(cpu)];
    block.second_page = second.page(cpu);
    // As in decode_ram: generations first, then the marks, then the bytes. The whole reach of an instruction is marked.
    block.generation = block.generation_now->load();
    block.second_generation = cpu.generations[block.second_page].load();
    const bool first_kept = cpu.mark_code(code.page(cpu), page_size - available, page_size - 1);
    const bool second_kept = cpu.mark_code(block.second_page, 0, longest_instruction - available - 1);
    block.uncached = !first_kept || !second_kept;
  }
  fetch(0, longest_instruction);
  draft = {};
  draft.add(cpu.decoder, cpu.mode, bytes);
  if (in_ram) {
    block.crossing = draft.ops[0].handler;
    draft.ops[0].handler = execute_crossing;
  }
  return true;
}

// Whether a cached crossing block still has the second page that it was decoded from. False with a fault recorded: no such page now.
bool second_page_holds(Cpu& cpu, u64 linear, const CodeBytes& code, const Block& block, bool& faulted) {
  CodeBytes second;
  faulted = !fetch_next_page(cpu, linear, code.room, second);
  return !faulted && second.host && second.page(cpu) == block.second_page &&
         cpu.generations[block.second_page].load() == block.second_generation;
}

Block* cut_short(const Block& whole, u64 limit, ScratchBlock& scratch) {
  Block* block = scratch.block();
  if (block != &whole) {
    std::memcpy(static_cast<void*>(block), &whole, sizeof(Block));
    block->native = 0;  // which is the whole's
    std::copy_n(whole.ops, limit, block->ops);
  }
  block->count = static_cast<u16>(limit);
  block->ops[limit] = {};
  block->ops[limit].handler = execute_stop;
  block->ops[limit].offset = whole.ops[limit].offset;
  block->length = whole.ops[limit].offset;
  return block;
}

Block* build(Cpu& cpu, u64 linear, const CodeBytes& code, unsigned limit, ScratchBlock& scratch) {
  Draft draft;
  Block header{};
  header.mode = cpu.mode;
  if (code.host) decode_ram(cpu, code, limit, draft, header);
  if (draft.count == 0 && !decode_crossing(cpu, linear, code, draft, header)) return nullptr;
  const bool cache = !header.uncached && limit == cpu.longest_block;
  Block* block = cache ? cpu.blocks.allocate(draft.count) : scratch.block();
  std::memcpy(static_cast<void*>(block), &header, sizeof(Block));
  draft.fill(*block, cache ? execute_end_of_block : execute_stop);
  if (cache) cpu.blocks.insert(block);
  return block;
}

// Outside of 64-bit mode the whole block must lie within CS's limit.
bool within_code_limit(const Cpu& cpu, const Block& block) {
  return cpu.long64 || cpu.rip + block.length - 1 <= cpu.s.segments[cs].limit;
}

}  // namespace

Block* some_operations(const Block& whole, unsigned first, unsigned count, ScratchBlock& scratch) {
  Block* block = scratch.block();
  std::memcpy(static_cast<void*>(block), &whole, sizeof(Block));
  const Op& last = whole.ops[first + count - 1];
  block->count = static_cast<u16>(count);
  block->length = static_cast<u16>(last.offset + last.length);
  std::copy_n(whole.ops + first, count, block->ops);
  block->ops[count] = {};
  block->ops[count].handler = execute_stop;
  block->ops[count].offset = block->length;
  return block;
}

u64 physical_of_code(Cpu& cpu) {
  CodeBytes code;
  return fetch_for_jump(cpu, linear_of_code(cpu), code) && code.host ? static_cast<u64>(code.host - cpu.ram) : no_ram;
}

Block* find_known_block(Cpu& cpu) {
  const u64 linear = linear_of_code(cpu);
  CodeBytes code;
  if (!fetch_for_jump(cpu, linear, code) || !code.host) return nullptr;
  Block* block = cpu.blocks.find(static_cast<u64>(code.host - cpu.ram), cpu.mode);
  bool fault = false;
  if (!block || !block->valid()) return nullptr;
  if (block->crossing && !second_page_holds(cpu, linear, code, *block, fault)) return nullptr;
  return within_code_limit(cpu, *block) ? block : nullptr;
}

Block* find_block(Cpu& cpu, u64 limit, ScratchBlock& scratch) {
  const u64 linear = linear_of_code(cpu);
  if (cpu.long64 ? !is_canonical(linear) : cpu.rip > cpu.s.segments[cs].limit) {
    set_fault(cpu, general_protection, 0);
    return nullptr;
  }
  CodeBytes code;
  if (!fetch_for_jump(cpu, linear, code)) return nullptr;

  Block* block = code.host ? cpu.blocks.find(static_cast<u64>(code.host - cpu.ram), cpu.mode) : nullptr;
  if (block && !block->valid()) block = nullptr;
  bool fault = false;
  if (block && block->crossing && !second_page_holds(cpu, linear, code, *block, fault)) block = nullptr;
  if (fault) return nullptr;
  if (!block) {
    block = build(cpu, linear, code, cpu.longest_block, scratch);
    if (!block) return nullptr;
  }
  if (!within_code_limit(cpu, *block)) {
    block = build(cpu, linear, code, 1, scratch);
    if (!block) return nullptr;
    if (!within_code_limit(cpu, *block)) {
      set_fault(cpu, general_protection, 0);
      return nullptr;
    }
    return block;
  }
  if (block->count > limit) return cut_short(*block, limit, scratch);
  if (cpu.chains_blocks && block != scratch.block()) {
    JumpCacheEntry& entry = cpu.jumps[BlockCache::jump_slot(cpu.rip)];
    entry = {cpu.rip, cpu.code_context, block};
  }
  return block;
}

}  // namespace doppel::interpreter
