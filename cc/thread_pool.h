// Threads of our own, for callers that bring none: NumPy, the tests.
#ifndef DETLOSS_CC_THREAD_POOL_H_
#define DETLOSS_CC_THREAD_POOL_H_

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "cc/executor.h"

namespace detloss {

class ThreadPool final : public Executor {
 public:
  // `threads` counts the caller. Where the system refuses some of them, the pool has those that started.
  explicit ThreadPool(int threads);
  ~ThreadPool() override;

  // Starts what is missing to `threads`. Not from several threads at once.
  void Grow(int threads);

  int NumThreads() const override { return num_threads_; }
  void Schedule(std::function<void()> task) override;

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  bool stopping_ = false;
  std::vector<pthread_t> helpers_;
  std::atomic<int> num_threads_{1};
};

// A part of a pool that others may use at the same time.
class SomeThreads final : public Executor {
 public:
  // `threads` counts the caller.
  SomeThreads(ThreadPool& pool, int threads) : pool_(pool), threads_(threads) {}

  int NumThreads() const override { return std::min(threads_, pool_.NumThreads()); }
  void Schedule(std::function<void()> task) override { pool_.Schedule(std::move(task)); }

 private:
  ThreadPool& pool_;
  const int threads_;
};

}  // namespace detloss

#endif  // DETLOSS_CC_THREAD_POOL_H_
