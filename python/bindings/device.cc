#include "python/bindings/device.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "cc/hard_negative_mining.h"
#include "cc/ssd_loss.h"
#include "cc/touch_floor.h"
#include "cc/yolo_ignore_mask.h"
#include "cc/yolov3_loss.h"
#include "python/bindings/device_tensors.h"
#include "python/bindings/ssd_loss_arguments.h"
#include "python/bindings/touch_floor_arguments.h"
#include "python/bindings/unlocked.h"
#include "python/bindings/yolov3_loss_arguments.h"

namespace detloss {
namespace {

// ---- SSD ----

size_t SsdLossWorkspace(const py::object& y_pred_shape, const py::object& dtype, const py::kwargs& given) {
  const SsdLossOptions options = SsdLossOptionsFrom(given);
  const SsdShape shape = SsdShapeOf(ValueFrom<Dimensions>("y_pred_shape", y_pred_shape));
  return WithPredictionDtype("y_pred", ValueFrom<std::string>("dtype", dtype), [&](auto element, const char*) {
    return SsdLossDeviceWorkspaceBytes<decltype(element)>(options, shape);
  });
}

void SsdLossForwardOnDevice(const py::object& y_true, const py::object& y_pred, const py::dict& outputs,
                            const py::object& workspace, const py::object& stream, const py::kwargs& given) {
  const SsdLossOptions options = SsdLossOptionsFrom(given);
  DeviceArguments arguments(stream);
  const TensorView labels = arguments.View("y_true", y_true), predictions = arguments.View("y_pred", y_pred);
  const SsdShape shape = SsdShapeOf(predictions.shape);
  WithPredictionDtype("y_pred", predictions.dtype, [&](auto element, const char* label_dtype) {
    using T = decltype(element);
    using L = Compute<T>;
    const SsdInputs<T> inputs(labels, predictions, label_dtype, shape);
    const auto per_image = [&](const char* name) {
      return MutableElements<L>(name, arguments.View(outputs, name), label_dtype, {shape.images});
    };
    const SsdLossOutputs<L> results = {
        per_image("loss"),
        per_image("positive"),
        per_image("negative"),
        per_image("localization"),
        per_image("n_pos"),
        per_image("n_kept"),
        MutableElements<int32_t>("num_invalid", arguments.View(outputs, "num_invalid"), "int32", {shape.images}),
        MutableElements<uint8_t>("selection", arguments.View(outputs, "selection"), "uint8",
                                 {shape.images, shape.boxes})};
    void* scratch = arguments.Workspace(workspace, SsdLossDeviceWorkspaceBytes<T>(options, shape));
    RunUnlocked([&] {
      return SsdLossForward<T>(options, shape, inputs.y_true, inputs.y_pred, results, scratch, arguments.stream());
    });
  });
}

void SsdLossBackwardOnDevice(const py::object& loss_gradient, const py::object& y_true, const py::object& y_pred,
                             const py::object& n_pos, const py::object& n_kept, const py::object& selection,
                             const py::object& gradient, const py::object& stream, const py::kwargs& given) {
  const SsdLossOptions options = SsdGradientOptionsFrom(given);
  DeviceArguments arguments(stream);
  const TensorView upstream = arguments.View("loss_gradient", loss_gradient);
  const TensorView labels = arguments.View("y_true", y_true), predictions = arguments.View("y_pred", y_pred);
  const SsdShape shape = SsdShapeOf(predictions.shape);
  WithPredictionDtype("y_pred", predictions.dtype, [&](auto element, const char* label_dtype) {
    using T = decltype(element);
    using L = Compute<T>;
    const L* slopes = Elements<L>("loss_gradient", upstream, label_dtype, {shape.images});
    const SsdInputs<T> inputs(labels, predictions, label_dtype, shape);
    const SsdLossResiduals<L> residuals =
        SsdResidualsOf<L>(arguments.View("n_pos", n_pos), arguments.View("n_kept", n_kept),
                          arguments.View("selection", selection), label_dtype, shape);
    T* out =
        MutableElements<T>("gradient", arguments.View("gradient", gradient), predictions.dtype, DimensionsOf(shape));
    RunUnlocked([&] {
      return SsdLossBackward<T>(options, shape, slopes, inputs.y_true, inputs.y_pred, residuals, out,
                                arguments.stream());
    });
  });
}

size_t HardNegativeMaskWorkspace(const py::object& negative_loss_shape, const py::object& dtype,
                                 const py::kwargs& given) {
  const MiningOptions options = MiningOptionsFrom(given);
  const MiningShape shape = MiningShapeOf(ValueFrom<Dimensions>("negative_loss_shape", negative_loss_shape));
  return WithPredictionDtype("negative_loss", ValueFrom<std::string>("dtype", dtype), [&](auto element, const char*) {
    return HardNegativeMiningDeviceWorkspaceBytes<decltype(element)>(options, shape.images, shape.boxes);
  });
}

void HardNegativeMaskOnDevice(const py::object& negative_loss, const py::object& n_positive, const py::object& mask,
                              const py::object& workspace, const py::object& stream, const py::kwargs& given) {
  const MiningOptions options = MiningOptionsFrom(given);
  DeviceArguments arguments(stream);
  const TensorView losses = arguments.View("negative_loss", negative_loss);
  const MiningShape shape = MiningShapeOf(losses.shape);
  WithPredictionDtype("negative_loss", losses.dtype, [&](auto element, const char* label_dtype) {
    using T = decltype(element);
    const T* keys = Elements<T>("negative_loss", losses, losses.dtype, losses.shape);
    const auto* counts =
        Elements<Compute<T>>("n_positive", arguments.View("n_positive", n_positive), label_dtype, {shape.images});
    bool* out = MutableElements<bool>("mask", arguments.View("mask", mask), "bool", losses.shape);
    void* scratch =
        arguments.Workspace(workspace, HardNegativeMiningDeviceWorkspaceBytes<T>(options, shape.images, shape.boxes));
    RunUnlocked([&] {
      return HardNegativeMining<T>(options, shape.images, shape.boxes, keys, counts, out, scratch, arguments.stream());
    });
  });
}

// ---- YOLOv3 ----

size_t YoloV3LossWorkspace(const py::object& y_pred_shapes, const py::object& dtype, const py::object& anchors,
                           const py::object& strides, const py::object& backward, const py::kwargs& given) {
  YoloV3LossOptions options = YoloOptionsFrom(given);
  std::vector<Dimensions> shapes;
  for (const py::handle& scale : ListFrom("y_pred_shapes", y_pred_shapes, "a list of shapes")) {
    shapes.push_back(ValueFrom<Dimensions>("y_pred_shapes", scale));
  }
  const YoloV3Shape shape = TakeGeometry(shapes, anchors, strides, &options);
  const bool backward_pass = ValueFrom<bool>("backward", backward);
  return WithPredictionDtype("y_pred", ValueFrom<std::string>("dtype", dtype), [&](auto element, const char*) {
    using T = decltype(element);
    return backward_pass ? YoloV3LossGradDeviceWorkspaceBytes<T>(options, shape)
                         : YoloV3LossDeviceWorkspaceBytes<T>(options, shape);
  });
}

void YoloV3LossForwardOnDevice(const py::object& y_true, const py::object& y_pred, const py::dict& outputs,
                               const py::object& workspace, const py::object& anchors, const py::object& strides,
                               const py::object& stream, const py::kwargs& given) {
  YoloV3LossOptions options = YoloOptionsFrom(given);
  DeviceArguments arguments(stream);
  const std::vector<TensorView> labels = arguments.Views("y_true", y_true), logits = arguments.Views("y_pred", y_pred);
  const YoloV3Shape shape = TakeGeometry(logits, anchors, strides, &options);
  WithPredictionDtype("y_pred", logits[0].dtype, [&](auto element, const char* label_dtype) {
    using T = decltype(element);
    using L = Compute<T>;
    const YoloInputs<T> inputs(labels, logits, label_dtype, options, shape);
    const auto per_image = [&](const char* name) {
      return MutableElements<L>(name, arguments.View(outputs, name), label_dtype, {shape.images});
    };
    const auto rows = [&](size_t i) { return RowsOf(shape, i); };
    const YoloV3LossOutputs<L> results = {
        per_image("loss"),
        per_image("box"),
        per_image("xy"),
        per_image("wh"),
        per_image("object"),
        per_image("no_object"),
        per_image("class"),
        MutableElements<int32_t>("num_invalid", arguments.View(outputs, "num_invalid"), "int32", {shape.images}),
        MutableElementsOf<L>("objectness_gradient", arguments.Views(outputs, "objectness_gradient"), label_dtype, shape,
                             rows),
        MutableElementsOf<uint8_t>("selection", arguments.Views(outputs, "selection"), "uint8", shape, rows)};
    void* scratch = arguments.Workspace(workspace, YoloV3LossDeviceWorkspaceBytes<T>(options, shape));
    RunUnlocked([&] {
      return YoloV3LossForward<T>(options, shape, inputs.y_true, inputs.y_pred, results, scratch, arguments.stream());
    });
  });
}

void YoloV3LossBackwardOnDevice(const py::object& loss_gradient, const py::object& y_true, const py::object& y_pred,
                                const py::object& objectness_gradient, const py::object& selection,
                                const py::object& gradient, const py::object& workspace, const py::object& anchors,
                                const py::object& strides, const py::object& stream, const py::kwargs& given) {
  YoloV3LossOptions options = YoloOptionsFrom(given);
  DeviceArguments arguments(stream);
  const TensorView upstream = arguments.View("loss_gradient", loss_gradient);
  const std::vector<TensorView> labels = arguments.Views("y_true", y_true), logits = arguments.Views("y_pred", y_pred);
  const YoloV3Shape shape = TakeGeometry(logits, anchors, strides, &options);
  WithPredictionDtype("y_pred", logits[0].dtype, [&](auto element, const char* label_dtype) {
    using T = decltype(element);
    using L = Compute<T>;
    const YoloInputs<T> inputs(labels, logits, label_dtype, options, shape);
    const L* slopes = Elements<L>("loss_gradient", upstream, label_dtype, {shape.images});
    const YoloV3LossResiduals<L> residuals =
        YoloResidualsOf<L>(arguments.Views("objectness_gradient", objectness_gradient),
                           arguments.Views("selection", selection), label_dtype, shape);
    const std::vector<T*> out = MutableElementsOf<T>("gradient", arguments.Views("gradient", gradient), logits[0].dtype,
                                                     shape, [&](size_t i) { return logits[i].shape; });
    void* scratch = arguments.Workspace(workspace, YoloV3LossGradDeviceWorkspaceBytes<T>(options, shape));
    RunUnlocked([&] {
      return YoloV3LossBackward<T>(options, shape, slopes, inputs.y_true, inputs.y_pred, residuals, out, scratch,
                                   arguments.stream());
    });
  });
}

void YoloIgnoreMaskOnDevice(const py::object& boxes, const py::object& true_boxes, const py::object& mask,
                            const py::object& stream, const py::kwargs& given) {
  const IgnoreOptions options = IgnoreOptionsFrom(given);
  DeviceArguments arguments(stream);
  const TensorView predicted = arguments.View("boxes", boxes), truths = arguments.View("true_boxes", true_boxes);
  const IgnoreMaskShape shape = IgnoreMaskShapeOf(predicted, truths);
  WithPredictionDtype("boxes", predicted.dtype, [&](auto element, const char* label_dtype) {
    using T = decltype(element);
    const IgnoreMaskInputs<T> inputs(predicted, truths, label_dtype, shape);
    bool* out = MutableElements<bool>("mask", arguments.View("mask", mask), "bool", {shape.images, shape.boxes});
    RunUnlocked(
        [&] { return YoloIgnoreMask<T>(options, shape, inputs.boxes, inputs.true_boxes, out, arguments.stream()); });
  });
}

// ---- Floors ----

TouchArguments Touched(const py::object& labels, const py::object& predictions, const py::object& gradient,
                       DeviceArguments& arguments) {
  return {arguments.View("labels", labels), arguments.View("predictions", predictions),
          arguments.View("gradient", gradient)};
}

void Touch(const TouchedTensors& touched, const py::object& backward, const py::object& seen,
           DeviceArguments& arguments) {
  auto* word = MutableElements<uint32_t>("seen", arguments.View("seen", seen), "int32", {1});
  const bool backward_pass = ValueFrom<bool>("backward", backward);
  RunUnlocked([&]() -> Status {
    if (!backward_pass) {
      return TouchForward(touched.labels, touched.predictions, touched.rows, word, arguments.stream());
    }
    if (touched.backward_reads) {
      const TouchedRows nothing = {touched.predictions.data, touched.predictions.row_bytes, 0};
      const Status status = TouchForward(nothing, touched.predictions, touched.rows, word, arguments.stream());
      if (!status.ok()) return status;
    }
    return TouchBackward(touched.gradient, touched.predictions.row_bytes, touched.rows, touched.nonzero_every,
                         arguments.stream());
  });
}

void TouchSsdLoss(const py::object& labels, const py::object& predictions, const py::object& gradient,
                  const py::object& seen, const py::object& num_classes, const py::object& from_logits,
                  const py::object& backward, const py::object& stream) {
  DeviceArguments arguments(stream);
  Touch(TouchedBySsdLoss(Touched(labels, predictions, gradient, arguments),
                         ValueFrom<int64_t>("num_classes", num_classes), ValueFrom<bool>("from_logits", from_logits)),
        backward, seen, arguments);
}

void TouchYoloV3Loss(const py::object& labels, const py::object& predictions, const py::object& gradient,
                     const py::object& seen, const py::object& class_focal, const py::object& backward,
                     const py::object& stream) {
  DeviceArguments arguments(stream);
  Touch(TouchedByYoloV3Loss(Touched(labels, predictions, gradient, arguments),
                            ValueFrom<bool>("class_focal", class_focal)),
        backward, seen, arguments);
}

}  // namespace

void AddDeviceFunctions(py::module_& m) {
  using py::arg;
  py::module_ device = m.def_submodule(
      "device",
      "CUDA kernels of detloss on tensors of any framework: objects with __dlpack__, or DLPack capsules. Inputs, "
      "outputs "
      "and workspace are the caller's, C-contiguous, on one device, which has to be the current one; the work goes to "
      "`stream`, a cudaStream_t as an integer, and no function waits for it. detloss.device allocates them.");
  device.def("ssd_loss_workspace_bytes", &SsdLossWorkspace,
             "Bytes of the workspace of ssd_loss_forward, of which the options are the same.", arg("y_pred_shape"),
             arg("dtype"));
  device.def(
      "ssd_loss_forward", &SsdLossForwardOnDevice,
      "_core.ssd_loss_forward into a dict of outputs of the same names and dtypes; the workspace is of uint8 and "
      "aligned to 64 bytes.",
      arg("y_true"), arg("y_pred"), arg("outputs"), arg("workspace"), arg("stream"));
  device.def("ssd_loss_backward", &SsdLossBackwardOnDevice, "_core.ssd_loss_backward into `gradient`.",
             arg("loss_gradient"), arg("y_true"), arg("y_pred"), arg("n_pos"), arg("n_kept"), arg("selection"),
             arg("gradient"), arg("stream"));
  device.def("hard_negative_mask_workspace_bytes", &HardNegativeMaskWorkspace,
             "Bytes of the workspace of hard_negative_mask.", arg("negative_loss_shape"), arg("dtype"));
  device.def("hard_negative_mask", &HardNegativeMaskOnDevice, "_core.hard_negative_mask into `mask`, of bool.",
             arg("negative_loss"), arg("n_positive"), arg("mask"), arg("workspace"), arg("stream"));
  device.def(
      "yolov3_loss_workspace_bytes", &YoloV3LossWorkspace,
      "Bytes of the workspace of yolov3_loss_forward or yolov3_loss_backward, of which the options are the same.",
      arg("y_pred_shapes"), arg("dtype"), arg("anchors"), arg("strides"), arg("backward"));
  device.def("yolov3_loss_forward", &YoloV3LossForwardOnDevice,
             "_core.yolov3_loss_forward into a dict of outputs of the same names and dtypes; the workspace is of uint8 "
             "and aligned to 64 bytes.",
             arg("y_true"), arg("y_pred"), arg("outputs"), arg("workspace"), arg("anchors"), arg("strides"),
             arg("stream"));
  device.def("yolov3_loss_backward", &YoloV3LossBackwardOnDevice,
             "_core.yolov3_loss_backward into `gradient`, one per scale.", arg("loss_gradient"), arg("y_true"),
             arg("y_pred"), arg("objectness_gradient"), arg("selection"), arg("gradient"), arg("workspace"),
             arg("anchors"), arg("strides"), arg("stream"));
  device.def("yolo_ignore_mask", &YoloIgnoreMaskOnDevice, "_core.yolo_ignore_mask into `mask`, of bool.", arg("boxes"),
             arg("true_boxes"), arg("mask"), arg("stream"));
  device.def(
      "touch_ssd_loss", &TouchSsdLoss,
      "One pass of the touch-only memory floor of the SSD loss, on tensors [rows, width]. What was read ends up in "
      "`seen`, int32 [1], by bitwise or.",
      arg("labels"), arg("predictions"), arg("gradient"), arg("seen"), arg("num_classes"), arg("from_logits"),
      arg("backward"), arg("stream"));
  device.def("touch_yolov3_loss", &TouchYoloV3Loss,
             "One pass of the touch-only memory floor of the YOLOv3 loss, on tensors [rows, 5 + classes]; `seen` as in "
             "touch_ssd_loss.",
             arg("labels"), arg("predictions"), arg("gradient"), arg("seen"), arg("class_focal"), arg("backward"),
             arg("stream"));
}

}  // namespace detloss
