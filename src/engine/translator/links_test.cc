// Direct branches between pages go where they once went only as long as that is right (TranslatorVcpu::link).
#include <gtest/gtest.h>

#include <cstdio>

#include "support/small_program.h"

namespace doppel::test {
namespace {

using namespace Xbyak::util;

constexpr u64 page = 0x1000;
constexpr u64 first_page = 0x12'0000;  // linear; of the pages that follow, too, any RAM page may be there
constexpr unsigned often = 400;        // far more than it takes until a branch is linked

u64 page_entry(u64 linear) { return at::ram_bytes - 0x1'0000 + linear / page * 8; }

void expect_alike_halt(const char* what, const std::function<void(SmallGuest&)>& prepare) {
  const std::string end = expect_alike(what, prepare);
  EXPECT_TRUE(end.starts_with("halt")) << what << ": " << end;
}

// At `linear` a page, in RAM at `caller`, that goes to the next one by a call, a branch and a jump; there is what RAM has at `target`.
void put_caller(SmallGuest& guest, u64 linear, u64 caller, u64 target) {
  Program(
      [&](Program& p) {
        p.add(p.ecx, 3);
        p.call_absolute(linear + page + 0x80);
        p.lea(p.rbx, p.ptr[p.rbx + p.rcx * 2]);
        p.test(p.cl, p.cl);
        p.jump_absolute_if_odd_parity(linear + page + 0x40);
        p.jump_absolute(linear + page);
      },
      linear)
      .put(guest, caller);
  guest.write(page_entry(linear), caller | 3, 8);
  guest.write(page_entry(linear + page), target | 3, 8);
}

// What the caller reaches: it adds `addend` and where it is, and returns.
void put_target(SmallGuest& guest, u64 physical, u32 addend) {
  Program([&](Program& p) {
    p.add(p.eax, addend);
    p.lea(p.rdi, p.ptr[p.rip]);
    p.add(p.rdx, p.rdi);
    p.ret();
    p.pad_to(at::code + 0x40);
    p.sub(p.eax, addend + 2);
    p.lea(p.rdi, p.ptr[p.rip]);
    p.add(p.rdx, p.rdi);
    p.ret();
    p.pad_to(at::code + 0x80);
    p.adc(p.edx, addend + 1);
    p.ret();
  }).put(guest, physical);
}

// 4 rounds of `often` times `write`, with `between` after each round.
void put_rounds(SmallGuest& guest, const std::function<void(Program&)>& write,
                const std::function<void(Program&)>& between) {
  Program([&](Program& p) {
    Xbyak::Label round, again;
    p.mov(p.r15d, 4);
    p.L(round);
    p.mov(p.r14d, often);
    p.L(again);
    write(p);
    p.dec(p.r14d);
    p.jnz(again, Xbyak::CodeGenerator::T_NEAR);
    between(p);
    p.dec(p.r15d);
    p.jnz(round, Xbyak::CodeGenerator::T_NEAR);
    p.hlt();
  }).put(guest);
}

TEST(Links, FollowThePageTables) {
  static constexpr u64 one = 0x10'0000, other = 0x10'1000, caller = 0x10'2000;
  expect_alike_halt("a page that is exchanged", [&](SmallGuest& guest) {
    put_target(guest, one, 1);
    put_target(guest, other, 1000);
    put_caller(guest, first_page, caller, one);
    put_rounds(
        guest, [](Program& p) { p.call_absolute(first_page); },
        [](Program& p) {
          p.mov(p.ebx, static_cast<u32>(page_entry(first_page + page)));
          p.xor_(p.dword[p.rbx], static_cast<u32>(one ^ other));
          p.mov(p.ebx, static_cast<u32>(first_page + page));
          p.db(0x0f), p.db(0x01), p.db(0x3b);  // INVLPG [RBX]
        });
  });
}

TEST(Links, TellThePlacesOfAPageApart) {
  static constexpr u64 one = 0x10'0000, other = 0x10'1000, caller = 0x10'2000, second = first_page + 8 * page;
  enum class Turns : u8 { always, never, later };
  for (const Turns turns : {Turns::always, Turns::never, Turns::later})
    for (const bool new_contexts : {false, true})
      expect_alike_halt("one page at two addresses", [&](SmallGuest& guest) {
        put_target(guest, one, 1);
        put_target(guest, other, 1000);
        put_caller(guest, first_page, caller, one);
        guest.write(page_entry(second), caller | 3, 8);
        guest.write(page_entry(second + page), other | 3, 8);
        put_rounds(
            guest,
            [&](Program& p) {
              p.call_absolute(first_page);
              if (turns == Turns::always) p.call_absolute(second);
            },
            [&](Program& p) {
              if (new_contexts) p.reload_page_tables();
              if (turns == Turns::always) return;
              Xbyak::Label again;
              p.mov(p.r13d, often);
              p.L(again);
              if (turns == Turns::later) p.call_absolute(first_page);
              p.call_absolute(second);
              p.dec(p.r13d);
              p.jnz(again);
            });
      });
}

TEST(Links, EndWithTheCodeThatTheyLeadTo) {
  static constexpr u64 target = 0x10'0000, caller = 0x10'2000;
  expect_alike_halt("code that is changed", [&](SmallGuest& guest) {
    put_target(guest, target, 0x1111);
    put_caller(guest, first_page, caller, target);
    put_rounds(
        guest, [](Program& p) { p.call_absolute(first_page); },
        [](Program& p) {
          p.mov(p.ebx, static_cast<u32>(target));  // identically mapped, too
          p.add(p.dword[p.rbx + 2], 7);            // of ADD EAX
        });
  });
}

// Calls of what a register or a place in memory says, which mostly is the same.
TEST(Links, OfIndirectBranchesAreForTheirTarget) {
  static constexpr u64 target = 0x10'0000, other = 0x10'1000, stub = 0x10'2000, pointer = at::data;
  const u64 there = first_page + page;
  const auto prepare = [&](SmallGuest& guest) {
    put_target(guest, target, 1);
    put_target(guest, other, 1000);
    guest.write(page_entry(there), target | 3, 8);
    guest.write(page_entry(there + page), other | 3, 8);
    guest.write(pointer, there, 8);
    Program(
        [&](Program& p) {
          p.db(0xff), p.db(0x25);  // JMP [RIP + …]
          p.dd(static_cast<u32>(pointer - (stub + 6)));
        },
        stub)
        .put(guest);
  };
  const auto call = [](Program& p) {
    p.mov(p.ebx, static_cast<u32>(pointer));
    p.mov(p.rsi, p.qword[p.rbx]);
    p.call(p.rsi);
    p.call(p.qword[p.rbx]);
    p.call_absolute(stub);
  };
  const auto turn = [&](Program& p, u64 to) {
    p.mov(p.ebx, static_cast<u32>(pointer));
    p.xor_(p.qword[p.rbx], static_cast<u32>(to ^ there));
  };
  for (const u64 to : {there + 0x40, there + page, there + page + 0x80}) {
    expect_alike_halt("another after a while", [&](SmallGuest& guest) {
      prepare(guest);
      put_rounds(guest, call, [&](Program& p) { turn(p, to); });
    });
    expect_alike_halt("by turns", [&](SmallGuest& guest) {
      prepare(guest);
      put_rounds(
          guest,
          [&](Program& p) {
            call(p);
            turn(p, to);
          },
          [](Program&) {});
    });
  }
  expect_alike_halt("a page that is exchanged", [&](SmallGuest& guest) {
    prepare(guest);
    put_rounds(guest, call, [&](Program& p) {
      p.mov(p.ebx, static_cast<u32>(page_entry(there)));
      p.xor_(p.dword[p.rbx], static_cast<u32>(target ^ other));
      p.mov(p.ebx, static_cast<u32>(there));
      p.db(0x0f), p.db(0x01), p.db(0x3b);  // INVLPG [RBX]
    });
  });
  expect_alike_halt("code that is changed", [&](SmallGuest& guest) {
    prepare(guest);
    put_rounds(guest, call, [](Program& p) {
      p.mov(p.ebx, static_cast<u32>(target));
      p.add(p.dword[p.rbx + 2], 7);  // of ADD EAX
    });
  });
  EXPECT_TRUE(expect_alike("an address that is not canonical", [&](SmallGuest& guest) {
                prepare(guest);
                put_rounds(guest, call, [](Program& p) {
                  p.mov(p.ebx, static_cast<u32>(pointer));
                  p.btc(p.qword[p.rbx], 50);
                });
              }).starts_with("#13"));
}

// Where the same page of RAM is at the target, a link needs not be made again: of the targets in it one is looked up in each context.
TEST(Links, HoldInOtherContexts) {
  static constexpr u64 target = 0x10'0000, caller = 0x10'2000;
  static constexpr unsigned rounds = 500, times = 20, targets = 4;  // the caller, and three that it goes to
  const auto prepare = [](SmallGuest& guest) {
    put_target(guest, target, 1);
    put_caller(guest, first_page, caller, target);
    Program([&](Program& p) {
      Xbyak::Label round, again;
      p.mov(p.r15d, rounds);
      p.L(round);
      p.mov(p.r14d, times);
      p.L(again);
      p.call_absolute(first_page);
      p.dec(p.r14d);
      p.jnz(again);
      p.reload_page_tables();
      p.dec(p.r15d);
      p.jnz(round);
      p.hlt();
    }).put(guest);
  };
  expect_alike_halt("another context for each round", prepare);
  SmallGuest guest(Mode::long64, eager_translator());
  prepare(guest);
  guest.run(unlimited_budget);
  const std::string statistics = guest.vcpu().statistics();
  unsigned lookups = 0;
  const auto at = statistics.find("jump cache: ");
  ASSERT_NE(at, std::string::npos);
  ASSERT_EQ(std::sscanf(statistics.c_str() + at, "jump cache: %u targets", &lookups), 1);
  EXPECT_GE(lookups, rounds) << "contexts do end";
  EXPECT_LT(lookups, (targets - 1) * rounds) << statistics;
}

// Pages that do nothing but jump to each other, so that no branch is looked up: up and down, through memory, and in 32-bit code round the end of the
// linear addresses, where every jump goes up.
TEST(Links, AreInterrupted) {
  {
    SmallGuest guest(Mode::long64, eager_translator());
    Program([](Program& p) { p.jump_absolute(at::inner_code); }).put(guest);
    Program([](Program& p) { p.jump_absolute(at::code); }, at::inner_code).put(guest);
    const std::string end = end_of_kicked(guest);
    EXPECT_TRUE(end.starts_with("running")) << end;
  }
  {
    SmallGuest guest(Mode::long64, eager_translator());
    const u64 pointers = at::data;
    const auto jump_through = [](u64 pointer) {
      return [=](Program& p) {
        p.db(0xff), p.db(0x25);  // JMP [RIP + …]
        p.dd(static_cast<u32>(pointer - (p.here() + 4)));
      };
    };
    Program(jump_through(pointers)).put(guest);
    Program(jump_through(pointers + 8), at::inner_code).put(guest);
    guest.write(pointers, at::inner_code, 8);
    guest.write(pointers + 8, at::code, 8);
    const std::string end = end_of_kicked(guest);
    EXPECT_TRUE(end.starts_with("running")) << end;
  }
  SmallGuest guest(Mode::compat32_user, eager_translator());
  constexpr u64 quarter = u64{1} << 30;
  for (u64 i = 0; i < 4; ++i) {
    guest.write(at::pdpt + i * 8, at::directory | 7, 8);
    const u64 here = at::code + i * page;
    const u64 next = i < 3 ? quarter * (i + 1) + here + page : at::code;
    Program([&](Program& p) { p.jump_absolute(next); }, quarter * i + here).put(guest, here);
  }
  const std::string end = end_of_kicked(guest);
  EXPECT_TRUE(end.starts_with("running")) << end;
}

}  // namespace
}  // namespace doppel::test
