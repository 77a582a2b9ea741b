// Lines: "cpu0 io     ffffffff81000000 out 3f8/1 = 41". The columns are CPU, kind, RIP.
#include "machine/trace.h"

#include <fmt/format.h>

#include <array>
#include <cerrno>

#include "isa/x86/decoder.h"
#include "isa/x86/page_walk.h"

namespace doppel {

void Trace::CloseFile::operator()(std::FILE* file) const {
  if (file == stderr) {
    std::fflush(file);
  } else {
    std::fclose(file);
  }
}

Result<std::unique_ptr<Trace>> Trace::create(const TraceSpec& spec, unsigned cpus, PhysicalMemory& memory) {
  std::unique_ptr<Trace> trace(new Trace(memory));
  trace->file_.reset(spec.path.empty() ? stderr : std::fopen(spec.path.c_str(), "we"));
  if (!trace->file_) return fail_errno(fmt::format("cannot create the trace file '{}'", spec.path));
  for (unsigned cpu = 0; cpu < cpus; ++cpu) trace->hooks_.push_back(trace->make_hooks(spec, cpu));
  return trace;
}

void Trace::line(unsigned cpu, std::string_view text) {
  const std::lock_guard lock(mutex_);
  std::fprintf(file_.get(), "cpu%u %.*s\n", cpu, static_cast<int>(text.size()), text.data());
}

namespace {

x86::CodeMode code_mode(const x86::X86State& state) {
  using x86::CodeMode;
  const u16 code = state.segments[x86::cs].attributes;
  if (!(state.cr0 & x86::cr0::pe) || (state.rflags & x86::rflags::vm)) return CodeMode::real16;
  if (state.long_mode() && x86::SegmentRegister::Long::get(code)) return CodeMode::long64;
  return x86::SegmentRegister::Big::get(code) ? CodeMode::legacy32 : CodeMode::legacy16;
}

}  // namespace

// What memory holds there now; the instruction may cross into another page.
std::string Trace::instruction_at(const x86::X86State& state) const {
  const x86::PhysicalReader read = [this](u64 physical, unsigned bytes) -> std::optional<u64> {
    u64 value = 0;
    return memory_.read(physical, &value, bytes) ? std::optional(value) : std::nullopt;
  };
  const x86::CodeMode mode = code_mode(state);
  const u64 linear = mode == x86::CodeMode::long64 ? state.rip
                                                   : static_cast<u32>(state.segments[x86::cs].base + state.rip);
  std::array<u8, 15> bytes{};
  std::size_t count = 0;
  for (; count < bytes.size(); ++count) {
    const auto physical = x86::page_walk(state, linear + count, read);
    if (!physical || !memory_.read(*physical, bytes[count])) break;
  }
  return count == 0 ? "?" : x86::disassemble(mode, state.rip, std::span(bytes).first(count));
}

TraceHooks Trace::make_hooks(const TraceSpec& spec, unsigned cpu) {
  using x86::X86State;
  TraceHooks hooks;
  if (spec.instructions) {
    hooks.instruction = [this, cpu](const X86State& s) {
      const auto& r = s.gpr;
      line(
          cpu,
          fmt::format(
              "insn   {:04x}:{:016x} {:<40} ax={:x} cx={:x} dx={:x} bx={:x} sp={:x} bp={:x} si={:x} di={:x} flags={:x}",
              s.segments[x86::cs].selector, s.rip, instruction_at(s), r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7],
              s.rflags));
    };
  }
  if (spec.exceptions) {
    hooks.exception = [this, cpu](u8 vector, u64 error, const X86State& s) {
      line(cpu, fmt::format("except {:04x}:{:016x} vector={} error={:x} cr2={:x} cr3={:x} sp={:x}",
                            s.segments[x86::cs].selector, s.rip, vector, error, s.cr2, s.cr3, s.gpr[x86::rsp]));
    };
  }
  if (spec.interrupts) {
    hooks.interrupt = [this, cpu](u8 vector, const X86State& s) {
      line(cpu, fmt::format("intr   {:04x}:{:016x} vector={:02x} count={}", s.segments[x86::cs].selector, s.rip, vector,
                            s.instruction_count));
    };
  }
  const auto access = [this, cpu](const char* kind, const char* in, const char* out) {
    return [this, cpu, kind, in, out](bool write, u64 address, unsigned bytes, u64 value, u64 rip) {
      line(cpu, fmt::format("{:6} {:016x} {} {:x}/{} = {:x}", kind, rip, write ? out : in, address, bytes, value));
    };
  };
  if (spec.io) hooks.port_io = access("io", "in", "out");
  if (spec.mmio) hooks.mmio = access("mmio", "read", "write");
  return hooks;
}

}  // namespace doppel
