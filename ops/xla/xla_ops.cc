// Every op's lowering to a typed custom call, and the handlers that such calls run: the same entry points of cc/ that
// the TensorFlow kernels call. One file, because XLA's headers take most of a minute to compile.
#include <string>
#include <utility>
#include <vector>

#include "ops/attributes.h"
#include "ops/hard_negative_mining_shapes.h"
#include "ops/places.h"
#include "ops/ssd_loss_shapes.h"
#include "ops/xla/ffi_attributes.h"
#include "ops/xla/xla_queue.h"
#include "ops/yolo_ignore_mask_shapes.h"
#include "ops/yolov3_loss_shapes.h"
#include "tensorflow/compiler/tf2xla/shape_util.h"
#include "tensorflow/compiler/tf2xla/type_util.h"
#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"
#include "tensorflow/compiler/tf2xla/xla_op_registry.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "xla/ffi/api/ffi.h"
#include "xla/hlo/builder/xla_builder.h"
#include "xla/shape_util.h"

// Declared here because its header, xla/ffi/ffi_api.h, needs MLIR headers that the TensorFlow package does not have.
namespace xla::ffi {
const XLA_FFI_Api* GetXlaFfiApi();
}

namespace detloss {
namespace {

namespace ffi = xla::ffi;
using tensorflow::OpKernelConstruction;
using tensorflow::TensorShape;
using tensorflow::XlaOpKernel;
using tensorflow::XlaOpKernelContext;

// ---- shared by the lowerings and handlers ----

// REGISTER_XLA_OP keeps a list that TensorFlow turns into kernels once, when its runtime starts: a library loaded
// later, after a first tf.constant, would have no XLA kernels. Registered as kernels of the compilation device
// themselves, they are there whenever the library is loaded.
#define DETLOSS_REGISTER_XLA_OP(op, kernel)                                                            \
  REGISTER_KERNEL_BUILDER(Name(op).Device(tensorflow::DEVICE_CPU_XLA_JIT), kernel<::detloss::OnHost>); \
  DETLOSS_REGISTER_XLA_OP_ON_GPU(op, kernel)

// Defines and registers the handlers of a call, `handler<Place>`, which takes so many buffers as arguments and results.
#define DETLOSS_REGISTER_HANDLERS(target, handler, arguments, results)               \
  XLA_FFI_DEFINE_HANDLER(k##handler##OnHost, handler<::detloss::OnHost>,             \
                         (BindBuffers<::detloss::OnHost, arguments, results>()));    \
  XLA_FFI_REGISTER_HANDLER(ffi::GetXlaFfiApi(), target, "Host", k##handler##OnHost); \
  DETLOSS_REGISTER_HANDLER_ON_GPU(target, handler, arguments, results)

#if defined(DETLOSS_HAS_CUDA)
#define DETLOSS_REGISTER_XLA_OP_ON_GPU(op, kernel) \
  REGISTER_KERNEL_BUILDER(Name(op).Device(tensorflow::DEVICE_GPU_XLA_JIT), kernel<::detloss::OnDevice>)
#define DETLOSS_REGISTER_HANDLER_ON_GPU(target, handler, arguments, results)        \
  XLA_FFI_DEFINE_HANDLER(k##handler##OnDevice, handler<::detloss::OnDevice>,        \
                         (BindBuffers<::detloss::OnDevice, arguments, results>())); \
  XLA_FFI_REGISTER_HANDLER(ffi::GetXlaFfiApi(), target, "CUDA", k##handler##OnDevice)
#else
#define DETLOSS_REGISTER_XLA_OP_ON_GPU(op, kernel) static_assert(true, "")
#define DETLOSS_REGISTER_HANDLER_ON_GPU(target, handler, arguments, results) static_assert(true, "")
#endif

// A handler's queue and attributes, then its buffers.
constexpr int kAnyNumber = -1;

// Bindings cannot be moved: every step returns a new one.
template <int kArguments, int kResults, class Binding>
auto AddBuffers(Binding&& binding) {
  static_assert(kResults > 0, "the last result is the workspace");
  if constexpr (kArguments > 0) {
    return AddBuffers<kArguments - 1, kResults>(std::move(binding).template Arg<ffi::AnyBuffer>());
  } else if constexpr (kResults > 1) {
    return AddBuffers<0, kResults - 1>(std::move(binding).template Ret<ffi::AnyBuffer>());
  } else {
    return std::move(binding).template Ret<ffi::AnyBuffer>();
  }
}

template <class Place, int kArguments, int kResults>
auto BindBuffers() {
  using Queue = typename XlaQueue<Place>::Binding;
  if constexpr (kArguments == kAnyNumber) {
    return ffi::Ffi::Bind().template Ctx<Queue>().Attrs().RemainingArgs().RemainingRets();
  } else {
    return AddBuffers<kArguments, kResults>(ffi::Ffi::Bind().template Ctx<Queue>().Attrs());
  }
}

// Calls `f` with a value of the element type that computes predictions of `dtype`.
template <class F>
auto WithElementType(xla::PrimitiveType dtype, const F& f) {
  switch (dtype) {
    case xla::F64:
      return f(double());
    case xla::F16:
      return f(Half());
    case xla::BF16:
      return f(BFloat16());
    default:
      return f(float());
  }
}

xla::PrimitiveType ElementType(ffi::AnyBuffer buffer) { return static_cast<xla::PrimitiveType>(buffer.element_type()); }

TensorShape ShapeOf(ffi::AnyBuffer buffer) {
  const auto dimensions = buffer.dimensions();
  return TensorShape(std::vector<int64_t>(dimensions.begin(), dimensions.end()));
}

xla::Shape ShapeLike(xla::PrimitiveType dtype, const TensorShape& shape) {
  const auto sizes = shape.dim_sizes();
  return xla::ShapeUtil::MakeShape(dtype, std::vector<int64_t>(sizes.begin(), sizes.end()));
}

template <class T>
const T* Data(ffi::AnyBuffer buffer) {
  return static_cast<const T*>(buffer.untyped_data());
}

template <class T>
T* MutableData(ffi::Result<ffi::AnyBuffer> buffer) {
  return static_cast<T*>(buffer->untyped_data());
}

// Arguments or results whose number depends on the scales. The lowerings below put them where the handlers look.
template <class T>
std::vector<const T*> DataOf(const ffi::RemainingArgs& arguments, size_t first, size_t count) {
  std::vector<const T*> data;
  for (size_t i = first; i < first + count; ++i) data.push_back(Data<T>(*arguments.get<ffi::AnyBuffer>(i)));
  return data;
}

template <class T>
std::vector<T*> MutableDataOf(const ffi::RemainingRets& results, size_t first, size_t count) {
  std::vector<T*> data;
  for (size_t i = first; i < first + count; ++i) data.push_back(MutableData<T>(*results.get<ffi::AnyBuffer>(i)));
  return data;
}

// With the same code: XLA has Abseil's.
ffi::Error ToFfi(const absl::Status& status) {
  return ffi::Error(static_cast<ffi::ErrorCode>(status.code()), std::string(status.message()));
}

// The kernels' loops run over the whole of each argument, so XLA's bounded dynamic shapes have nothing to stand for
// here.
absl::Status StaticInputShapes(XlaOpKernelContext* context, std::vector<TensorShape>* shapes) {
  shapes->resize(context->num_inputs());
  for (int i = 0; i < context->num_inputs(); ++i) {
    TF_ASSIGN_OR_RETURN(const xla::Shape shape, context->InputXlaShape(i));
    if (shape.is_dynamic()) {
      return absl::InvalidArgumentError(absl::StrCat(context->op_kernel().def().name(),
                                                     ": expected a static shape for input ", i, " under XLA, got ",
                                                     shape.ToString()));
    }
    TF_RETURN_IF_ERROR(tensorflow::XLAShapeToTensorShape(shape, &(*shapes)[i]));
  }
  return absl::OkStatus();
}

// An op whose attributes `read` takes into options, for the lowering to look at and for the handler to read again.
template <class Options>
class LoweredOp : public XlaOpKernel {
 protected:
  LoweredOp(OpKernelConstruction* context, absl::Status (*read)(FfiAttributeWriter*, Options*)) : XlaOpKernel(context) {
    FfiAttributeWriter writer(context);
    OP_REQUIRES_OK(context, read(&writer, &options_));
    attributes_ = writer.text();
  }

  const Options& options() const { return options_; }
  const std::string& attributes() const { return attributes_; }

 private:
  Options options_;
  std::string attributes_;
};

// The shape with the memory layout of the kernels' arrays, row-major, whatever layout it had.
xla::Shape RowMajor(const xla::Shape& shape) {
  return xla::ShapeUtil::MakeShapeWithDescendingLayout(shape.element_type(), shape.dimensions());
}

// A call whose last result is the workspace, since XLA has no scratch memory for handlers on the host; on a device it
// does as well. Sets the other results as the op's outputs. The call says its layouts: for operands and results of a
// call that does not, XLA's compiler for GPUs takes the layout that suits their neighbours.
void LowerToCall(XlaOpKernelContext* context, const char* target, std::vector<xla::Shape> results,
                 size_t workspace_bytes, const std::string& attributes) {
  results.push_back(xla::ShapeUtil::MakeShape(xla::U8, {static_cast<int64_t>(workspace_bytes)}));
  for (xla::Shape& result : results) result = RowMajor(result);
  std::vector<xla::XlaOp> operands;
  std::vector<xla::Shape> operand_shapes;
  for (int i = 0; i < context->num_inputs(); ++i) {
    const absl::StatusOr<xla::Shape> shape = context->InputXlaShape(i);
    OP_REQUIRES_OK(context, shape.status());
    operands.push_back(context->Input(i));
    operand_shapes.push_back(RowMajor(*shape));
  }
  const xla::XlaOp call = xla::CustomCallWithLayout(
      context->builder(), target, operands, xla::ShapeUtil::MakeTupleShape(results), operand_shapes, attributes,
      /*has_side_effect=*/false, /*output_operand_aliasing=*/{}, /*literal=*/nullptr,
      xla::CustomCallSchedule::SCHEDULE_NONE, xla::CustomCallApiVersion::API_VERSION_TYPED_FFI);
  for (int i = 0; i < context->num_outputs(); ++i) context->SetOutput(i, xla::GetTupleElement(call, i));
}

// ---- SsdLoss ----

template <class Place>
class SsdLossXlaOp final : public LoweredOp<SsdLossOptions> {
 public:
  explicit SsdLossXlaOp(OpKernelConstruction* context) : LoweredOp(context, ReadSsdLossOptions) {}

  void Compile(XlaOpKernelContext* context) override {
    std::vector<TensorShape> inputs;
    SsdShape shape;
    OP_REQUIRES_OK(context, StaticInputShapes(context, &inputs));
    OP_REQUIRES_OK(context, CheckSsdShapes(inputs[0], inputs[1], options(), &shape));
    const xla::Shape per_image = xla::ShapeUtil::MakeShape(context->input_xla_type(0), {shape.images});
    std::vector<xla::Shape> results(6, per_image);
    results.push_back(xla::ShapeUtil::MakeShape(xla::S32, {shape.images}));
    results.push_back(xla::ShapeUtil::MakeShape(xla::U8, {shape.images, shape.boxes}));
    const size_t workspace_bytes = WithElementType(context->input_xla_type(1), [&](auto element) {
      return Place::template SsdBytes<decltype(element)>(options(), shape);
    });
    LowerToCall(context, "detloss_ssd_loss", std::move(results), workspace_bytes, attributes());
  }
};

SsdShape SsdShapeOf(ffi::AnyBuffer y_pred) {
  return {y_pred.dimensions()[0], y_pred.dimensions()[1], y_pred.dimensions()[2]};
}

using Returned = ffi::Result<ffi::AnyBuffer>;

template <class Place>
ffi::Error SsdLossHandler(typename XlaQueue<Place>::Context context, ffi::Dictionary attributes, ffi::AnyBuffer y_true,
                          ffi::AnyBuffer y_pred, Returned loss, Returned positive, Returned negative,
                          Returned localization, Returned n_pos, Returned n_kept, Returned num_invalid,
                          Returned selection, Returned workspace) {
  SsdLossOptions options;
  FfiAttributeReader reader(attributes);
  if (absl::Status status = ReadSsdLossOptions(&reader, &options); !status.ok()) return ToFfi(status);
  XlaQueue<Place> queue(context);
  return WithElementType(ElementType(y_pred), [&](auto element) {
    using T = decltype(element);
    using L = Compute<T>;
    const SsdLossOutputs<L> outputs = {MutableData<L>(loss),
                                       MutableData<L>(positive),
                                       MutableData<L>(negative),
                                       MutableData<L>(localization),
                                       MutableData<L>(n_pos),
                                       MutableData<L>(n_kept),
                                       MutableData<int32_t>(num_invalid),
                                       MutableData<uint8_t>(selection)};
    return ToFfi(ToAbsl(SsdLossForward(options, SsdShapeOf(y_pred), Data<L>(y_true), Data<T>(y_pred), outputs,
                                       workspace->untyped_data(), queue)));
  });
}

template <class Place>
class SsdLossGradXlaOp final : public LoweredOp<SsdLossOptions> {
 public:
  explicit SsdLossGradXlaOp(OpKernelConstruction* context) : LoweredOp(context, ReadSsdLossGradOptions) {}

  void Compile(XlaOpKernelContext* context) override {
    std::vector<TensorShape> inputs;
    SsdShape shape;
    OP_REQUIRES_OK(context, StaticInputShapes(context, &inputs));
    OP_REQUIRES_OK(context, CheckSsdShapes(inputs[1], inputs[2], options(), &shape));
    OP_REQUIRES_OK(context, CheckSsdGradShapes(inputs[0], inputs[3], inputs[4], inputs[5], shape));
    const xla::PrimitiveType dtype = context->input_xla_type(2);
    const size_t workspace_bytes =
        WithElementType(dtype, [&](auto element) { return Place::template SsdGradBytes<decltype(element)>(shape); });
    LowerToCall(context, "detloss_ssd_loss_grad", {ShapeLike(dtype, inputs[2])}, workspace_bytes, attributes());
  }
};

template <class Place>
ffi::Error SsdLossGradHandler(typename XlaQueue<Place>::Context context, ffi::Dictionary attributes,
                              ffi::AnyBuffer loss_gradient, ffi::AnyBuffer y_true, ffi::AnyBuffer y_pred,
                              ffi::AnyBuffer n_pos, ffi::AnyBuffer n_kept, ffi::AnyBuffer selection, Returned gradient,
                              Returned workspace) {
  SsdLossOptions options;
  FfiAttributeReader reader(attributes);
  if (absl::Status status = ReadSsdLossGradOptions(&reader, &options); !status.ok()) return ToFfi(status);
  XlaQueue<Place> queue(context);
  return WithElementType(ElementType(y_pred), [&](auto element) {
    using T = decltype(element);
    using L = Compute<T>;
    const SsdLossResiduals<L> residuals = {Data<L>(n_pos), Data<L>(n_kept), Data<uint8_t>(selection)};
    return ToFfi(ToAbsl(Place::template SsdBackward<T>(options, SsdShapeOf(y_pred), Data<L>(loss_gradient),
                                                       Data<L>(y_true), Data<T>(y_pred), residuals,
                                                       MutableData<T>(gradient), workspace->untyped_data(), queue)));
  });
}

DETLOSS_REGISTER_HANDLERS("detloss_ssd_loss", SsdLossHandler, 2, 9);
DETLOSS_REGISTER_HANDLERS("detloss_ssd_loss_grad", SsdLossGradHandler, 6, 2);
DETLOSS_REGISTER_XLA_OP("Detloss>SsdLoss", SsdLossXlaOp);
DETLOSS_REGISTER_XLA_OP("Detloss>SsdLossGrad", SsdLossGradXlaOp);

// ---- HardNegativeMining ----

template <class Place>
class HardNegativeMiningXlaOp final : public LoweredOp<MiningOptions> {
 public:
  explicit HardNegativeMiningXlaOp(OpKernelConstruction* context) : LoweredOp(context, ReadMiningOptions) {}

  void Compile(XlaOpKernelContext* context) override {
    std::vector<TensorShape> inputs;
    OP_REQUIRES_OK(context, StaticInputShapes(context, &inputs));
    const TensorShape& boxes = inputs[0];
    OP_REQUIRES_OK(context, CheckMiningShapes(boxes, inputs[1]));
    const size_t workspace_bytes = WithElementType(context->input_xla_type(0), [&](auto element) {
      return Place::template MiningBytes<decltype(element)>(options(), boxes.dim_size(0), boxes.dim_size(1));
    });
    LowerToCall(context, "detloss_hard_negative_mining", {ShapeLike(xla::PRED, boxes)}, workspace_bytes, attributes());
  }
};

template <class Place>
ffi::Error HardNegativeMiningHandler(typename XlaQueue<Place>::Context context, ffi::Dictionary attributes,
                                     ffi::AnyBuffer negative_loss, ffi::AnyBuffer n_positive, Returned mask,
                                     Returned workspace) {
  MiningOptions options;
  FfiAttributeReader reader(attributes);
  if (absl::Status status = ReadMiningOptions(&reader, &options); !status.ok()) return ToFfi(status);
  XlaQueue<Place> queue(context);
  return WithElementType(ElementType(negative_loss), [&](auto element) {
    using T = decltype(element);
    return ToFfi(ToAbsl(HardNegativeMining(options, negative_loss.dimensions()[0], negative_loss.dimensions()[1],
                                           Data<T>(negative_loss), Data<Compute<T>>(n_positive),
                                           MutableData<bool>(mask), workspace->untyped_data(), queue)));
  });
}

DETLOSS_REGISTER_HANDLERS("detloss_hard_negative_mining", HardNegativeMiningHandler, 2, 2);
DETLOSS_REGISTER_XLA_OP("Detloss>HardNegativeMining", HardNegativeMiningXlaOp);

// ---- YoloV3Loss ----

std::vector<TensorShape> Slice(const std::vector<TensorShape>& shapes, size_t first, size_t count) {
  return {shapes.begin() + first, shapes.begin() + first + count};
}

std::vector<TensorShape> ShapesOf(const ffi::RemainingArgs& arguments, size_t first, size_t count) {
  std::vector<TensorShape> shapes;
  for (size_t i = first; i < first + count; ++i) {
    shapes.push_back(ShapeOf(*arguments.get<ffi::AnyBuffer>(i)));
  }
  return shapes;
}

template <class Place>
class YoloV3LossXlaOp final : public LoweredOp<YoloV3LossOptions> {
 public:
  explicit YoloV3LossXlaOp(OpKernelConstruction* context) : LoweredOp(context, ReadYoloV3LossOptions) {}

  void Compile(XlaOpKernelContext* context) override {
    std::vector<TensorShape> inputs;
    YoloV3Shape shape;
    OP_REQUIRES_OK(context, StaticInputShapes(context, &inputs));
    const size_t scales = inputs.size() / 2;
    OP_REQUIRES_OK(context,
                   CheckYoloShapes(Slice(inputs, 0, scales), Slice(inputs, scales, scales), options(), &shape));
    const xla::PrimitiveType label_dtype = context->input_xla_type(0);
    std::vector<xla::Shape> results(7, xla::ShapeUtil::MakeShape(label_dtype, {shape.images}));
    results.push_back(xla::ShapeUtil::MakeShape(xla::S32, {shape.images}));
    for (const xla::PrimitiveType dtype : {label_dtype, xla::U8}) {
      for (size_t i = 0; i < scales; ++i) {
        results.push_back(xla::ShapeUtil::MakeShape(dtype, {shape.images, shape.Rows(i)}));
      }
    }
    const size_t workspace_bytes =
        WithElementType(context->input_xla_type(static_cast<int>(scales)),
                        [&](auto element) { return Place::template YoloBytes<decltype(element)>(options(), shape); });
    LowerToCall(context, "detloss_yolov3_loss", std::move(results), workspace_bytes, attributes());
  }
};

// Arguments: y_true and y_pred of every scale. Results: eight per image, objectness_gradient and selection of every
// scale, the workspace.
template <class Place>
ffi::Error YoloV3LossHandler(typename XlaQueue<Place>::Context context, ffi::Dictionary attributes,
                             ffi::RemainingArgs arguments, ffi::RemainingRets results) {
  YoloV3LossOptions options;
  FfiAttributeReader reader(attributes);
  if (absl::Status status = ReadYoloV3LossOptions(&reader, &options); !status.ok()) return ToFfi(status);
  const size_t scales = arguments.size() / 2;
  YoloV3Shape shape;
  const absl::Status checked =
      CheckYoloShapes(ShapesOf(arguments, 0, scales), ShapesOf(arguments, scales, scales), options, &shape);
  if (!checked.ok()) return ToFfi(checked);
  XlaQueue<Place> queue(context);
  return WithElementType(ElementType(*arguments.get<ffi::AnyBuffer>(scales)), [&](auto element) {
    using T = decltype(element);
    using L = Compute<T>;
    const std::vector<L*> per_image = MutableDataOf<L>(results, 0, 7);
    const YoloV3LossOutputs<L> outputs = {per_image[0],
                                          per_image[1],
                                          per_image[2],
                                          per_image[3],
                                          per_image[4],
                                          per_image[5],
                                          per_image[6],
                                          MutableDataOf<int32_t>(results, 7, 1)[0],
                                          MutableDataOf<L>(results, 8, scales),
                                          MutableDataOf<uint8_t>(results, 8 + scales, scales)};
    void* const workspace = MutableDataOf<char>(results, 8 + 2 * scales, 1)[0];
    return ToFfi(ToAbsl(YoloV3LossForward<T>(options, shape, DataOf<L>(arguments, 0, scales),
                                             DataOf<T>(arguments, scales, scales), outputs, workspace, queue)));
  });
}

template <class Place>
class YoloV3LossGradXlaOp final : public LoweredOp<YoloV3LossOptions> {
 public:
  explicit YoloV3LossGradXlaOp(OpKernelConstruction* context) : LoweredOp(context, ReadYoloV3LossGradOptions) {}

  void Compile(XlaOpKernelContext* context) override {
    std::vector<TensorShape> inputs;
    YoloV3Shape shape;
    OP_REQUIRES_OK(context, StaticInputShapes(context, &inputs));
    OP_REQUIRES_OK(context, CheckYoloShapes({inputs[1]}, {inputs[2]}, options(), &shape));
    OP_REQUIRES_OK(context, CheckYoloGradShapes(inputs[0], inputs[3], inputs[4], shape));
    const xla::PrimitiveType dtype = context->input_xla_type(2);
    const size_t workspace_bytes = WithElementType(
        dtype, [&](auto element) { return Place::template YoloGradBytes<decltype(element)>(options(), shape); });
    LowerToCall(context, "detloss_yolov3_loss_grad", {ShapeLike(dtype, inputs[2])}, workspace_bytes, attributes());
  }
};

template <class Place>
ffi::Error YoloV3LossGradHandler(typename XlaQueue<Place>::Context context, ffi::Dictionary attributes,
                                 ffi::AnyBuffer loss_gradient, ffi::AnyBuffer y_true, ffi::AnyBuffer y_pred,
                                 ffi::AnyBuffer objectness_gradient, ffi::AnyBuffer selection, Returned gradient,
                                 Returned workspace) {
  YoloV3LossOptions options;
  FfiAttributeReader reader(attributes);
  if (absl::Status status = ReadYoloV3LossGradOptions(&reader, &options); !status.ok()) return ToFfi(status);
  YoloV3Shape shape;
  const absl::Status checked = CheckYoloShapes({ShapeOf(y_true)}, {ShapeOf(y_pred)}, options, &shape);
  if (!checked.ok()) return ToFfi(checked);
  XlaQueue<Place> queue(context);
  return WithElementType(ElementType(y_pred), [&](auto element) {
    using T = decltype(element);
    using L = Compute<T>;
    const YoloV3LossResiduals<L> residuals = {{Data<L>(objectness_gradient)}, {Data<uint8_t>(selection)}};
    return ToFfi(
        ToAbsl(Place::template YoloBackward<T>(options, shape, Data<L>(loss_gradient), Data<L>(y_true), Data<T>(y_pred),
                                               residuals, MutableData<T>(gradient), workspace->untyped_data(), queue)));
  });
}

DETLOSS_REGISTER_HANDLERS("detloss_yolov3_loss", YoloV3LossHandler, kAnyNumber, kAnyNumber);
DETLOSS_REGISTER_HANDLERS("detloss_yolov3_loss_grad", YoloV3LossGradHandler, 5, 2);
DETLOSS_REGISTER_XLA_OP("Detloss>YoloV3Loss", YoloV3LossXlaOp);
DETLOSS_REGISTER_XLA_OP("Detloss>YoloV3LossGrad", YoloV3LossGradXlaOp);

// ---- YoloIgnoreMask ----

template <class Place>
class YoloIgnoreMaskXlaOp final : public LoweredOp<IgnoreOptions> {
 public:
  explicit YoloIgnoreMaskXlaOp(OpKernelConstruction* context) : LoweredOp(context, ReadIgnoreOptions) {}

  void Compile(XlaOpKernelContext* context) override {
    std::vector<TensorShape> inputs;
    IgnoreMaskShape shape;
    TensorShape mask;
    OP_REQUIRES_OK(context, StaticInputShapes(context, &inputs));
    OP_REQUIRES_OK(context, CheckIgnoreMaskShapes(inputs[0], inputs[1], &shape, &mask));
    const size_t workspace_bytes = WithElementType(context->input_xla_type(0), [&](auto element) {
      return Place::template IgnoreMaskBytes<decltype(element)>(shape);
    });
    LowerToCall(context, "detloss_yolo_ignore_mask", {ShapeLike(xla::PRED, mask)}, workspace_bytes, attributes());
  }
};

template <class Place>
ffi::Error YoloIgnoreMaskHandler(typename XlaQueue<Place>::Context context, ffi::Dictionary attributes,
                                 ffi::AnyBuffer boxes, ffi::AnyBuffer true_boxes, Returned mask, Returned workspace) {
  IgnoreOptions options;
  FfiAttributeReader reader(attributes);
  if (absl::Status status = ReadIgnoreOptions(&reader, &options); !status.ok()) return ToFfi(status);
  const int64_t images = true_boxes.dimensions()[0];
  const int64_t per_image = images == 0 ? 0 : static_cast<int64_t>(boxes.element_count()) / (4 * images);
  const IgnoreMaskShape shape = {images, per_image, true_boxes.dimensions()[1]};
  XlaQueue<Place> queue(context);
  return WithElementType(ElementType(boxes), [&](auto element) {
    using T = decltype(element);
    return ToFfi(ToAbsl(Place::template IgnoreMask<T>(options, shape, Data<T>(boxes), Data<Compute<T>>(true_boxes),
                                                      MutableData<bool>(mask), workspace->untyped_data(), queue)));
  });
}

DETLOSS_REGISTER_HANDLERS("detloss_yolo_ignore_mask", YoloIgnoreMaskHandler, 2, 2);
DETLOSS_REGISTER_XLA_OP("Detloss>YoloIgnoreMask", YoloIgnoreMaskXlaOp);

}  // namespace
}  // namespace detloss
