// XLA's host threads as an Executor. Valid only inside the handler call that owns the pool.
#ifndef DETLOSS_OPS_XLA_XLA_EXECUTOR_H_
#define DETLOSS_OPS_XLA_XLA_EXECUTOR_H_

#include <functional>
#include <utility>

#include "cc/executor.h"
#include "xla/ffi/api/ffi.h"

namespace detloss {

class XlaExecutor final : public Executor {
 public:
  explicit XlaExecutor(xla::ffi::ThreadPool pool) : pool_(pool) {}

  int NumThreads() const override { return static_cast<int>(pool_.num_threads()); }
  void Schedule(std::function<void()> task) override { pool_.Schedule(std::move(task)); }

 private:
  xla::ffi::ThreadPool pool_;
};

}  // namespace detloss

#endif  // DETLOSS_OPS_XLA_XLA_EXECUTOR_H_
