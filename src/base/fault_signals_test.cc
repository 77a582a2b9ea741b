#include "base/fault_signals.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

namespace doppel {
namespace {

void* volatile page = nullptr;  // known to the handler ahead of the fault

bool make_writable(int number, void*) {
  return number == SIGSEGV && page && ::mprotect(page, 4096, PROT_READ | PROT_WRITE) == 0;
}
bool expect_nothing(int, void*) { return false; }

void say_so() {
  static constexpr char words[] = "the last will";
  (void)!::write(STDERR_FILENO, words, sizeof words - 1);
}

void touch_page() {
  page = ::mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  *static_cast<volatile char*>(page) = 1;
}

// However the others came before or after it.
TEST(FaultSignals, AreForWhoExpectsThem) {
  const auto as_expected = [](auto prepare) {
    prepare();
    touch_page();
    touch_page();
    std::_Exit(*static_cast<volatile char*>(page));
  };
  EXPECT_EXIT(as_expected([] {
                expect_faults(make_writable);
                expect_faults(expect_nothing);
                set_last_will(say_so);
              }),
              ::testing::ExitedWithCode(1), "^$");
  EXPECT_EXIT(as_expected([] {
                set_last_will(say_so);
                expect_faults(expect_nothing);
                expect_faults(make_writable);
              }),
              ::testing::ExitedWithCode(1), "^$");
}

TEST(FaultSignals, EndTheProcessAfterItsLastWill) {
  for (const int number : {SIGSEGV, SIGABRT, SIGQUIT})
    EXPECT_EXIT(
        {
          ::signal(number, SIG_DFL);  // not what a sanitizer does then
          expect_faults(expect_nothing);
          set_last_will(say_so);
          ::raise(number);
        },
        ::testing::KilledBySignal(number), "^the last will$");
  EXPECT_EXIT(
      {
        expect_faults(expect_nothing);
        set_last_will(say_so);
        set_last_will(nullptr);
        std::abort();
      },
      ::testing::KilledBySignal(SIGABRT), "^$");
}

TEST(FaultSignals, LeaveIgnoredSignalsIgnored) {
  EXPECT_EXIT(
      {
        ::signal(SIGQUIT, SIG_IGN);
        set_last_will(say_so);
        ::raise(SIGQUIT);
        std::_Exit(3);
      },
      ::testing::ExitedWithCode(3), "^$");
}

void said_before(int) { std::_Exit(7); }

TEST(FaultSignals, GoToWhomTheyWentBefore) {
  EXPECT_EXIT(
      {
        ::signal(SIGSEGV, said_before);
        expect_faults(expect_nothing);
        touch_page();
      },
      ::testing::ExitedWithCode(7), "^$");
}

}  // namespace
}  // namespace doppel
