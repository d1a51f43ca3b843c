#include "cc/thread_pool.h"

#include <utility>

namespace detloss {

ThreadPool::ThreadPool(int threads) { Grow(threads); }

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (pthread_t helper : helpers_) pthread_join(helper, nullptr);
}

void ThreadPool::Grow(int threads) {
  const auto run = [](void* pool) -> void* {
    static_cast<ThreadPool*>(pool)->Run();
    return nullptr;
  };
  if (threads > 1) helpers_.reserve(threads - 1);
  while (num_threads_ < threads) {
    // Refused for want of memory for a stack, or by a limit of the system. Fewer threads give the same bits.
    pthread_t helper;
    if (pthread_create(&helper, nullptr, run, this) != 0) return;
    helpers_.push_back(helper);
    ++num_threads_;
  }
}

void ThreadPool::Schedule(std::function<void()> task) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  wake_.notify_one();
}

void ThreadPool::Run() {
  for (;;) {
    std::unique_lock<std::mutex> lock(mutex_);
    wake_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
    if (tasks_.empty()) return;
    const std::function<void()> task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    task();
  }
}

}  // namespace detloss
