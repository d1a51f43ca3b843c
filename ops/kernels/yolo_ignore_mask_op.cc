#include "cc/yolo_ignore_mask.h"
#include "ops/attributes.h"
#include "ops/kernels/tensor_data.h"
#include "ops/kernels/tensorflow_queue.h"
#include "ops/yolo_ignore_mask_shapes.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace detloss {
namespace {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

template <class Place, class T>
class YoloIgnoreMaskOp final : public OpKernel {
 public:
  explicit YoloIgnoreMaskOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, ReadIgnoreOptions(context, &options_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& boxes = context->input(0);
    const Tensor& true_boxes = context->input(1);
    IgnoreMaskShape shape;
    TensorShape mask_shape;
    OP_REQUIRES_OK(context, CheckIgnoreMaskShapes(boxes.shape(), true_boxes.shape(), &shape, &mask_shape));

    Tensor *mask, workspace;
    OP_REQUIRES_OK(context, context->allocate_output("mask", mask_shape, &mask));
    OP_REQUIRES_OK(context, AllocateWorkspace(context, Place::template IgnoreMaskBytes<T>(shape), &workspace));

    TensorflowQueue<Place> queue(context);
    OP_REQUIRES_OK(context, ToAbsl(Place::template IgnoreMask<T>(options_, shape, Data<T>(boxes),
                                                                 Data<detloss::Compute<T>>(true_boxes),
                                                                 MutableData<bool>(mask), workspace.data(), queue)));
  }

 private:
  IgnoreOptions options_;
};

DETLOSS_REGISTER_KERNELS("Detloss>YoloIgnoreMask", YoloIgnoreMaskOp);

}  // namespace
}  // namespace detloss
