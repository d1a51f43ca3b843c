#include "tests/cc/check.h"

#include <cstdio>
#include <mutex>
#include <utility>

namespace detloss {
namespace check {
namespace {

// A sweep that fails, fails in thousands of places.
constexpr int kShownFailures = 10;

struct Test {
  const char* name;
  void (*body)();
};

std::vector<Test>& Tests() {
  static std::vector<Test> tests;
  return tests;
}

std::mutex mutex;
int failures = 0;  // of the test that runs
thread_local std::vector<std::string> contexts;

}  // namespace

Registration::Registration(const char* name, void (*body)()) { Tests().push_back({name, body}); }

Context::Context(std::string text) { contexts.push_back(std::move(text)); }
Context::~Context() { contexts.pop_back(); }

void Fail(const char* file, int line, const std::string& what) {
  std::lock_guard<std::mutex> lock(mutex);
  if (++failures > kShownFailures) return;
  std::printf("%s:%d: %s\n", file, line, what.c_str());
  for (const std::string& context : contexts) std::printf("    with %s\n", context.c_str());
}

// Runs the tests whose name contains `filter`.
static int RunTests(const char* filter) {
  int passed = 0, failed = 0;
  for (const Test& test : Tests()) {
    if (std::strstr(test.name, filter) == nullptr) continue;
    failures = 0;
    test.body();
    ++(failures == 0 ? passed : failed);
    if (failures > 0) std::printf("FAILED %s: %d failed checks\n", test.name, failures);
    std::fflush(stdout);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return passed > 0 && failed == 0 ? 0 : 1;
}

}  // namespace check
}  // namespace detloss

int main(int argc, char** argv) { return detloss::check::RunTests(argc > 1 ? argv[1] : ""); }
