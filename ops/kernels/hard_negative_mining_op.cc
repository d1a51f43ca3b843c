#include "cc/hard_negative_mining.h"
#include "ops/attributes.h"
#include "ops/hard_negative_mining_shapes.h"
#include "ops/kernels/tensor_data.h"
#include "ops/kernels/tensorflow_queue.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace detloss {
namespace {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;

template <class Place, class T>
class HardNegativeMiningOp final : public OpKernel {
 public:
  explicit HardNegativeMiningOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, ReadMiningOptions(context, &options_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& negative_loss = context->input(0);
    const Tensor& n_positive = context->input(1);
    OP_REQUIRES_OK(context, CheckMiningShapes(negative_loss.shape(), n_positive.shape()));
    const int64_t images = negative_loss.dim_size(0), boxes = negative_loss.dim_size(1);

    Tensor *mask, workspace;
    OP_REQUIRES_OK(context, context->allocate_output("mask", negative_loss.shape(), &mask));
    OP_REQUIRES_OK(context,
                   AllocateWorkspace(context, Place::template MiningBytes<T>(options_, images, boxes), &workspace));

    TensorflowQueue<Place> queue(context);
    OP_REQUIRES_OK(context, ToAbsl(HardNegativeMining(options_, images, boxes, Data<T>(negative_loss),
                                                      Data<detloss::Compute<T>>(n_positive), MutableData<bool>(mask),
                                                      workspace.data(), queue)));
  }

 private:
  MiningOptions options_;
};

DETLOSS_REGISTER_KERNELS("Detloss>HardNegativeMining", HardNegativeMiningOp);

}  // namespace
}  // namespace detloss
