// Programs of a SmallGuest that are written with Xbyak and run under the translator.
#pragma once

#include <gtest/gtest.h>
#include <xbyak/xbyak.h>

#include <chrono>
#include <functional>
#include <future>
#include <thread>

#include "base/check.h"
#include "engine/translator/translator.h"
#include "support/small_guest.h"

namespace doppel::test {

// Translates all that it can at once.
inline std::unique_ptr<Engine> eager_translator(bool pushes_flags = host_pushes_flags_quickly()) {
  return std::move(make_translator({.warm_up = 1, .pushes_flags = pushes_flags}).value());
}

// Code at `address`, which absolute displacements count from.
class Program : public Xbyak::CodeGenerator {
 public:
  explicit Program(const std::function<void(Program&)>& write, u64 address = at::code)
      : Xbyak::CodeGenerator(0x4000), address_(address) {
    write(*this);
    ready();
  }
  void put(SmallGuest& guest) const { put(guest, address_); }
  // Elsewhere than at the linear address that it was written for.
  void put(SmallGuest& guest, u64 physical) const {
    for (std::size_t i = 0; i < getSize(); ++i) guest.write(physical + i, getCode()[i], 1);
  }
  // The address of what is written next.
  u64 here() const { return address_ + getSize(); }
  void pad_to(u64 address) {
    while (here() < address) nop();
  }
  void call_absolute(u64 target) { branch(0xe8, target); }
  void jump_absolute(u64 target) { branch(0xe9, target); }
  void jump_absolute_if_odd_parity(u64 target) {
    db(0x0f);
    branch(0x8b, target);
  }
  // Of RAX.
  void reload_page_tables() {
    db(0x0f), db(0x20), db(0xd8);  // MOV RAX, CR3
    db(0x0f), db(0x22), db(0xd8);  // MOV CR3, RAX
  }

 private:
  void branch(int opcode, u64 target) {
    db(opcode);
    dd(static_cast<u32>(target - (here() + 4)));
  }

  const u64 address_;
};

// A guest in 64-bit mode ends alike translated and interpreted. Returns how it ends interpreted.
inline std::string expect_alike(const char* what, const std::function<void(SmallGuest&)>& prepare) {
  const auto end = [&](std::unique_ptr<Engine> engine) {
    SmallGuest guest(Mode::long64, std::move(engine));
    prepare(guest);
    const std::string how = guest.run(unlimited_budget);
    return how + " " + guest.values("rax rbx rcx rdx rsp r15 flags");
  };
  const std::string expected = end(make_interpreter());
  for (const bool pushes_flags : {false, true}) EXPECT_EQ(end(eager_translator(pushes_flags)), expected) << what;
  return expected;
}

// How a guest that goes on for ever ends when its vCPU is kicked, which must not take long.
inline std::string end_of_kicked(SmallGuest& guest) {
  auto ended = std::async(std::launch::async, [&] { return guest.run(unlimited_budget); });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // by then it runs translated
  guest.vcpu().kick();
  CHECK(ended.wait_for(std::chrono::seconds(20)) == std::future_status::ready);  // there is no way to end it
  return ended.get();
}

}  // namespace doppel::test
