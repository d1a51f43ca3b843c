// What a place runs handlers with: XLA's host threads, or its stream on a device. Valid only inside the handler call.
#ifndef DETLOSS_OPS_XLA_XLA_QUEUE_H_
#define DETLOSS_OPS_XLA_XLA_QUEUE_H_

#include <functional>
#include <utility>

#include "cc/device_stream.h"
#include "cc/executor.h"
#include "ops/places.h"
#include "xla/ffi/api/ffi.h"

namespace detloss {

// `Binding` is what a handler asks XLA for, `Context` what it gets.
template <class Place>
class XlaQueue;

template <>
class XlaQueue<OnHost> final : public Executor {
 public:
  using Binding = xla::ffi::ThreadPool;
  using Context = xla::ffi::ThreadPool;

  explicit XlaQueue(Context pool) : pool_(pool) {}

  int NumThreads() const override { return static_cast<int>(pool_.num_threads()); }
  void Schedule(std::function<void()> task) override { pool_.Schedule(std::move(task)); }

 private:
  Context pool_;
};

#if defined(DETLOSS_HAS_CUDA)
template <>
class XlaQueue<OnDevice> final {
 public:
  using Binding = xla::ffi::PlatformStream<DeviceStream>;
  using Context = DeviceStream;

  explicit XlaQueue(Context stream) : stream_(stream) {}

  operator DeviceStream() const { return stream_; }

 private:
  const DeviceStream stream_;
};
#endif

}  // namespace detloss

#endif  // DETLOSS_OPS_XLA_XLA_QUEUE_H_
