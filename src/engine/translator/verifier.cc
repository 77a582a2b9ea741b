#include "engine/translator/verifier.h"

#include <fmt/format.h>
#include <xmmintrin.h>

#include <algorithm>
#include <cstring>

#include "isa/x86/decoder.h"

namespace doppel::translator {

using interpreter::Tlb;

namespace {

constexpr u64 page_mask = ~(page_size - 1);
constexpr std::size_t most_bytes_shown = 16;
constexpr std::array<const char*, 16> gpr_names{"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                                "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

u8* page_of(u8* host, u64 linear) { return host - (linear & ~page_mask); }

auto fields(const x86::FpuState& f) {
  return std::tuple(f.control, f.status, f.valid, f.opcode, f.instruction_pointer, f.data_pointer,
                    f.instruction_selector, f.data_selector);
}
bool same(const x86::FpuState& a, const x86::FpuState& b) {
  for (unsigned i = 0; i < 8; ++i)
    if (std::memcmp(&a.registers[i], &b.registers[i], 10) != 0) return false;
  return fields(a) == fields(b);
}

}  // namespace

Verifier::Verifier(Cpu& cpu) : cpu_(cpu), table_(Tlb::make_table()) {}

void Verifier::take(Registers& to) const {
  std::copy_n(cpu_.gpr, 16, to.gpr.begin());
  to.rip = cpu_.rip;
  to.other_flags = cpu_.other_flags;
  to.gs_base = cpu_.s.segments[x86::gs].base;
  to.kernel_gs_base = cpu_.s.kernel_gs_base;
  to.flags = cpu_.flags;
  to.remaining = cpu_.remaining;
  to.mxcsr = _mm_getcsr();
  if (vectors_) to.vectors = cpu_.s.vectors;
  if (x87_) to.fpu = cpu_.s.fpu;
}

void Verifier::put(const Registers& from) {
  std::copy_n(from.gpr.begin(), 16, cpu_.gpr);
  cpu_.rip = from.rip;
  cpu_.other_flags = from.other_flags;
  cpu_.s.segments[x86::gs].base = from.gs_base;
  cpu_.s.kernel_gs_base = from.kernel_gs_base;
  cpu_.flags = from.flags;
  cpu_.remaining = from.remaining;
  _mm_setcsr(from.mxcsr);
  if (vectors_) cpu_.s.vectors = from.vectors;
  if (x87_) cpu_.s.fpu = from.fpu;
}

void Verifier::start(const NativeBlock& block) {
  vectors_ = block.vectors;
  x87_ = block.x87;
  touched_.clear();
  written_count_ = 0;
  tlb_ = cpu_.tlb;
  take(before_);
}

void Verifier::interpret(u64 charged) {
  charged_ = charged;
  cpu_.remaining += static_cast<i64>(charged);
  cpu_.tlb = Tlb::blind_table();
  cpu_.observer = this;
}

void Verifier::end_observation() {
  cpu_.observer = nullptr;
  cpu_.leave = interpreter::Leave::next_block;
  if (cpu_.s.sti_shadow) {  // of an STI that was the last of what was executed: see execute_sti
    cpu_.s.sti_shadow = false;
    cpu_.update_mode();
  }
  cpu_.tlb = tlb_;
}

void Verifier::translate() {
  end_observation();
  take(interpreted_);
  put(before_);
  for (std::size_t i = 0; i < written_count_; ++i) *written_[i].copy = *written_[i].before;
  move_held(true);
  fill_table();
  cpu_.tlb = table_.get();
}

// Host addresses that the block uses again: the copies are this stretch's.
void Verifier::move_held(bool to_copies) {
  for (u64& held : cpu_.native.held)
    for (std::size_t i = 0; i < written_count_; ++i) {
      u64 from = reinterpret_cast<u64>(written_[i].host), to = reinterpret_cast<u64>(written_[i].copy->data());
      if (!to_copies) std::swap(from, to);
      if (held - from >= page_size) continue;
      held += to - from;
      break;
    }
}

void Verifier::departed() {
  take(departed_);
  move_held(false);
}

i64 Verifier::left() {
  cpu_.tlb = tlb_;
  empty_table();
  take(translated_);
  const i64 fewer = translated_.remaining - interpreted_.remaining;
  if (fewer <= 0) return -1;
  for (std::size_t i = 0; i < written_count_; ++i) std::memcpy(written_[i].host, written_[i].before->data(), page_size);
  // Accessed and dirty bits may have gone with what was written: they are set again when they are needed.
  if (written_count_ > 0) {
    cpu_.tlbs.flush_all();
    cpu_.forget_jumps();
    tlb_ = cpu_.tlb;
  }
  put(before_);
  return before_.remaining + static_cast<i64>(charged_) - translated_.remaining;
}

void Verifier::interpreted_again() {
  end_observation();
  take(interpreted_);
}

bool Verifier::access(const interpreter::ObservedAccess& access) {
  if (!access.host || (access.write && !access.writable)) return false;
  u8* const host = page_of(access.host, access.linear);
  if (access.write) {
    if (cpu_.page_flags[static_cast<u64>(host - cpu_.ram) >> page_shift].load(std::memory_order_relaxed)) return false;
    note_written(host);
  }
  const u64 linear = access.linear & page_mask;
  for (Touched& page : touched_)
    if (page.linear == linear && page.host == host) {
      page.written |= access.write;
      return true;
    }
  touched_.push_back({linear, host, access.readable, access.write});
  return true;
}

Verifier::Written* Verifier::find_written(const u8* host) {
  for (std::size_t i = 0; i < written_count_; ++i)
    if (written_[i].host == host) return &written_[i];
  return nullptr;
}

void Verifier::note_written(u8* host) {
  if (find_written(host)) return;
  if (written_count_ == written_.size())
    written_.push_back(
        {nullptr, std::make_unique<std::array<u8, page_size>>(), std::make_unique<std::array<u8, page_size>>()});
  Written& page = written_[written_count_++];
  page.host = host;
  std::memcpy(page.before->data(), host, page_size);
}

void Verifier::fill_table() {
  for (const Touched& page : touched_) {
    const u64 slot = Tlb::slot_of(page.linear);
    const Written* written = find_written(page.host);
    table_->read_tag[slot] = page.readable ? page.linear : Tlb::invalid_tag(slot);
    table_->write_tag[slot] = page.written ? page.linear : Tlb::invalid_tag(slot);
    table_->host[slot] = reinterpret_cast<u64>(written ? written->copy->data() : page.host);
  }
}

void Verifier::empty_table() {
  for (const Touched& page : touched_) {
    const u64 slot = Tlb::slot_of(page.linear);
    table_->read_tag[slot] = table_->write_tag[slot] = Tlb::invalid_tag(slot);
  }
}

bool Verifier::same_registers() const {
  const Registers &a = interpreted_, &b = translated_;
  if (a.gpr != b.gpr || a.rip != b.rip || a.rflags() != b.rflags() || a.remaining != b.remaining ||
      a.gs_base != b.gs_base || a.kernel_gs_base != b.kernel_gs_base)
    return false;
  if (vectors_ && (a.mxcsr != b.mxcsr || std::memcmp(&a.vectors, &b.vectors, sizeof(a.vectors)) != 0)) return false;
  return !x87_ || same(a.fpu, b.fpu);
}

bool Verifier::equal(bool but_for_flags) {
  if (but_for_flags) departed_.flags = translated_.flags = interpreted_.flags;
  if (!same_registers()) return false;
  for (std::size_t i = 0; i < written_count_; ++i)
    if (std::memcmp(written_[i].host, written_[i].copy->data(), page_size) != 0) return false;
  return true;
}

std::string Verifier::differences_of_memory() const {
  std::string text;
  std::size_t shown = 0;
  for (std::size_t i = 0; i < written_count_; ++i) {
    const Written& page = written_[i];
    for (u64 at = 0; at < page_size && shown < most_bytes_shown; ++at) {
      if (page.host[at] == (*page.copy)[at]) continue;
      ++shown;
      text += fmt::format("* RAM {:#x}: before {:02x}, interpreted {:02x}, translated {:02x}\n",
                          static_cast<u64>(page.host - cpu_.ram) + at, (*page.before)[at], page.host[at],
                          (*page.copy)[at]);
    }
  }
  return text;
}

std::string Verifier::report(const Cpu& cpu, const interpreter::Block& block, unsigned first) const {
  const u64 start = before_.rip - block.ops[first].offset;
  std::string text = fmt::format("translated code differs from the interpreter in the block at {:#x}, CPU {}\n", start,
                                 cpu.index);
  for (unsigned i = 0; i < block.count; ++i) {
    const interpreter::Op& op = block.ops[i];
    const u64 at = block.physical + op.offset;  // what lies in a second page is not shown
    const std::span<const u8> bytes(cpu.ram + at, std::min<u64>(op.length, page_size - (at & ~page_mask)));
    text += fmt::format("{} {:x}  {}\n", i == first ? '>' : ' ', start + op.offset,
                        x86::disassemble(block.mode, start + op.offset, bytes));
  }
  text += fmt::format("  {:<16}{:<34}{:<34}{}\n", "", "before", "interpreted", "translated");
  const auto line = [&](std::string_view name, const std::string& before, const std::string& a, const std::string& b) {
    text += fmt::format("{} {:<16}{:<34}{:<34}{}\n", a == b ? ' ' : '*', name, before, a, b);
  };
  const auto number = [&](std::string_view name, auto get) {
    const auto hex = [&](const Registers& registers) { return fmt::format("{:x}", get(registers)); };
    line(name, hex(before_), hex(interpreted_), hex(translated_));
  };
  for (unsigned i = 0; i < 16; ++i) number(gpr_names[i], [&](const Registers& r) { return r.gpr[i]; });
  number("rip", [](const Registers& r) { return r.rip; });
  number("rflags", [](const Registers& r) { return r.rflags(); });
  number("gs base", [](const Registers& r) { return r.gs_base; });
  number("kernel gs base", [](const Registers& r) { return r.kernel_gs_base; });
  const i64 paid = before_.remaining + static_cast<i64>(charged_);
  line("instructions", "0", fmt::format("{}", paid - interpreted_.remaining),
       fmt::format("{}", paid - translated_.remaining));
  if (vectors_) {
    number("mxcsr", [](const Registers& r) { return r.mxcsr; });
    for (unsigned i = 0; i < 16; ++i)
      for (unsigned half = 0; half < 2; ++half) {
        const auto hex = [&](const Registers& r) {
          return fmt::format("{:016x}{:016x}", r.vectors[i].words[half * 2 + 1], r.vectors[i].words[half * 2]);
        };
        line(fmt::format("{}{}", half ? "ymm high " : "xmm", i), hex(before_), hex(interpreted_), hex(translated_));
      }
  }
  if (x87_) {
    number("fcw", [](const Registers& r) { return r.fpu.control; });
    number("fsw", [](const Registers& r) { return r.fpu.status; });
    number("ftw", [](const Registers& r) { return r.fpu.valid; });
    number("fip", [](const Registers& r) { return r.fpu.instruction_pointer; });
    number("fdp", [](const Registers& r) { return r.fpu.data_pointer; });
    number("fop", [](const Registers& r) { return r.fpu.opcode; });
    for (unsigned i = 0; i < 8; ++i) {
      const auto hex = [&](const Registers& r) {
        std::array<u8, 10> bytes;
        std::memcpy(bytes.data(), &r.fpu.registers[i], bytes.size());
        std::string digits;
        for (unsigned at = 10; at-- > 0;) digits += fmt::format("{:02x}", bytes[at]);
        return digits;
      };
      line(fmt::format("x87 r{}", i), hex(before_), hex(interpreted_), hex(translated_));
    }
  }
  return text + differences_of_memory();
}

}  // namespace doppel::translator
