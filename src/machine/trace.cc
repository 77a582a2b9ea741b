// Lines: "cpu0 io     ffffffff81000000 out 3f8/1 = 41". The columns are CPU, kind, RIP.
#include "machine/trace.h"

#include <fmt/format.h>

#include <cerrno>

namespace doppel {

void Trace::CloseFile::operator()(std::FILE* file) const {
  if (file == stderr) {
    std::fflush(file);
  } else {
    std::fclose(file);
  }
}

Result<std::unique_ptr<Trace>> Trace::create(const TraceSpec& spec, unsigned cpus) {
  std::unique_ptr<Trace> trace(new Trace);
  trace->file_.reset(spec.path.empty() ? stderr : std::fopen(spec.path.c_str(), "we"));
  if (!trace->file_) return fail_errno(fmt::format("cannot create the trace file '{}'", spec.path));
  for (unsigned cpu = 0; cpu < cpus; ++cpu) trace->hooks_.push_back(trace->make_hooks(spec, cpu));
  return trace;
}

void Trace::line(unsigned cpu, std::string_view text) {
  const std::lock_guard lock(mutex_);
  std::fprintf(file_.get(), "cpu%u %.*s\n", cpu, static_cast<int>(text.size()), text.data());
}

TraceHooks Trace::make_hooks(const TraceSpec& spec, unsigned cpu) {
  using x86::X86State;
  TraceHooks hooks;
  if (spec.instructions) {
    hooks.instruction = [this, cpu](const X86State& s) {
      line(cpu, fmt::format("insn   {:04x}:{:016x} cpl={} flags={:06x} ax={:x} cx={:x} dx={:x} bx={:x} sp={:x} bp={:x} "
                            "si={:x} di={:x}",
                            s.segments[x86::cs].selector, s.rip, s.cpl(), s.rflags, s.gpr[0], s.gpr[1], s.gpr[2],
                            s.gpr[3], s.gpr[4], s.gpr[5], s.gpr[6], s.gpr[7]));
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
