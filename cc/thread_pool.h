// Threads of our own, for callers that bring none: NumPy, the tests.
#ifndef DETLOSS_CC_THREAD_POOL_H_
#define DETLOSS_CC_THREAD_POOL_H_

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "cc/executor.h"

namespace detloss {

class ThreadPool final : public Executor {
 public:
  // `threads` counts the caller.
  explicit ThreadPool(int threads);
  ~ThreadPool() override;

  int NumThreads() const override { return static_cast<int>(helpers_.size()) + 1; }
  void Schedule(std::function<void()> task) override;

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  bool stopping_ = false;
  std::vector<std::thread> helpers_;
};

}  // namespace detloss

#endif  // DETLOSS_CC_THREAD_POOL_H_
