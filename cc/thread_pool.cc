#include "cc/thread_pool.h"

#include <exception>
#include <utility>

namespace detloss {

ThreadPool::ThreadPool(int threads) { Grow(threads); }

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

void ThreadPool::Grow(int threads) {
  try {
    while (num_threads_ < threads) {
      helpers_.emplace_back([this] { Run(); });
      ++num_threads_;
    }
  } catch (const std::exception&) {
    // No memory for a stack, or a limit of the system: fewer threads give the same bits.
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
