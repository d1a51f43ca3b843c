#include <algorithm>
#include <atomic>
#include <cfloat>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "cc/executor.h"
#include "cc/thread_pool.h"
#include "tests/cc/check.h"

#if defined(__x86_64__)
#include "tests/cc/flush_to_zero.h"
#endif

namespace detloss {
namespace {

using Ranges = std::vector<std::pair<int64_t, int64_t>>;

// The ranges that were worked on, in order of their start.
Ranges RangesOf(Executor& executor, int64_t count, int64_t grain) {
  Ranges ranges;
  std::mutex mutex;
  ParallelFor(executor, count, grain, [&](int64_t begin, int64_t end) {
    std::lock_guard<std::mutex> lock(mutex);
    ranges.emplace_back(begin, end);
  });
  std::sort(ranges.begin(), ranges.end());
  return ranges;
}

Ranges ExpectedRanges(int64_t count, int64_t grain) {
  Ranges ranges;
  for (int64_t begin = 0; begin < count; begin += grain) ranges.emplace_back(begin, std::min(count, begin + grain));
  return ranges;
}

}  // namespace

TEST(RangesCoverEveryItemOnceForAnyNumberOfThreads) {
  for (int threads : {1, 2, 7}) {
    ThreadPool pool(threads);
    CHECK_EQUAL(pool.NumThreads(), threads);
    for (int64_t count : {0, 1, 2, 3, 64, 65, 1000}) {
      for (int64_t grain : {1, 2, 7, 64, 5000}) {
        const check::Context context(check::Show(threads) + " threads, " + check::Show(count) + " items by " +
                                     check::Show(grain));
        CHECK(RangesOf(pool, count, grain) == ExpectedRanges(count, grain));
      }
    }
  }
}

TEST(NoItemsNoCall) {
  SerialExecutor serial;
  CHECK(RangesOf(serial, 0, 8).empty());
  CHECK(RangesOf(serial, -3, 8).empty());
}

TEST(TheSerialExecutorStaysOnTheCallersThread) {
  SerialExecutor serial;
  CHECK_EQUAL(serial.NumThreads(), 1);
  const auto caller = std::this_thread::get_id();
  int calls = 0;
  ParallelFor(serial, 10, 3, [&](int64_t, int64_t) {
    CHECK(std::this_thread::get_id() == caller);
    ++calls;
  });
  CHECK_EQUAL(calls, 4);
}

// An executor may run a task long after the caller has returned: TensorFlow's pool when it is busy.
TEST(HelpersThatComeLateFindNothing) {
  class Late final : public Executor {
   public:
    int NumThreads() const override { return 4; }
    void Schedule(std::function<void()> task) override { tasks.push_back(std::move(task)); }
    std::vector<std::function<void()>> tasks;
  };
  Late late;
  CHECK(RangesOf(late, 100, 10) == ExpectedRanges(100, 10));
  CHECK_EQUAL(late.tasks.size(), size_t{3});
  for (const auto& task : late.tasks) task();
}

TEST(NoMoreHelpersThanRanges) {
  class Counting final : public Executor {
   public:
    int NumThreads() const override { return 100; }
    void Schedule(std::function<void()>) override { ++scheduled; }
    int scheduled = 0;
  };
  Counting counting;
  ParallelFor(counting, 30, 10, [](int64_t, int64_t) {});
  CHECK_EQUAL(counting.scheduled, 2);
  ParallelFor(counting, 5, 10, [](int64_t, int64_t) {});
  CHECK_EQUAL(counting.scheduled, 2);
}

TEST(NestedCallsOnOnePoolFromSeveralThreadsFinish) {
  for (int threads : {1, 2, 7}) {
    const check::Context context(check::Show(threads) + " threads");
    ThreadPool pool(threads);
    std::atomic<int64_t> items{0};
    const auto caller = [&] {
      for (int repetition = 0; repetition < 20; ++repetition) {
        ParallelFor(pool, 12, 1, [&](int64_t, int64_t) {
          ParallelFor(pool, 40, 3, [&](int64_t begin, int64_t end) { items += end - begin; });
        });
      }
    };
    std::vector<std::thread> callers;
    for (int i = 0; i < 4; ++i) callers.emplace_back(caller);
    for (std::thread& thread : callers) thread.join();
    CHECK_EQUAL(items.load(), int64_t{4 * 20 * 12 * 40});
  }
}

TEST(APoolGrowsAndNeverShrinks) {
  ThreadPool pool(2);
  int most = 2;
  for (int threads : {1, 5, 3, -1}) {
    pool.Grow(threads);
    most = std::max(most, threads);
    CHECK_EQUAL(pool.NumThreads(), most);
    CHECK(RangesOf(pool, 100, 7) == ExpectedRanges(100, 7));
  }
}

TEST(APartOfAPoolHasNoMoreThreadsThanThePool) {
  ThreadPool pool(3);
  for (int threads : {1, 2, 3, 9}) {
    SomeThreads some(pool, threads);
    CHECK_EQUAL(some.NumThreads(), std::min(threads, 3));
    CHECK(RangesOf(some, 100, 7) == ExpectedRanges(100, 7));
  }
}

// Where memory runs out, all the work is done before the exception leaves: helpers refer to the caller's frame.
TEST(TheWorkIsDoneWhereHelpersCannotBeScheduled) {
  class OutOfMemory final : public Executor {
   public:
    int NumThreads() const override { return 9; }
    void Schedule(std::function<void()> task) override {
      if (++scheduled > 2) throw std::bad_alloc();
      pool.Schedule(std::move(task));
    }
    int scheduled = 0;
    ThreadPool pool{3};
  };
  OutOfMemory executor;
  std::atomic<int64_t> done{0};
  bool thrown = false;
  try {
    ParallelFor(executor, 1000, 7, [&](int64_t begin, int64_t end) { done += end - begin; });
  } catch (const std::bad_alloc&) {
    thrown = true;
  }
  CHECK(thrown);
  CHECK_EQUAL(done.load(), 1000);
  CHECK_EQUAL(executor.scheduled, 3);
}

TEST(ThePoolRunsWhatWasScheduledBeforeItEnds) {
  std::atomic<int> done{0};
  {
    ThreadPool pool(2);
    for (int i = 0; i < 100; ++i) pool.Schedule([&] { ++done; });
  }
  CHECK_EQUAL(done.load(), 100);
}

#if defined(__x86_64__)
TEST(WorkSeesTheDefaultFloatEnvironment) {
  for (int threads : {1, 2, 7}) {
    ThreadPool pool(threads);
    const FlushToZero flush;
    ParallelFor(pool, 64, 1, [](int64_t, int64_t) {
      volatile float smallest = FLT_MIN;
      CHECK(smallest / 2 != 0.0f);
      CHECK(!FlushToZero::IsOn());
    });
    CHECK(FlushToZero::IsOn());
  }
}
#endif

}  // namespace detloss
