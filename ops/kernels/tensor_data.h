// Tensors as the plain pointers that the kernels take.
#ifndef DETLOSS_OPS_KERNELS_TENSOR_DATA_H_
#define DETLOSS_OPS_KERNELS_TENSOR_DATA_H_

#include "cc/dtypes.h"
#include "ops/places.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/framework/types.h"

namespace detloss {

// TensorFlow's type of an element type of ours.
template <class T>
struct TensorflowType {
  using type = T;
};
template <>
struct TensorflowType<Half> {
  using type = Eigen::half;
};
template <>
struct TensorflowType<BFloat16> {
  using type = tensorflow::bfloat16;
};

template <class T>
const T* Data(const tensorflow::Tensor& tensor) {
  return static_cast<const T*>(tensor.data());
}

template <class T>
T* MutableData(tensorflow::Tensor* tensor) {
  return static_cast<T*>(tensor->data());
}

inline absl::Status AllocateWorkspace(tensorflow::OpKernelContext* context, size_t bytes,
                                      tensorflow::Tensor* workspace) {
  return context->allocate_temp(tensorflow::DT_UINT8, {static_cast<int64_t>(bytes)}, workspace);
}

}  // namespace detloss

// Registers `kernel<Place, T>` for every place of this build and every element type of predictions.
#define DETLOSS_REGISTER_KERNELS(op, kernel)                                        \
  DETLOSS_REGISTER_ON_PLACE(op, kernel, tensorflow::DEVICE_CPU, ::detloss::OnHost); \
  DETLOSS_REGISTER_ON_GPU(op, kernel)
#if defined(DETLOSS_HAS_CUDA)
#define DETLOSS_REGISTER_ON_GPU(op, kernel) \
  DETLOSS_REGISTER_ON_PLACE(op, kernel, tensorflow::DEVICE_GPU, ::detloss::OnDevice)
#else
#define DETLOSS_REGISTER_ON_GPU(op, kernel) static_assert(true, "")
#endif
#define DETLOSS_REGISTER_ON_PLACE(op, kernel, device, Place)           \
  DETLOSS_REGISTER_KERNEL(op, kernel, device, Place, float);           \
  DETLOSS_REGISTER_KERNEL(op, kernel, device, Place, double);          \
  DETLOSS_REGISTER_KERNEL(op, kernel, device, Place, ::detloss::Half); \
  DETLOSS_REGISTER_KERNEL(op, kernel, device, Place, ::detloss::BFloat16)
#define DETLOSS_REGISTER_KERNEL(op, kernel, device, Place, T)                          \
  REGISTER_KERNEL_BUILDER(Name(op)                                                     \
                              .Device(device)                                          \
                              .TypeConstraint<::detloss::TensorflowType<T>::type>("T") \
                              .TypeConstraint<::detloss::Compute<T>>("Tlabel"),        \
                          kernel<Place, T>)

#endif  // DETLOSS_OPS_KERNELS_TENSOR_DATA_H_
