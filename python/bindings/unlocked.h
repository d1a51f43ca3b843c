// Work without Python's lock.
#ifndef DETLOSS_PYTHON_BINDINGS_UNLOCKED_H_
#define DETLOSS_PYTHON_BINDINGS_UNLOCKED_H_

#include <cxxabi.h>
#include <pybind11/pybind11.h>
#include <unistd.h>

#include "cc/status.h"
#include "python/bindings/errors.h"

namespace detloss {

class Unlocked {
 public:
  Unlocked() : state_(PyEval_SaveThread()) {}
  Unlocked(const Unlocked&) = delete;
  Unlocked& operator=(const Unlocked&) = delete;

  ~Unlocked() {
    // Once the interpreter ends, Python before 3.14 unwinds a daemon thread that asks for the lock, and a destructor
    // that is unwound ends the process. So the thread sleeps until the process is gone, as Python 3.14 lets it.
    try {
      PyEval_RestoreThread(state_);
    } catch (const abi::__forced_unwind&) {
      for (;;) pause();
    }
  }

 private:
  PyThreadState* const state_;
};

// Calls `work` without the lock, and throws where its status says so.
template <class F>
void RunUnlocked(const F& work) {
  const Status status = [&] {
    const Unlocked unlocked;
    return work();
  }();
  ThrowIfError(status);
}

}  // namespace detloss

#endif  // DETLOSS_PYTHON_BINDINGS_UNLOCKED_H_
