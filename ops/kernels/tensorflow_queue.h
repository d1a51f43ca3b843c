// What a place runs kernels with: TensorFlow's intra-op threads on the host, its stream on a device.
#ifndef DETLOSS_OPS_KERNELS_TENSORFLOW_QUEUE_H_
#define DETLOSS_OPS_KERNELS_TENSORFLOW_QUEUE_H_

#include <functional>
#include <utility>

#include "cc/executor.h"
#include "ops/places.h"
#include "tensorflow/core/framework/device_base.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/platform/threadpool.h"

#if defined(DETLOSS_HAS_CUDA)
#include "cc/device_stream.h"
#include "xla/stream_executor/stream.h"
#endif

namespace detloss {

template <class Place>
class TensorflowQueue;

template <>
class TensorflowQueue<OnHost> final : public Executor {
 public:
  explicit TensorflowQueue(tensorflow::OpKernelContext* context)
      : threads_(context->device()->tensorflow_cpu_worker_threads()) {}

  int NumThreads() const override { return threads_->num_threads; }
  void Schedule(std::function<void()> task) override { threads_->workers->Schedule(std::move(task)); }

 private:
  const tensorflow::DeviceBase::CpuWorkerThreads* const threads_;
};

#if defined(DETLOSS_HAS_CUDA)
// Without Eigen's GPU device, whose header needs CUDA's.
template <>
class TensorflowQueue<OnDevice> final {
 public:
  explicit TensorflowQueue(tensorflow::OpKernelContext* context)
      : stream_(static_cast<DeviceStream>(context->op_device_context()->stream()->platform_specific_handle().stream)) {}

  operator DeviceStream() const { return stream_; }

 private:
  const DeviceStream stream_;
};
#endif

}  // namespace detloss

#endif  // DETLOSS_OPS_KERNELS_TENSORFLOW_QUEUE_H_
