// TensorFlow's intra-op threads as an Executor.
#ifndef DETLOSS_OPS_KERNELS_TENSORFLOW_EXECUTOR_H_
#define DETLOSS_OPS_KERNELS_TENSORFLOW_EXECUTOR_H_

#include <functional>
#include <utility>

#include "cc/executor.h"
#include "tensorflow/core/framework/device_base.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/platform/threadpool.h"

namespace detloss {

class TensorflowExecutor final : public Executor {
 public:
  explicit TensorflowExecutor(tensorflow::OpKernelContext* context)
      : threads_(context->device()->tensorflow_cpu_worker_threads()) {}

  int NumThreads() const override { return threads_->num_threads; }
  void Schedule(std::function<void()> task) override { threads_->workers->Schedule(std::move(task)); }

 private:
  const tensorflow::DeviceBase::CpuWorkerThreads* const threads_;
};

}  // namespace detloss

#endif  // DETLOSS_OPS_KERNELS_TENSORFLOW_EXECUTOR_H_
