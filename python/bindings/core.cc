// detloss._core: the CPU kernels on NumPy arrays, with no TensorFlow in the process.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "cc/cpu_tier.h"
#include "cc/hard_negative_mining.h"
#include "cc/ssd_loss.h"
#include "cc/touch_floor.h"
#include "cc/yolo_ignore_mask.h"
#include "cc/yolov3_loss.h"
#include "python/bindings/arrays.h"
#include "python/bindings/device.h"
#include "python/bindings/ssd_loss_arguments.h"
#include "python/bindings/threads.h"
#include "python/bindings/touch_floor_arguments.h"
#include "python/bindings/unlocked.h"
#include "python/bindings/yolov3_loss_arguments.h"

namespace detloss {
namespace {

py::dict BuildInfo() {
  ThrowIfError(CheckCpuTier());
  py::list tiers;
  for (CpuTier tier : kCpuTiers) tiers.append(CpuTierName(tier));
  const py::list architectures = py::str(DETLOSS_CUDA_ARCHITECTURES).attr("split")();
  const bool cuda = !architectures.empty();
  py::dict info;
  info["version"] = DETLOSS_VERSION;
  info["tensorflow"] = DETLOSS_TENSORFLOW_VERSION;
  info["compiler"] = DETLOSS_COMPILER;
  info["cuda"] = cuda;
  info["cuda_version"] = cuda ? py::object(py::str(DETLOSS_CUDA_VERSION)) : py::none();
  info["cuda_architectures"] = architectures;
  info["cpu_tiers"] = tiers;
  info["cpu_tier"] = CpuTierName(ChosenCpuTier());
  return info;
}

py::dict SsdLossForwardOnArrays(const py::object& y_true, const py::object& y_pred, const py::object& threads,
                                const py::kwargs& given) {
  const SsdLossOptions options = SsdLossOptionsFrom(given);
  const TensorView labels = ViewOf("y_true", y_true), predictions = ViewOf("y_pred", y_pred);
  const SsdShape shape = SsdShapeOf(predictions.shape);
  SomeThreads executor = ProcessPool::Take(threads);
  return WithPredictionDtype("y_pred", predictions.dtype, [&](auto element, const char* label_dtype) {
    using T = decltype(element);
    using L = Compute<T>;
    const SsdInputs<T> inputs(labels, predictions, label_dtype, shape);
    py::array_t<L> loss(shape.images), positive(shape.images), negative(shape.images), localization(shape.images);
    py::array_t<L> n_pos(shape.images), n_kept(shape.images);
    py::array_t<int32_t> num_invalid(shape.images);
    py::array_t<uint8_t> selection({shape.images, shape.boxes});
    py::array_t<char> workspace(static_cast<py::ssize_t>(SsdLossWorkspaceBytes<T>(shape)));
    const SsdLossOutputs<L> outputs = {loss.mutable_data(),         positive.mutable_data(), negative.mutable_data(),
                                       localization.mutable_data(), n_pos.mutable_data(),    n_kept.mutable_data(),
                                       num_invalid.mutable_data(),  selection.mutable_data()};
    void* scratch = workspace.mutable_data();
    RunUnlocked(
        [&] { return SsdLossForward(options, shape, inputs.y_true, inputs.y_pred, outputs, scratch, executor); });
    py::dict result;
    result["loss"] = loss;
    result["positive"] = positive;
    result["negative"] = negative;
    result["localization"] = localization;
    result["n_pos"] = n_pos;
    result["n_kept"] = n_kept;
    result["num_invalid"] = num_invalid;
    result["selection"] = selection;
    return result;
  });
}

py::array SsdLossBackwardOnArrays(const py::object& loss_gradient, const py::object& y_true, const py::object& y_pred,
                                  const py::object& n_pos, const py::object& n_kept, const py::object& selection,
                                  const py::object& threads, const py::kwargs& given) {
  const SsdLossOptions options = SsdGradientOptionsFrom(given);
  const TensorView labels = ViewOf("y_true", y_true), predictions = ViewOf("y_pred", y_pred);
  const SsdShape shape = SsdShapeOf(predictions.shape);
  SomeThreads executor = ProcessPool::Take(threads);
  return WithPredictionDtype("y_pred", predictions.dtype, [&](auto element, const char* label_dtype) -> py::array {
    using T = decltype(element);
    using L = Compute<T>;
    const L* upstream =
        Elements<L>("loss_gradient", ViewOf("loss_gradient", loss_gradient), label_dtype, {shape.images});
    const SsdInputs<T> inputs(labels, predictions, label_dtype, shape);
    const SsdLossResiduals<L> residuals = SsdResidualsOf<L>(ViewOf("n_pos", n_pos), ViewOf("n_kept", n_kept),
                                                            ViewOf("selection", selection), label_dtype, shape);
    py::array gradient(y_pred.attr("dtype"), DimensionsOf(shape));
    py::array_t<char> workspace(static_cast<py::ssize_t>(SsdLossGradWorkspaceBytes<T>(shape)));
    T* out = static_cast<T*>(gradient.mutable_data());
    void* scratch = workspace.mutable_data();
    RunUnlocked([&] {
      return SsdLossBackward(options, shape, upstream, inputs.y_true, inputs.y_pred, residuals, out, scratch, executor);
    });
    return gradient;
  });
}

py::array HardNegativeMaskOnArrays(const py::object& negative_loss, const py::object& n_positive,
                                   const py::object& threads, const py::kwargs& given) {
  const MiningOptions options = MiningOptionsFrom(given);
  const TensorView losses = ViewOf("negative_loss", negative_loss);
  const MiningShape shape = MiningShapeOf(losses.shape);
  SomeThreads executor = ProcessPool::Take(threads);
  return WithPredictionDtype("negative_loss", losses.dtype, [&](auto element, const char* label_dtype) -> py::array {
    using T = decltype(element);
    const T* keys = Elements<T>("negative_loss", losses, losses.dtype, losses.shape);
    const auto* counts =
        Elements<Compute<T>>("n_positive", ViewOf("n_positive", n_positive), label_dtype, {shape.images});
    py::array_t<bool> mask({shape.images, shape.boxes});
    py::array_t<char> workspace(
        static_cast<py::ssize_t>(HardNegativeMiningWorkspaceBytes<T>(shape.images, shape.boxes)));
    bool* out = mask.mutable_data();
    void* scratch = workspace.mutable_data();
    RunUnlocked(
        [&] { return HardNegativeMining(options, shape.images, shape.boxes, keys, counts, out, scratch, executor); });
    return mask;
  });
}

TouchArguments Touched(const py::object& labels, const py::object& predictions, const py::object& gradient) {
  return {ViewOf("labels", labels), ViewOf("predictions", predictions), ViewOf("gradient", gradient)};
}

// One pass of a touch-only floor.
uint32_t Touch(const TouchedTensors& touched, const py::object& backward, const py::object& threads) {
  const bool backward_pass = ValueFrom<bool>("backward", backward);
  SomeThreads executor = ProcessPool::Take(threads);
  const Unlocked unlocked;
  if (!backward_pass) return TouchForward(touched.labels, touched.predictions, touched.rows, executor);
  const TouchedRows nothing = {touched.predictions.data, touched.predictions.row_bytes, 0};
  const uint32_t seen = touched.backward_reads ? TouchForward(nothing, touched.predictions, touched.rows, executor) : 0;
  TouchBackward(touched.gradient, touched.predictions.row_bytes, touched.rows, touched.nonzero_every, executor);
  return seen;
}

uint32_t TouchSsdLoss(const py::object& labels, const py::object& predictions, const py::object& gradient,
                      const py::object& num_classes, const py::object& from_logits, const py::object& backward,
                      const py::object& threads) {
  return Touch(TouchedBySsdLoss(Touched(labels, predictions, gradient), ValueFrom<int64_t>("num_classes", num_classes),
                                ValueFrom<bool>("from_logits", from_logits)),
               backward, threads);
}

uint32_t TouchYoloV3Loss(const py::object& labels, const py::object& predictions, const py::object& gradient,
                         const py::object& class_focal, const py::object& backward, const py::object& threads) {
  return Touch(TouchedByYoloV3Loss(Touched(labels, predictions, gradient), ValueFrom<bool>("class_focal", class_focal)),
               backward, threads);
}

// ---- YOLOv3 ----

py::dict YoloV3LossForwardOnArrays(const py::object& y_true, const py::object& y_pred, const py::object& anchors,
                                   const py::object& strides, const py::object& threads, const py::kwargs& given) {
  YoloV3LossOptions options = YoloOptionsFrom(given);
  const Arrays label_arrays = ArraysFrom("y_true", y_true), logit_arrays = ArraysFrom("y_pred", y_pred);
  const std::vector<TensorView> labels = ViewsOf(label_arrays), logits = ViewsOf(logit_arrays);
  const YoloV3Shape shape = TakeGeometry(logits, anchors, strides, &options);
  SomeThreads executor = ProcessPool::Take(threads);
  return WithPredictionDtype("y_pred", logits[0].dtype, [&](auto element, const char* label_dtype) {
    using T = decltype(element);
    using L = Compute<T>;
    const YoloInputs<T> inputs(labels, logits, label_dtype, options, shape);
    py::dict result;
    const auto per_image = [&](const char* name) {
      py::array_t<L> array(shape.images);
      result[name] = array;
      return array.mutable_data();
    };
    YoloV3LossOutputs<L> outputs = {per_image("loss"),
                                    per_image("box"),
                                    per_image("xy"),
                                    per_image("wh"),
                                    per_image("object"),
                                    per_image("no_object"),
                                    per_image("class"),
                                    nullptr,
                                    {},
                                    {}};
    py::array_t<int32_t> num_invalid(shape.images);
    outputs.num_invalid = num_invalid.mutable_data();
    py::list objectness_gradient, selection;
    for (size_t i = 0; i < shape.scales.size(); ++i) {
      py::array_t<L> gradient_of_scale(RowsOf(shape, i));
      py::array_t<uint8_t> selection_of_scale(RowsOf(shape, i));
      outputs.objectness_gradient.push_back(gradient_of_scale.mutable_data());
      outputs.selection.push_back(selection_of_scale.mutable_data());
      objectness_gradient.append(gradient_of_scale);
      selection.append(selection_of_scale);
    }
    py::array_t<char> workspace(static_cast<py::ssize_t>(YoloV3LossWorkspaceBytes<T>(shape)));
    void* scratch = workspace.mutable_data();
    RunUnlocked(
        [&] { return YoloV3LossForward<T>(options, shape, inputs.y_true, inputs.y_pred, outputs, scratch, executor); });
    result["num_invalid"] = num_invalid;
    result["objectness_gradient"] = objectness_gradient;
    result["selection"] = selection;
    return result;
  });
}

py::list YoloV3LossBackwardOnArrays(const py::object& loss_gradient, const py::object& y_true, const py::object& y_pred,
                                    const py::object& objectness_gradient, const py::object& selection,
                                    const py::object& anchors, const py::object& strides, const py::object& threads,
                                    const py::kwargs& given) {
  YoloV3LossOptions options = YoloOptionsFrom(given);
  const Arrays label_arrays = ArraysFrom("y_true", y_true), logit_arrays = ArraysFrom("y_pred", y_pred);
  const Arrays slope_arrays = ArraysFrom("objectness_gradient", objectness_gradient);
  const Arrays selection_arrays = ArraysFrom("selection", selection);
  const std::vector<TensorView> labels = ViewsOf(label_arrays), logits = ViewsOf(logit_arrays);
  const YoloV3Shape shape = TakeGeometry(logits, anchors, strides, &options);
  SomeThreads executor = ProcessPool::Take(threads);
  return WithPredictionDtype("y_pred", logits[0].dtype, [&](auto element, const char* label_dtype) {
    using T = decltype(element);
    using L = Compute<T>;
    const YoloInputs<T> inputs(labels, logits, label_dtype, options, shape);
    const L* upstream =
        Elements<L>("loss_gradient", ViewOf("loss_gradient", loss_gradient), label_dtype, {shape.images});
    const YoloV3LossResiduals<L> residuals =
        YoloResidualsOf<L>(ViewsOf(slope_arrays), ViewsOf(selection_arrays), label_dtype, shape);
    py::list gradients;
    std::vector<T*> out;
    for (size_t i = 0; i < shape.scales.size(); ++i) {
      py::array gradient(logit_arrays[i].dtype(), logits[i].shape);
      out.push_back(static_cast<T*>(gradient.mutable_data()));
      gradients.append(gradient);
    }
    RunUnlocked([&] {
      return YoloV3LossBackward<T>(options, shape, upstream, inputs.y_true, inputs.y_pred, residuals, out, executor);
    });
    return gradients;
  });
}

py::array YoloIgnoreMaskOnArrays(const py::object& boxes, const py::object& true_boxes, const py::object& threads,
                                 const py::kwargs& given) {
  const IgnoreOptions options = IgnoreOptionsFrom(given);
  const TensorView predicted = ViewOf("boxes", boxes), truths = ViewOf("true_boxes", true_boxes);
  const IgnoreMaskShape shape = IgnoreMaskShapeOf(predicted, truths);
  SomeThreads executor = ProcessPool::Take(threads);
  return WithPredictionDtype("boxes", predicted.dtype, [&](auto element, const char* label_dtype) -> py::array {
    using T = decltype(element);
    const IgnoreMaskInputs<T> inputs(predicted, truths, label_dtype, shape);
    py::array_t<bool> mask({shape.images, shape.boxes});
    py::array_t<char> workspace(static_cast<py::ssize_t>(YoloIgnoreMaskWorkspaceBytes<T>(shape)));
    bool* out = mask.mutable_data();
    void* scratch = workspace.mutable_data();
    RunUnlocked(
        [&] { return YoloIgnoreMask(options, shape, inputs.boxes, inputs.true_boxes, out, scratch, executor); });
    return mask;
  });
}

PYBIND11_MODULE(_core, m) {
  using py::arg;
  // Chosen now, while no other thread is in a kernel: a process forked in the middle of it would wait for ever.
  ChosenCpuTier();
  m.doc() =
      "CPU kernels of detloss on NumPy arrays: C-contiguous, aligned, in the machine's byte order. `threads` counts "
      "the "
      "caller; 0 is as many as the hardware runs at once. No more than 64 work, or these if they are more, and where "
      "the "
      "system lets fewer start, fewer: no result depends on their number. Needs no TensorFlow.";
  m.def("build_info", &BuildInfo,
        "What this build is: its version, the TensorFlow and compiler it was built with, whether it has CUDA kernels, "
        "made with which CUDA and for which architectures, the CPU tiers compiled and the one chosen on this machine.");
  m.def("ssd_loss_forward", &SsdLossForwardOnArrays,
        "detloss.ssd_loss on arrays [batch, boxes, width], with the options of that function, but for the layout: "
        "num_classes, class_column, box_column, positive_column and exact_width; a dict of the loss, its components "
        "and the "
        "selection (bits: 1 positive, 2 kept, 4 invalid). Labels are float32, or float64 beside float64 predictions.",
        arg("y_true"), arg("y_pred"), py::kw_only(), arg("threads") = 0);
  m.def("ssd_loss_backward", &SsdLossBackwardOnArrays,
        "The gradient of ssd_loss_forward with respect to y_pred, from its n_pos, n_kept and selection, with the "
        "options alpha, normalizer, from_logits and those of the layout.",
        arg("loss_gradient"), arg("y_true"), arg("y_pred"), arg("n_pos"), arg("n_kept"), arg("selection"),
        py::kw_only(), arg("threads") = 0);
  m.def("hard_negative_mask", &HardNegativeMaskOnArrays,
        "detloss.hard_negative_mask on arrays, with the options of that function.", arg("negative_loss"),
        arg("n_positive"), py::kw_only(), arg("threads") = 0);
  m.def("touch_ssd_loss", &TouchSsdLoss,
        "One pass of the touch-only memory floor of the SSD loss, on arrays [rows, width].", arg("labels"),
        arg("predictions"), arg("gradient"), arg("num_classes"), arg("from_logits"), arg("backward"),
        arg("threads") = 0);
  m.def("yolov3_loss_forward", &YoloV3LossForwardOnArrays,
        "detloss.yolov3_loss on lists of arrays, one per scale: labels and logits [batch, height, width, anchors, "
        "columns], anchors [scales, anchors, 2], strides per scale (0: relative anchors) and the options of that "
        "function; a dict of the loss, its components and, per scale, objectness_gradient and selection (bits: 1 "
        "object, 2 ignored, 4 invalid). Labels are float32, or float64 beside float64 predictions.",
        arg("y_true"), arg("y_pred"), arg("anchors"), arg("strides"), py::kw_only(), arg("threads") = 0);
  m.def("yolov3_loss_backward", &YoloV3LossBackwardOnArrays,
        "The gradient of yolov3_loss_forward with respect to y_pred, a list, from its objectness_gradient and "
        "selection.",
        arg("loss_gradient"), arg("y_true"), arg("y_pred"), arg("objectness_gradient"), arg("selection"),
        arg("anchors"), arg("strides"), py::kw_only(), arg("threads") = 0);
  m.def("yolo_ignore_mask", &YoloIgnoreMaskOnArrays,
        "detloss.yolo_ignore_mask on arrays [batch, boxes, 4], with the options of that function.", arg("boxes"),
        arg("true_boxes"), py::kw_only(), arg("threads") = 0);
  m.def("touch_yolov3_loss", &TouchYoloV3Loss,
        "One pass of the touch-only memory floor of the YOLOv3 loss over one scale, on arrays [rows, 5 + classes].",
        arg("labels"), arg("predictions"), arg("gradient"), arg("class_focal"), arg("backward"), arg("threads") = 0);
#ifdef DETLOSS_HAS_CUDA
  AddDeviceFunctions(m);
#endif
}

}  // namespace
}  // namespace detloss
