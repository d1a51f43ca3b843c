#include <vector>

#include "cc/yolov3_loss.h"
#include "ops/attributes.h"
#include "ops/kernels/tensor_data.h"
#include "ops/kernels/tensorflow_queue.h"
#include "ops/yolov3_loss_shapes.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace detloss {
namespace {

using tensorflow::OpInputList;
using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::OpOutputList;
using tensorflow::Tensor;
using tensorflow::TensorShape;

std::vector<TensorShape> ShapesOf(const OpInputList& tensors) {
  std::vector<TensorShape> shapes;
  for (const Tensor& tensor : tensors) shapes.push_back(tensor.shape());
  return shapes;
}

template <class T>
std::vector<const T*> DataOf(const OpInputList& tensors) {
  std::vector<const T*> data;
  for (const Tensor& tensor : tensors) data.push_back(Data<T>(tensor));
  return data;
}

// Outputs of `shapes`, one per scale.
template <class T>
absl::Status AllocateScales(OpKernelContext* context, const char* name, const std::vector<TensorShape>& shapes,
                            std::vector<T*>* data) {
  OpOutputList list;
  TF_RETURN_IF_ERROR(context->output_list(name, &list));
  for (size_t i = 0; i < shapes.size(); ++i) {
    Tensor* tensor;
    TF_RETURN_IF_ERROR(list.allocate(static_cast<int>(i), shapes[i], &tensor));
    data->push_back(MutableData<T>(tensor));
  }
  return absl::OkStatus();
}

template <class Place, class T>
class YoloV3LossOp final : public OpKernel {
 public:
  explicit YoloV3LossOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, ReadYoloV3LossOptions(context, &options_));
  }

  void Compute(OpKernelContext* context) override {
    using L = detloss::Compute<T>;
    OpInputList y_true, y_pred;
    OP_REQUIRES_OK(context, context->input_list("y_true", &y_true));
    OP_REQUIRES_OK(context, context->input_list("y_pred", &y_pred));
    YoloV3Shape shape;
    OP_REQUIRES_OK(context, CheckYoloShapes(ShapesOf(y_true), ShapesOf(y_pred), options_, &shape));

    const TensorShape batch({shape.images});
    Tensor *loss, *box, *xy, *wh, *object, *no_object, *class_term, *num_invalid, workspace;
    OP_REQUIRES_OK(context, context->allocate_output("loss", batch, &loss));
    OP_REQUIRES_OK(context, context->allocate_output("box", batch, &box));
    OP_REQUIRES_OK(context, context->allocate_output("xy", batch, &xy));
    OP_REQUIRES_OK(context, context->allocate_output("wh", batch, &wh));
    OP_REQUIRES_OK(context, context->allocate_output("object", batch, &object));
    OP_REQUIRES_OK(context, context->allocate_output("no_object", batch, &no_object));
    OP_REQUIRES_OK(context, context->allocate_output("class_term", batch, &class_term));
    OP_REQUIRES_OK(context, context->allocate_output("num_invalid", batch, &num_invalid));
    YoloV3LossOutputs<L> outputs = {MutableData<L>(loss),
                                    MutableData<L>(box),
                                    MutableData<L>(xy),
                                    MutableData<L>(wh),
                                    MutableData<L>(object),
                                    MutableData<L>(no_object),
                                    MutableData<L>(class_term),
                                    MutableData<int32_t>(num_invalid),
                                    {},
                                    {}};
    std::vector<TensorShape> rows;
    for (size_t i = 0; i < shape.scales.size(); ++i) rows.push_back(TensorShape({shape.images, shape.Rows(i)}));
    OP_REQUIRES_OK(context, AllocateScales(context, "objectness_gradient", rows, &outputs.objectness_gradient));
    OP_REQUIRES_OK(context, AllocateScales(context, "selection", rows, &outputs.selection));
    OP_REQUIRES_OK(context, AllocateWorkspace(context, Place::template YoloBytes<T>(options_, shape), &workspace));

    TensorflowQueue<Place> queue(context);
    OP_REQUIRES_OK(context, ToAbsl(YoloV3LossForward<T>(options_, shape, DataOf<L>(y_true), DataOf<T>(y_pred), outputs,
                                                        workspace.data(), queue)));
  }

 private:
  YoloV3LossOptions options_;
};

template <class Place, class T>
class YoloV3LossGradOp final : public OpKernel {
 public:
  explicit YoloV3LossGradOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, ReadYoloV3LossGradOptions(context, &options_));
  }

  void Compute(OpKernelContext* context) override {
    using L = detloss::Compute<T>;
    const Tensor& loss_gradient = context->input(0);
    const Tensor& y_true = context->input(1);
    const Tensor& y_pred = context->input(2);
    const Tensor& objectness_gradient = context->input(3);
    const Tensor& selection = context->input(4);
    YoloV3Shape shape;
    OP_REQUIRES_OK(context, CheckYoloShapes({y_true.shape()}, {y_pred.shape()}, options_, &shape));
    OP_REQUIRES_OK(context,
                   CheckYoloGradShapes(loss_gradient.shape(), objectness_gradient.shape(), selection.shape(), shape));

    Tensor *gradient, workspace;
    OP_REQUIRES_OK(context, context->allocate_output("y_pred_gradient", y_pred.shape(), &gradient));
    OP_REQUIRES_OK(context, AllocateWorkspace(context, Place::template YoloGradBytes<T>(options_, shape), &workspace));

    TensorflowQueue<Place> queue(context);
    const YoloV3LossResiduals<L> residuals = {{Data<L>(objectness_gradient)}, {Data<uint8_t>(selection)}};
    OP_REQUIRES_OK(context, ToAbsl(Place::template YoloBackward<T>(options_, shape, Data<L>(loss_gradient),
                                                                   Data<L>(y_true), Data<T>(y_pred), residuals,
                                                                   MutableData<T>(gradient), workspace.data(), queue)));
  }

 private:
  YoloV3LossOptions options_;
};

DETLOSS_REGISTER_KERNELS("Detloss>YoloV3Loss", YoloV3LossOp);
DETLOSS_REGISTER_KERNELS("Detloss>YoloV3LossGrad", YoloV3LossGradOp);

}  // namespace
}  // namespace detloss
