// Threads of whoever calls: TensorFlow's pool, XLA's, or one of our own.
#ifndef DETLOSS_CC_EXECUTOR_H_
#define DETLOSS_CC_EXECUTOR_H_

#include <cstdint>
#include <functional>

namespace detloss {

class Executor {
 public:
  virtual ~Executor() = default;
  // Threads that may work at once, the caller among them.
  virtual int NumThreads() const = 0;
  // Runs the task some time on some thread. Never blocks.
  virtual void Schedule(std::function<void()> task) = 0;
};

// Runs everything on the calling thread.
class SerialExecutor final : public Executor {
 public:
  int NumThreads() const override { return 1; }
  void Schedule(std::function<void()> task) override { task(); }
};

// Calls `work(begin, end)` for ranges of `grain` items that together cover [0, count), and returns when all are done.
// The ranges do not depend on the number of threads. The caller takes part and waits only for ranges that a helper has
// started: a kernel may itself run on the pool that it schedules to, where waiting for a task that nobody has started
// would hang.
void ParallelFor(Executor& executor, int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>& work);

}  // namespace detloss

#endif  // DETLOSS_CC_EXECUTOR_H_
