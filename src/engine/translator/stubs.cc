#include "engine/translator/stubs.h"
#include "engine/translator/native_block.h"

#include <array>

#include "base/check.h"

namespace doppel::translator {
namespace {

using namespace Xbyak::util;

using interpreter::NativeJump;
using interpreter::NativeReturn;

class StubWriter : public Xbyak::CodeGenerator {
 public:
  StubWriter(const CodeCache& cache, const Cpu& cpu, const Helpers& helpers)
      : Xbyak::CodeGenerator(8192, cache.writable()),
        frame_(cpu),
        helpers_(helpers),
        avx_(__builtin_cpu_supports("avx")) {}

  Stubs write() {
    CHECK(frame_.at(frame_.cpu().saved_flags) == -8);
    Stubs stubs{};
    nop();  // offset 0 is no code
    stubs.enter = begin();
    enter();
    stubs.depart = begin();
    depart();
    stubs.refill = begin();
    ask(reinterpret_cast<u64>(helpers_.refill));
    jmp(r15);
    stubs.lookup = begin();
    lookup(stubs);
    stubs.ret = begin();
    ret(stubs);
    stubs.link = begin();
    link(stubs);
    stubs.system = begin();
    system(stubs);
    stubs.gone = begin();
    ask_the_way(stubs, reinterpret_cast<u64>(helpers_.lookup));
    stubs.load_vectors = begin();
    load_vectors();
    stubs.load_x87 = begin();
    load_x87();
    stubs.end = begin();
    return stubs;
  }

 private:
  static constexpr std::array<unsigned, 11> in_registers{0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11};

  u32 begin() {
    align(16);
    return static_cast<u32>(getSize());
  }

  void enter() {
    for (const auto& reg : {rbx, rbp, r12, r13, r14, r15}) push(reg);
    const NativeState& native = frame_.cpu().native;
    mov(ptr[rdi + frame_.at(native.host_stack)], rsp);
    mov(rsp, rdi);
    load_table();
    mov(r12, ptr[rsp + frame_.gpr(x86::rsp)]);
    for (unsigned gpr : in_registers) mov(Xbyak::Reg64(static_cast<int>(gpr)), ptr[rsp + frame_.gpr(gpr)]);
    jmp(qword[rsp + frame_.at(native.resume)]);
  }

  void depart() {
    const NativeState& native = frame_.cpu().native;
    for (unsigned gpr : in_registers) mov(ptr[rsp + frame_.gpr(gpr)], Xbyak::Reg64(static_cast<int>(gpr)));
    mov(ptr[rsp + frame_.gpr(x86::rsp)], r12);
    Xbyak::Label no_x87, no_vectors;
    cmp(byte[rsp + frame_.at(native.x87_loaded)], 0);
    je(no_x87);
    mov(eax, 1);
    xor_(edx, edx);
    x87_image(4);
    fninit();
    L(no_x87);
    cmp(byte[rsp + frame_.at(native.vectors_loaded)], 0);
    je(no_vectors, T_NEAR);
    mov(byte[rsp + frame_.at(native.vectors_loaded)], 0);
    move_vectors(true);
    if (avx_) vzeroupper();
    L(no_vectors);
    mov(rsp, ptr[rsp + frame_.at(native.host_stack)]);
    mov(eax, r15d);
    for (const auto& reg : {r15, r14, r13, r12, rbp, rbx}) pop(reg);
    pop(rcx);  // see call_by_jumps
    jmp(rcx);
  }

  // Calls a helper with R14 and R15D: the answer is in R15, all else as before but for the flags. The host keeps the x87 unit and the
  // registers that a call preserves.
  void ask(u64 helper) {
    const NativeState& native = frame_.cpu().native;
    for (unsigned gpr : in_registers)
      if (!preserved_by_calls(gpr)) mov(ptr[rsp + frame_.gpr(gpr)], Xbyak::Reg64(static_cast<int>(gpr)));
    Xbyak::Label no_vectors, vectors_back, done;
    cmp(byte[rsp + frame_.at(native.vectors_loaded)], 0);
    je(no_vectors, T_NEAR);
    move_vectors(true);
    if (avx_) vzeroupper();
    L(no_vectors);
    mov(rsi, r14);
    mov(edx, r15d);
    mov(r15, rsp);
    mov(rsp, ptr[rsp + frame_.at(native.host_stack)]);
    sub(rsp, 8);  // aligned for a call
    mov(rdi, reinterpret_cast<u64>(helpers_.owner));
    mov(rax, helper);
    call(rax);
    mov(rsp, r15);
    mov(r15, rax);
    cmp(byte[rsp + frame_.at(native.vectors_loaded)], 0);
    je(done, T_NEAR);
    restore_vectors();
    L(done);
    for (unsigned gpr : in_registers)
      if (!preserved_by_calls(gpr)) mov(Xbyak::Reg64(static_cast<int>(gpr)), ptr[rsp + frame_.gpr(gpr)]);
  }

  // One for all branches: what the host predicts by is the way that led here, and the blocks are smaller. R14 is the target.
  void lookup(const Stubs& stubs) {
    mov(dword[rsp + frame_.at(native().departure)], r15d);
    go_to_code(stubs, [this](const Xbyak::Address& known) { jmp(known); }, [this] { jmp(r15); });
  }

  // Writes `go_to_known` with the place of the host address of the code at R14, or `go` with that in R15.
  template <class GoToKnown, class Go>
  void go_to_code(const Stubs& stubs, GoToKnown go_to_known, Go go) {
    const auto in_entry = [this](std::size_t member) { return ptr[r15 + static_cast<int>(member)]; };
    Xbyak::Label unknown, other_context;
    mov(r15d, dword[rsp + frame_.at(native().context)]);
    xor_(r15d, r14d);
    imul(r15d, r15d, static_cast<int>(NativeJump::multiplier));
    shr(r15d, 32 - NativeJump::slot_bits);
    shl(r15d, 5);
    add(r15, ptr[rsp + frame_.at(native().jumps)]);
    cmp(r14, in_entry(offsetof(NativeJump, rip)));
    jne(unknown);
    mov(r14d, dword[rsp + frame_.at(native().context)]);
    cmp(r14d, in_entry(offsetof(NativeJump, context)));
    jne(other_context);
    mov(r14, in_entry(offsetof(NativeJump, page)));
    mov(ptr[rsp + frame_.at(native().code_page)], r14);
    go_to_known(qword[r15 + static_cast<int>(offsetof(NativeJump, code))]);
    L(other_context);
    mov(r14, in_entry(offsetof(NativeJump, rip)));
    L(unknown);
    mov(ptr[rsp + frame_.at(native().target)], r14);
    ask(reinterpret_cast<u64>(helpers_.lookup));
    go_or_depart(stubs, go);
  }

  // Links are made one time in many, so that code which runs in several contexts by turns is not linked at each of them.
  void link(const Stubs& stubs) {
    constexpr u32 period = 64;
    sub(dword[rsp + frame_.at(native().until_link)], 1);
    jnc(static_cast<const void*>(getCode() + stubs.lookup));
    mov(dword[rsp + frame_.at(native().until_link)], period - 1);
    ask_the_way(stubs, reinterpret_cast<u64>(helpers_.link));
  }

  void system(const Stubs& stubs) {
    mov(dword[rsp + frame_.at(native().departure)], r15d);
    ask(reinterpret_cast<u64>(helpers_.system));
    load_table();
    go_or_depart(stubs, [this] { jmp(r15); });
  }

  void load_table() {
    mov(r13, ptr[rsp + frame_.at(frame_.cpu().tlb)]);
    add(r13, slot_control);
  }

  void ask_the_way(const Stubs& stubs, u64 helper) {
    mov(dword[rsp + frame_.at(native().departure)], r15d);
    mov(ptr[rsp + frame_.at(native().target)], r14);
    ask(helper);
    go_or_depart(stubs, [this] { jmp(r15); });
  }

  // Writes `go` for an answer; without one, the branch departs.
  template <class Go>
  void go_or_depart(const Stubs& stubs, Go go) {
    Xbyak::Label refused;
    test(r15, r15);
    je(refused);
    go();
    L(refused);
    mov(r15d, dword[rsp + frame_.at(native().departure)]);
    jmp(getCode() + stubs.depart, T_NEAR);
  }

  // The calls of the guest are calls of the host too (BlockWriter::call_host), so that a RET of the host goes where it predicts.
  void ret(Stubs& stubs) {
    Xbyak::Label unknown;
    mov(dword[rsp + frame_.at(native().departure)], r15d);
    mov(ptr[rsp + frame_.at(native().target)], r14);
    mov(r15d, r12d);
    and_(r15d, NativeState::returns_mask);
    or_(r15d, dword[rsp + frame_.at(native().returns_read)]);
    const Xbyak::RegExp slot = rsp + r15 * 2 + frame_.at(native().returns);
    cmp(r14, ptr[slot + static_cast<int>(offsetof(NativeReturn, rip))]);
    jne(unknown);
    and_(r14, -4096);
    mov(ptr[rsp + frame_.at(native().code_page)], r14);
    lea(rsp, ptr[rsp - 8]);  // the flags
    push(qword[slot + static_cast<int>(offsetof(NativeReturn, landing)) + 8]);
    host_ret(8);
    stubs.no_return = begin();
    mov(r14, ptr[rsp + frame_.at(native().target)]);
    L(unknown);
    const auto return_to = [this](const auto& code) {
      lea(rsp, ptr[rsp - 8]);
      push(code);
      host_ret(8);
    };
    go_to_code(stubs, return_to, [&] { return_to(r15); });
  }

  void host_ret(int released = 0) { Xbyak::CodeGenerator::ret(released); }

  static bool preserved_by_calls(unsigned gpr) { return gpr == x86::rbx || gpr == x86::rbp; }

  // Upper halves that are all zero are left as VZEROUPPER leaves them: written to, even with zeroes, they would make instructions of SSE
  // depend on them (Intel optimization manual §15.3).
  void restore_vectors() {
    if (!avx_) return move_vectors(false);
    Xbyak::Label in_use, done;
    const auto upper = [&](unsigned i) { return ptr[rsp + frame_.vector(i) + 16]; };
    vmovdqu(xmm0, upper(0));
    for (unsigned i = 1; i < 16; ++i) vpor(xmm0, xmm0, upper(i));
    vptest(xmm0, xmm0);
    jne(in_use, T_NEAR);
    vzeroupper();
    for (int i = 0; i < 16; ++i) vmovdqu(Xbyak::Xmm(i), ptr[rsp + frame_.vector(static_cast<unsigned>(i))]);
    jmp(done, T_NEAR);
    L(in_use);
    move_vectors(false);
    L(done);
  }

  // Between the host's registers and the Cpu.
  void move_vectors(bool save) {
    for (int i = 0; i < 16; ++i) {
      const auto at = ptr[rsp + frame_.vector(static_cast<unsigned>(i))];
      const Xbyak::Ymm ymm(i);
      const Xbyak::Xmm xmm(i);
      if (avx_)
        save ? vmovdqu(at, ymm) : vmovdqu(ymm, at);
      else
        save ? movdqu(at, xmm) : movdqu(xmm, at);
    }
  }

  // Jumps back to R14; clobbers R15 and the flags.
  void load_vectors() {
    const NativeState& native = frame_.cpu().native;
    movzx(r15d, byte[rsp + frame_.at(native.vectors_allowed)]);
    mov(byte[rsp + frame_.at(native.vectors_loaded)], r15b);
    restore_vectors();
    jmp(r14);
  }

  // Likewise.
  void load_x87() {
    const NativeState& native = frame_.cpu().native;
    mov(byte[rsp + frame_.at(native.x87_loaded)], 1);
    mov(ptr[rsp + frame_.gpr(x86::rax)], rax);
    mov(ptr[rsp + frame_.gpr(x86::rdx)], rdx);
    mov(eax, 1);
    xor_(edx, edx);
    x87_image(5);
    mov(rax, ptr[rsp + frame_.gpr(x86::rax)]);
    mov(rdx, ptr[rsp + frame_.gpr(x86::rdx)]);
    jmp(r14);
  }

  // XSAVE64 (4) or XRSTOR64 (5), which Xbyak does not know, by the image.
  void x87_image(u8 extension) {
    for (const int code : {0x48, 0x0f, 0xae, 0x84 | extension << 3, 0x24}) db(code);
    dd(static_cast<u32>(frame_.at(frame_.cpu().native.x87_image)));
  }

  const NativeState& native() const { return frame_.cpu().native; }

  const Frame frame_;
  const Helpers helpers_;
  const bool avx_;
};

}  // namespace

Stubs emit_stubs(const CodeCache& cache, const Cpu& cpu, const Helpers& helpers) {
  return StubWriter(cache, cpu, helpers).write();
}

}  // namespace doppel::translator
