#include "engine/translator/stubs.h"

#include <array>

namespace doppel::translator {
namespace {

using namespace Xbyak::util;

class StubWriter : public Xbyak::CodeGenerator {
 public:
  StubWriter(const CodeCache& cache, const Cpu& cpu)
      : Xbyak::CodeGenerator(4096, cache.writable()), frame_(cpu), avx_(__builtin_cpu_supports("avx")) {}

  Stubs write() {
    Stubs stubs{};
    nop();  // offset 0 is no code
    stubs.enter = begin();
    enter();
    stubs.depart_lookup = begin();
    mov(ptr[rsp + frame_.at(frame_.cpu().native.target)], r14);
    stubs.depart = static_cast<u32>(getSize());
    depart();
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
    mov(r13, ptr[rsp + frame_.at(frame_.cpu().tlb)]);
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
    for (int i = 0; i < 16; ++i) {
      if (avx_)
        vmovdqu(ptr[rsp + frame_.vector(static_cast<unsigned>(i))], Xbyak::Ymm(i));
      else
        movdqu(ptr[rsp + frame_.vector(static_cast<unsigned>(i))], Xbyak::Xmm(i));
    }
    if (avx_) vzeroupper();
    L(no_vectors);
    mov(rsp, ptr[rsp + frame_.at(native.host_stack)]);
    mov(eax, r15d);
    for (const auto& reg : {r15, r14, r13, r12, rbp, rbx}) pop(reg);
    ret();
  }

  // Jumps back to R14; clobbers R15 and the flags.
  void load_vectors() {
    const NativeState& native = frame_.cpu().native;
    movzx(r15d, byte[rsp + frame_.at(native.vectors_allowed)]);
    mov(byte[rsp + frame_.at(native.vectors_loaded)], r15b);
    for (int i = 0; i < 16; ++i) {
      if (avx_)
        vmovdqu(Xbyak::Ymm(i), ptr[rsp + frame_.vector(static_cast<unsigned>(i))]);
      else
        movdqu(Xbyak::Xmm(i), ptr[rsp + frame_.vector(static_cast<unsigned>(i))]);
    }
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

  const Frame frame_;
  const bool avx_;
};

}  // namespace

Stubs emit_stubs(const CodeCache& cache, const Cpu& cpu) { return StubWriter(cache, cpu).write(); }

}  // namespace doppel::translator
