#include "cc/executor.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>

#include "cc/float_environment.h"

namespace detloss {
namespace {

// About 30 microseconds.
constexpr int kSpins = 2000;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

class Job {
 public:
  Job(int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>& work)
      : count_(count), grain_(grain), ranges_((count + grain - 1) / grain), work_(&work) {}

  int64_t ranges() const { return ranges_; }

  // Takes ranges until none is left. `work_` is touched only for a range of its own, so a helper that comes after the
  // caller has returned finds nothing to do and nothing to read.
  void Work() {
    DefaultFloatEnvironment environment;
    int64_t finished = 0;
    for (int64_t range; (range = next_.fetch_add(1)) < ranges_; ++finished) {
      const int64_t begin = range * grain_;
      (*work_)(begin, std::min(count_, begin + grain_));
    }
    if (finished > 0 && done_.fetch_add(finished) + finished == ranges_) {
      std::lock_guard<std::mutex> lock(mutex_);
      all_done_.notify_all();
    }
  }

  void Wait() {
    // A helper is at most one range behind: shorter than it takes to sleep and be woken.
    for (int i = 0; i < kSpins; ++i) {
      if (done_.load(std::memory_order_acquire) == ranges_) return;
      Pause();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    all_done_.wait(lock, [this] { return done_.load() == ranges_; });
  }

 private:
  const int64_t count_, grain_, ranges_;
  const std::function<void(int64_t, int64_t)>* const work_;
  std::atomic<int64_t> next_{0}, done_{0};
  std::mutex mutex_;
  std::condition_variable all_done_;
};

// The caller's part of a job, done when its scope is left, in whichever way: helpers that have started refer to what
// lies in the caller's frame.
class Participation {
 public:
  explicit Participation(Job& job) : job_(job) {}
  Participation(const Participation&) = delete;
  Participation& operator=(const Participation&) = delete;
  ~Participation() {
    job_.Work();
    job_.Wait();
  }

 private:
  Job& job_;
};

}  // namespace

void ParallelFor(Executor& executor, int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>& work) {
  if (count <= 0) return;
  auto job = std::make_shared<Job>(count, grain, work);
  const int64_t helpers = std::min<int64_t>(executor.NumThreads(), job->ranges()) - 1;
  const Participation caller(*job);
  for (int64_t i = 0; i < helpers; ++i) executor.Schedule([job] { job->Work(); });
}

}  // namespace detloss
