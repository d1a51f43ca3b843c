#include "cc/ssd_loss.h"
#include "ops/attributes.h"
#include "ops/kernels/tensor_data.h"
#include "ops/kernels/tensorflow_queue.h"
#include "ops/ssd_loss_shapes.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace detloss {
namespace {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

template <class Place, class T>
class SsdLossOp final : public OpKernel {
 public:
  explicit SsdLossOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, ReadSsdLossOptions(context, &options_));
  }

  void Compute(OpKernelContext* context) override {
    using L = detloss::Compute<T>;
    const Tensor& y_true = context->input(0);
    const Tensor& y_pred = context->input(1);
    SsdShape shape;
    OP_REQUIRES_OK(context, CheckSsdShapes(y_true.shape(), y_pred.shape(), options_, &shape));

    const TensorShape batch({shape.images});
    Tensor *loss, *positive, *negative, *localization, *n_pos, *n_kept, *num_invalid, *selection, workspace;
    OP_REQUIRES_OK(context, context->allocate_output("loss", batch, &loss));
    OP_REQUIRES_OK(context, context->allocate_output("positive", batch, &positive));
    OP_REQUIRES_OK(context, context->allocate_output("negative", batch, &negative));
    OP_REQUIRES_OK(context, context->allocate_output("localization", batch, &localization));
    OP_REQUIRES_OK(context, context->allocate_output("n_pos", batch, &n_pos));
    OP_REQUIRES_OK(context, context->allocate_output("n_kept", batch, &n_kept));
    OP_REQUIRES_OK(context, context->allocate_output("num_invalid", batch, &num_invalid));
    OP_REQUIRES_OK(context, context->allocate_output("selection", {shape.images, shape.boxes}, &selection));
    OP_REQUIRES_OK(context, AllocateWorkspace(context, Place::template SsdBytes<T>(options_, shape), &workspace));

    TensorflowQueue<Place> queue(context);
    const SsdLossOutputs<L> outputs = {MutableData<L>(loss),
                                       MutableData<L>(positive),
                                       MutableData<L>(negative),
                                       MutableData<L>(localization),
                                       MutableData<L>(n_pos),
                                       MutableData<L>(n_kept),
                                       MutableData<int32_t>(num_invalid),
                                       MutableData<uint8_t>(selection)};
    OP_REQUIRES_OK(context, ToAbsl(SsdLossForward(options_, shape, Data<L>(y_true), Data<T>(y_pred), outputs,
                                                  workspace.data(), queue)));
  }

 private:
  SsdLossOptions options_;
};

template <class Place, class T>
class SsdLossGradOp final : public OpKernel {
 public:
  explicit SsdLossGradOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, ReadSsdLossGradOptions(context, &options_));
  }

  void Compute(OpKernelContext* context) override {
    using L = detloss::Compute<T>;
    const Tensor& loss_gradient = context->input(0);
    const Tensor& y_true = context->input(1);
    const Tensor& y_pred = context->input(2);
    const Tensor& n_pos = context->input(3);
    const Tensor& n_kept = context->input(4);
    const Tensor& selection = context->input(5);
    SsdShape shape;
    OP_REQUIRES_OK(context, CheckSsdShapes(y_true.shape(), y_pred.shape(), options_, &shape));
    OP_REQUIRES_OK(context,
                   CheckSsdGradShapes(loss_gradient.shape(), n_pos.shape(), n_kept.shape(), selection.shape(), shape));

    Tensor *gradient, workspace;
    OP_REQUIRES_OK(context, context->allocate_output("y_pred_gradient", y_pred.shape(), &gradient));
    OP_REQUIRES_OK(context, AllocateWorkspace(context, Place::template SsdGradBytes<T>(shape), &workspace));

    TensorflowQueue<Place> queue(context);
    const SsdLossResiduals<L> residuals = {Data<L>(n_pos), Data<L>(n_kept), Data<uint8_t>(selection)};
    OP_REQUIRES_OK(context, ToAbsl(Place::template SsdBackward<T>(options_, shape, Data<L>(loss_gradient),
                                                                  Data<L>(y_true), Data<T>(y_pred), residuals,
                                                                  MutableData<T>(gradient), workspace.data(), queue)));
  }

 private:
  SsdLossOptions options_;
};

DETLOSS_REGISTER_KERNELS("Detloss>SsdLoss", SsdLossOp);
DETLOSS_REGISTER_KERNELS("Detloss>SsdLossGrad", SsdLossGradOp);

}  // namespace
}  // namespace detloss
