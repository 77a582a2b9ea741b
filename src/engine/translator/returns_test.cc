// RET goes where the host predicts only if that is where the guest returns to (NativeState::returns).
#include <gtest/gtest.h>

#include "support/small_program.h"

namespace doppel::test {
namespace {

using namespace Xbyak::util;

// Five times what `write` writes, then HLT; how that ends is known from the interpreter.
void expect_alike(const char* what, const std::function<void(Program&)>& write,
                  const std::function<void(Program&)>& callees) {
  const Program program([&](Program& p) {
    p.mov(p.r15d, 5);
    Xbyak::Label again;
    p.L(again);
    write(p);
    p.dec(p.r15d);
    p.jnz(again, Xbyak::CodeGenerator::T_NEAR);
    p.hlt();
    callees(p);
  });
  test::expect_alike(what, [&](SmallGuest& guest) { program.put(guest); });
}

constexpr u64 callee = at::inner_code;  // in another page than the caller

TEST(Returns, GoWhereTheGuestSays) {
  for (const u64 at : {at::code + 0x800, callee}) {  // of the same page, and of another
    const auto call = [&](Program& p) { p.call_absolute(at); };
    const auto with_callee = [&](const std::function<void(Program&)>& write) {
      return [=](Program& p) {
        p.pad_to(at);
        write(p);
      };
    };
    expect_alike("plain", call, with_callee([](Program& p) {
                   p.add(p.eax, 3);
                   p.ret();
                 }));
    expect_alike(
        "a return address that was changed",
        [&](Program& p) {
          call(p);
          p.inc(p.eax);
          p.add(p.ebx, 7);
        },
        with_callee([](Program& p) {
          p.add(p.qword[p.rsp], 2);  // past INC
          p.ret();
        }));
    expect_alike(
        "a return address that was exchanged for one of the caller's caller",
        [&](Program& p) {
          p.mov(p.rbx, p.rsp);
          call(p);
        },
        with_callee([&](Program& p) {
          p.call_absolute(at + 0x40);
          p.inc(p.eax);
          p.ret();
          p.pad_to(at + 0x40);
          p.mov(p.rcx, p.qword[p.rsp + 8]);
          p.mov(p.rsp, p.rbx);  // as longjmp does
          p.jmp(p.rcx);
        }));
    expect_alike(
        "RET with an immediate",
        [&](Program& p) {
          p.push(p.rax);
          call(p);
        },
        with_callee([](Program& p) {
          p.inc(p.eax);
          p.ret(8);
        }));
    expect_alike(
        "a recursion that is deeper than what is remembered",
        [&](Program& p) {
          p.mov(p.ecx, 1500);
          call(p);
        },
        with_callee([&](Program& p) {
          Xbyak::Label end;
          p.dec(p.ecx);
          p.jz(end);
          p.call_absolute(at);
          p.add(p.rax, p.rsp);
          p.L(end);
          p.ret();
        }));
    expect_alike(
        "RET as a jump",
        [&](Program& p) {
          call(p);
          p.inc(p.edx);
        },
        with_callee([&](Program& p) {
          p.inc(p.eax);
          p.lea(p.rcx, p.ptr[p.rip + 3]);  // behind RET
          p.push(p.rcx);
          p.ret();
          p.nop();
          p.ret();
        }));
    expect_alike(
        "code behind CALL that the callee changes",
        [&](Program& p) {
          p.lea(p.rbx, p.ptr[p.rip + 5]);
          call(p);
          p.mov(p.al, 1);
          p.add(p.ecx, p.eax);
        },
        with_callee([](Program& p) {
          p.inc(p.byte[p.rbx + 1]);
          p.ret();
        }));
    expect_alike(
        "a target that is not canonical", [&](Program& p) { call(p); }, with_callee([](Program& p) {
          p.mov(p.rax, u64{1} << 63);
          p.cmp(p.r15d, 3);
          p.cmovne(p.rax, p.qword[p.rsp]);
          p.mov(p.qword[p.rsp], p.rax);
          p.ret();
        }));
  }
  expect_alike(
      "a call at the end of a page",
      [](Program& p) {
        Xbyak::Label there;
        p.jmp(there, Xbyak::CodeGenerator::T_NEAR);
        p.pad_to(at::code + 0xffb);
        p.L(there);
        p.call_absolute(at::code + 0x1800);
        p.inc(p.ebx);
      },
      [](Program& p) {
        p.pad_to(at::code + 0x1800);
        p.inc(p.eax);
        p.ret();
      });
}

// The supervisor has just called from where a user returns to, with the stack pointer that it had.
TEST(Returns, KeepUsersFromSupervisorCode) {
  constexpr u64 user = at::inner_code;
  const Program supervisor(
      [](Program& p) {
        p.mov(p.ecx, 5);
        Xbyak::Label again, function;
        p.L(again);
        p.call(function);
        p.dec(p.ecx);
        p.jnz(again);
        p.push(sel::user_data);
        p.push(at::user_stack);
        p.push(2);
        p.push(sel::user_code64);
        p.push(static_cast<int>(user));
        p.dw(0xcf48);  // IRETQ
        p.L(function);
        p.ret();
      },
      at::supervisor_page);
  const Program returning(
      [](Program& p) {
        p.mov(p.rsp, at::kernel_stack);
        p.push(static_cast<int>(at::supervisor_page + 10));  // behind the call
        p.ret();
      },
      user);
  SmallGuest guest(Mode::long64, eager_translator());
  supervisor.put(guest);
  returning.put(guest);
  guest.state().rip = at::supervisor_page;
  guest.state().gpr[x86::rsp] = at::kernel_stack;
  const std::string end = guest.run(unlimited_budget);
  EXPECT_TRUE(end.starts_with("#14(15) at 20000a")) << end;
}

// Nothing but returns, each to where one was made to before: the vCPU can be stopped all the same.
TEST(Returns, AreInterrupted) {
  SmallGuest guest(Mode::long64, eager_translator());
  Program([](Program& p) {
    p.call_absolute(callee);
    p.sub(p.rsp, 8);
    p.ret();
  }).put(guest);
  Program([](Program& p) { p.ret(); }, callee).put(guest);
  const std::string end = end_of_kicked(guest);
  EXPECT_TRUE(end.starts_with("running")) << end;
}

}  // namespace
}  // namespace doppel::test
