// The threads of the process that work for NumPy's callers.
#ifndef DETLOSS_PYTHON_BINDINGS_THREADS_H_
#define DETLOSS_PYTHON_BINDINGS_THREADS_H_

#include <pthread.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstdint>
#include <thread>

#include "cc/thread_pool.h"
#include "python/bindings/python_values.h"

namespace detloss {

// Asked for once: the system takes longer to tell than a small loss takes.
inline int64_t HardwareThreads() {
  static const int64_t threads = std::max(1u, std::thread::hardware_concurrency());
  return threads;
}

// More are never used: what 64, or else the hardware, can run at once.
inline int64_t MostThreads() { return std::max<int64_t>(64, HardwareThreads()); }

// One pool for every number of threads, which grows to the largest that was asked for. Python's lock guards it. It
// lives as long as the process: at the end its threads sleep, and nothing joins them.
class ProcessPool {
 public:
  // `threads` is the argument of that name.
  static SomeThreads Take(const py::object& threads) {
    int64_t wanted = ValueFrom<int64_t>("threads", threads);
    if (wanted < 0) ThrowValueError("threads", "at least 0", threads);
    wanted = std::min(wanted == 0 ? HardwareThreads() : wanted, MostThreads());
    if (pool_ == nullptr) {
      // Of a process that was forked, only the forking thread goes on in the child. The pool's others are gone, and its
      // mutex may be locked by one of them for ever: the child leaves it alone, and makes a pool of its own.
      static const int registered = pthread_atfork(nullptr, nullptr, [] { pool_ = nullptr; });
      static_cast<void>(registered);
      pool_ = new ThreadPool(1);
    }
    pool_->Grow(static_cast<int>(wanted));
    return SomeThreads(*pool_, static_cast<int>(wanted));
  }

 private:
  static inline ThreadPool* pool_ = nullptr;
};

}  // namespace detloss

#endif  // DETLOSS_PYTHON_BINDINGS_THREADS_H_
