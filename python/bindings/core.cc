// detloss._core: the CPU kernels on NumPy arrays, with no TensorFlow in the process.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "cc/cpu_tier.h"
#include "cc/hard_negative_mining.h"
#include "cc/option_names.h"
#include "cc/ssd_loss.h"
#include "cc/thread_pool.h"
#include "cc/touch_floor.h"
#include "cc/yolo_ignore_mask.h"
#include "cc/yolov3_loss.h"
#include "python/bindings/arrays.h"

namespace detloss {
namespace {

// A pool per number of threads, kept for the life of the process: at its end the threads sleep, and nothing joins them.
Executor& Threads(int threads) {
  static std::mutex mutex;
  static auto& pools = *new std::map<int, std::unique_ptr<ThreadPool>>();
  if (threads < 0) throw py::value_error("threads: expected at least 0, got " + std::to_string(threads));
  if (threads == 0) threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  std::lock_guard<std::mutex> lock(mutex);
  std::unique_ptr<ThreadPool>& pool = pools[threads];
  if (!pool) pool = std::make_unique<ThreadPool>(threads);
  return *pool;
}

py::dict BuildInfo() {
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

template <class Option, size_t kCount>
Option Choose(const char* argument, const OptionName<Option> (&options)[kCount], const std::string& name) {
  Option option{};
  ThrowIfError(ChooseOption(argument, options, name, &option));
  return option;
}

SsdLayout LayoutOf(int64_t num_classes, int64_t class_column, int64_t box_column,
                   std::optional<int64_t> positive_column) {
  return {num_classes, class_column, box_column, positive_column.has_value(), positive_column.value_or(0)};
}

SsdShape ShapeOf(const py::array& y_pred) {
  if (y_pred.ndim() != 3)
    throw py::value_error("y_pred: expected shape (batch, boxes, width), got " + ShapeText(y_pred));
  return {y_pred.shape(0), y_pred.shape(1), y_pred.shape(2)};
}

std::vector<py::ssize_t> Dimensions(const SsdShape& shape) { return {shape.images, shape.boxes, shape.width}; }

py::dict SsdLossForwardOnArrays(const py::array& y_true, const py::array& y_pred, float neg_pos_ratio,
                                int64_t n_neg_min, float alpha, const std::string& mining_scope,
                                const std::string& rank_by, const std::string& normalizer, bool from_logits,
                                const std::string& invalid_targets, int64_t num_classes, int64_t class_column,
                                int64_t box_column, std::optional<int64_t> positive_column, int threads) {
  SsdLossOptions options;
  options.layout = LayoutOf(num_classes, class_column, box_column, positive_column);
  options.mining = {Choose("mining_scope", kMiningScopes, mining_scope), neg_pos_ratio, n_neg_min};
  options.rank_by = Choose("rank_by", kRankings, rank_by);
  options.normalizer = Choose("normalizer", kNormalizers, normalizer);
  options.alpha = alpha;
  options.from_logits = from_logits;
  options.invalid_is_error = Choose("invalid_targets", kInvalidTargets, invalid_targets);
  const SsdShape shape = ShapeOf(y_pred);
  Executor& executor = Threads(threads);
  return WithPredictionDtype("y_pred", y_pred, [&](auto element, const char* label_dtype) {
    using T = decltype(element);
    using L = Compute<T>;
    const L* labels = Elements<L>("y_true", y_true, label_dtype, Dimensions(shape));
    const T* predictions = Elements<T>("y_pred", y_pred, DtypeName(y_pred), Dimensions(shape));
    py::array_t<L> loss(shape.images), positive(shape.images), negative(shape.images), localization(shape.images);
    py::array_t<L> n_pos(shape.images), n_kept(shape.images);
    py::array_t<int32_t> num_invalid(shape.images);
    py::array_t<uint8_t> selection({shape.images, shape.boxes});
    py::array_t<char> workspace(static_cast<py::ssize_t>(SsdLossWorkspaceBytes<T>(shape)));
    const SsdLossOutputs<L> outputs = {loss.mutable_data(),         positive.mutable_data(), negative.mutable_data(),
                                       localization.mutable_data(), n_pos.mutable_data(),    n_kept.mutable_data(),
                                       num_invalid.mutable_data(),  selection.mutable_data()};
    void* scratch = workspace.mutable_data();
    Status status = Status::Ok();
    {
      py::gil_scoped_release release;
      status = SsdLossForward(options, shape, labels, predictions, outputs, scratch, executor);
    }
    ThrowIfError(status);
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

py::array SsdLossBackwardOnArrays(const py::array& loss_gradient, const py::array& y_true, const py::array& y_pred,
                                  const py::array& n_pos, const py::array& n_kept, const py::array& selection,
                                  float alpha, const std::string& normalizer, bool from_logits, int64_t num_classes,
                                  int64_t class_column, int64_t box_column, std::optional<int64_t> positive_column,
                                  int threads) {
  SsdLossOptions options;
  options.layout = LayoutOf(num_classes, class_column, box_column, positive_column);
  options.normalizer = Choose("normalizer", kNormalizers, normalizer);
  options.alpha = alpha;
  options.from_logits = from_logits;
  const SsdShape shape = ShapeOf(y_pred);
  Executor& executor = Threads(threads);
  return WithPredictionDtype("y_pred", y_pred, [&](auto element, const char* label_dtype) -> py::array {
    using T = decltype(element);
    using L = Compute<T>;
    const std::vector<py::ssize_t> batch = {shape.images};
    const L* upstream = Elements<L>("loss_gradient", loss_gradient, label_dtype, batch);
    const L* labels = Elements<L>("y_true", y_true, label_dtype, Dimensions(shape));
    const T* predictions = Elements<T>("y_pred", y_pred, DtypeName(y_pred), Dimensions(shape));
    const SsdLossResiduals<L> residuals = {
        Elements<L>("n_pos", n_pos, label_dtype, batch), Elements<L>("n_kept", n_kept, label_dtype, batch),
        Elements<uint8_t>("selection", selection, "uint8", {shape.images, shape.boxes})};
    py::array gradient(y_pred.dtype(), Dimensions(shape));
    py::array_t<char> workspace(static_cast<py::ssize_t>(SsdLossGradWorkspaceBytes<T>(shape)));
    T* out = static_cast<T*>(gradient.mutable_data());
    void* scratch = workspace.mutable_data();
    Status status = Status::Ok();
    {
      py::gil_scoped_release release;
      status = SsdLossBackward(options, shape, upstream, labels, predictions, residuals, out, scratch, executor);
    }
    ThrowIfError(status);
    return gradient;
  });
}

py::array HardNegativeMaskOnArrays(const py::array& negative_loss, const py::array& n_positive, float neg_pos_ratio,
                                   int64_t n_neg_min, const std::string& mining_scope, int threads) {
  if (negative_loss.ndim() != 2) {
    throw py::value_error("negative_loss: expected shape (batch, boxes), got " + ShapeText(negative_loss));
  }
  const MiningOptions options = {Choose("mining_scope", kMiningScopes, mining_scope), neg_pos_ratio, n_neg_min};
  const int64_t images = negative_loss.shape(0), boxes = negative_loss.shape(1);
  Executor& executor = Threads(threads);
  return WithPredictionDtype("negative_loss", negative_loss, [&](auto element, const char* label_dtype) -> py::array {
    using T = decltype(element);
    const T* keys = Elements<T>("negative_loss", negative_loss, DtypeName(negative_loss), {images, boxes});
    const auto* counts = Elements<Compute<T>>("n_positive", n_positive, label_dtype, {images});
    py::array_t<bool> mask({images, boxes});
    py::array_t<char> workspace(static_cast<py::ssize_t>(HardNegativeMiningWorkspaceBytes<T>(images, boxes)));
    ThrowIfError(HardNegativeMining(options, images, boxes, keys, counts, mask.mutable_data(), workspace.mutable_data(),
                                    executor));
    return mask;
  });
}

// One forward or backward of the SSD loss' touch-only floor, on arrays [rows, width].
uint32_t TouchSsdLoss(const py::array& labels, const py::array& predictions, py::array& gradient, int64_t num_classes,
                      bool from_logits, bool backward, int threads) {
  Executor& executor = Threads(threads);
  const int64_t rows = predictions.shape(0);
  const int64_t row_bytes = predictions.shape(1) * predictions.itemsize();
  if (labels.ndim() != 2 || predictions.ndim() != 2 || labels.shape(0) != rows ||
      gradient.nbytes() != predictions.nbytes()) {
    throw py::value_error("labels, predictions, gradient: expected three arrays of one shape (rows, width)");
  }
  const TouchedRows label_rows = {labels.data(), labels.shape(1) * labels.itemsize(),
                                  (num_classes + 4) * labels.itemsize()};
  const int64_t touched = from_logits ? num_classes * predictions.itemsize() : 4;
  const TouchedRows prediction_rows = {predictions.data(), row_bytes, touched};
  void* out = gradient.mutable_data();
  if (backward && reinterpret_cast<uintptr_t>(out) % 64 != 0) {
    throw py::value_error("gradient: expected memory that is aligned to 64 bytes");
  }
  py::gil_scoped_release release;
  if (!backward) return TouchForward(label_rows, prediction_rows, rows, executor);
  // About one row in a hundred holds a gradient, as mining leaves it.
  TouchBackward(out, row_bytes, rows, 96, executor);
  return 0;
}

// ---- YOLOv3 ----

// The options of the loss' two directions, as keyword arguments.
YoloV3LossOptions YoloOptionsFrom(const py::kwargs& given) {
  YoloV3LossOptions options;
  std::string box_loss = "classic", class_loss = "sigmoid", target_format = "center", comparator = "<";
  std::string ignore_scope = "scale", invalid_targets = "ignore";
  std::set<std::string> known;
  const auto take = [&](const char* name, auto* value) {
    known.insert(name);
    if (given.contains(name)) *value = given[name].cast<std::decay_t<decltype(*value)>>();
  };
  take("grid_sense", &options.grid_sense);
  take("ignore_thresh", &options.ignore.thresh);
  take("comparator", &comparator);
  take("ignore_scope", &ignore_scope);
  take("box_loss", &box_loss);
  take("class_loss", &class_loss);
  take("class_focal", &options.cell.class_focal);
  take("objectness_focal", &options.cell.objectness_focal);
  take("label_smoothing", &options.cell.label_smoothing);
  take("box_weight", &options.cell.box_weight);
  take("object_weight", &options.cell.object_weight);
  take("no_object_weight", &options.cell.no_object_weight);
  take("class_weight", &options.cell.class_weight);
  take("class_weights", &options.class_weights);
  take("target_format", &target_format);
  take("invalid_targets", &invalid_targets);
  for (const auto& [name, _] : given) {
    if (known.count(py::str(name)) == 0) {
      throw py::type_error("expected an option of detloss.yolov3_loss, got " + std::string(py::str(name)));
    }
  }
  const NamedBoxLoss named = Choose("box_loss", kBoxLosses, box_loss);
  options.cell.box_loss = named.box_loss;
  options.cell.overlap = named.overlap;
  options.cell.class_loss = Choose("class_loss", kClassLosses, class_loss);
  options.cell.corner_targets = Choose("target_format", kTargetFormats, target_format);
  options.ignore.above = Choose("comparator", kComparators, comparator);
  options.ignore_scope = Choose("ignore_scope", kIgnoreScopes, ignore_scope);
  options.invalid_is_error = Choose("invalid_targets", kInvalidTargets, invalid_targets);
  return options;
}

using Arrays = std::vector<py::array>;

// Takes anchors `[scales, anchors, 2]` and strides into the options; returns the shape that logits of every scale,
// `[batch, height, width, anchors, 5 + classes]`, have.
YoloV3Shape TakeGeometry(const Arrays& y_pred, const py::array_t<double>& anchors, const std::vector<int64_t>& strides,
                         YoloV3LossOptions* options) {
  const py::ssize_t scales = static_cast<py::ssize_t>(y_pred.size());
  if (scales == 0) throw py::value_error("y_pred: expected at least one scale, got none");
  if (anchors.ndim() != 3 || anchors.shape(0) != scales || anchors.shape(2) != 2) {
    throw py::value_error("anchors: expected shape (" + std::to_string(scales) + ", anchors, 2), got " +
                          ShapeText(anchors));
  }
  for (const py::array& scale : y_pred) {
    if (scale.ndim() == 5 && scale.shape(3) == anchors.shape(1) && scale.shape(4) > kYoloClasses) continue;
    throw py::value_error("y_pred: expected shape (batch, height, width, " + std::to_string(anchors.shape(1)) +
                          ", 5 + classes), got " + ShapeText(scale));
  }
  const py::array_t<double, py::array::c_style> lengths(anchors);
  options->anchors.assign(lengths.data(), lengths.data() + lengths.size());
  options->strides = strides;
  YoloV3Shape shape = {y_pred[0].shape(0), anchors.shape(1), y_pred[0].shape(4) - kYoloClasses, {}};
  for (const py::array& scale : y_pred) shape.scales.push_back({scale.shape(1), scale.shape(2)});
  return shape;
}

std::vector<py::ssize_t> RowsOf(const YoloV3Shape& shape, size_t scale) { return {shape.images, shape.Rows(scale)}; }

std::vector<py::ssize_t> CellsOf(const YoloV3Shape& shape, size_t scale, int64_t columns) {
  return {shape.images, shape.scales[scale].height, shape.scales[scale].width, shape.anchors, columns};
}

template <class T, class Dimensions>
std::vector<const T*> ElementsOf(const char* name, const Arrays& arrays, const std::string& dtype,
                                 const YoloV3Shape& shape, const Dimensions& dimensions) {
  if (arrays.size() != shape.scales.size()) {
    throw py::value_error(std::string(name) + ": expected " + std::to_string(shape.scales.size()) +
                          " scales, as in y_pred, got " + std::to_string(arrays.size()));
  }
  std::vector<const T*> elements;
  for (size_t i = 0; i < arrays.size(); ++i) elements.push_back(Elements<T>(name, arrays[i], dtype, dimensions(i)));
  return elements;
}

// Labels and logits of every scale as pointers.
template <class T>
struct YoloInputs {
  YoloInputs(const Arrays& labels, const Arrays& logits, const char* label_dtype, const YoloV3LossOptions& options,
             const YoloV3Shape& shape) {
    const int64_t label_columns = LabelColumns(options.cell, shape.classes);
    y_true = ElementsOf<Compute<T>>("y_true", labels, label_dtype, shape,
                                    [&](size_t i) { return CellsOf(shape, i, label_columns); });
    y_pred = ElementsOf<T>("y_pred", logits, DtypeName(logits[0]), shape,
                           [&](size_t i) { return CellsOf(shape, i, kYoloClasses + shape.classes); });
  }

  std::vector<const Compute<T>*> y_true;
  std::vector<const T*> y_pred;
};

py::dict YoloV3LossForwardOnArrays(const Arrays& y_true, const Arrays& y_pred, const py::array_t<double>& anchors,
                                   const std::vector<int64_t>& strides, int threads, const py::kwargs& given) {
  YoloV3LossOptions options = YoloOptionsFrom(given);
  const YoloV3Shape shape = TakeGeometry(y_pred, anchors, strides, &options);
  Executor& executor = Threads(threads);
  return WithPredictionDtype("y_pred", y_pred[0], [&](auto element, const char* label_dtype) {
    using T = decltype(element);
    using L = Compute<T>;
    const YoloInputs<T> inputs(y_true, y_pred, label_dtype, options, shape);
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
    Status status = Status::Ok();
    {
      py::gil_scoped_release release;
      status = YoloV3LossForward<T>(options, shape, inputs.y_true, inputs.y_pred, outputs, scratch, executor);
    }
    ThrowIfError(status);
    result["num_invalid"] = num_invalid;
    result["objectness_gradient"] = objectness_gradient;
    result["selection"] = selection;
    return result;
  });
}

py::list YoloV3LossBackwardOnArrays(const py::array& loss_gradient, const Arrays& y_true, const Arrays& y_pred,
                                    const Arrays& objectness_gradient, const Arrays& selection,
                                    const py::array_t<double>& anchors, const std::vector<int64_t>& strides,
                                    int threads, const py::kwargs& given) {
  YoloV3LossOptions options = YoloOptionsFrom(given);
  const YoloV3Shape shape = TakeGeometry(y_pred, anchors, strides, &options);
  Executor& executor = Threads(threads);
  return WithPredictionDtype("y_pred", y_pred[0], [&](auto element, const char* label_dtype) {
    using T = decltype(element);
    using L = Compute<T>;
    const YoloInputs<T> inputs(y_true, y_pred, label_dtype, options, shape);
    const L* upstream = Elements<L>("loss_gradient", loss_gradient, label_dtype, {shape.images});
    const auto rows = [&](size_t i) { return RowsOf(shape, i); };
    const YoloV3LossResiduals<L> residuals = {
        ElementsOf<L>("objectness_gradient", objectness_gradient, label_dtype, shape, rows),
        ElementsOf<uint8_t>("selection", selection, "uint8", shape, rows)};
    py::list gradients;
    std::vector<T*> out;
    for (const py::array& scale : y_pred) {
      py::array gradient(scale.dtype(), std::vector<py::ssize_t>(scale.shape(), scale.shape() + scale.ndim()));
      out.push_back(static_cast<T*>(gradient.mutable_data()));
      gradients.append(gradient);
    }
    Status status = Status::Ok();
    {
      py::gil_scoped_release release;
      status = YoloV3LossBackward<T>(options, shape, upstream, inputs.y_true, inputs.y_pred, residuals, out, executor);
    }
    ThrowIfError(status);
    return gradients;
  });
}

py::array YoloIgnoreMaskOnArrays(const py::array& boxes, const py::array& true_boxes, float ignore_thresh,
                                 const std::string& comparator, int threads) {
  if (boxes.ndim() != 3 || true_boxes.ndim() != 3) {
    throw py::value_error("boxes, true_boxes: expected shapes (batch, boxes, 4), got " + ShapeText(boxes) + " and " +
                          ShapeText(true_boxes));
  }
  const IgnoreOptions options = {ignore_thresh, Choose("comparator", kComparators, comparator)};
  const IgnoreMaskShape shape = {boxes.shape(0), boxes.shape(1), true_boxes.shape(1)};
  Executor& executor = Threads(threads);
  return WithPredictionDtype("boxes", boxes, [&](auto element, const char* label_dtype) -> py::array {
    using T = decltype(element);
    const T* predicted = Elements<T>("boxes", boxes, DtypeName(boxes), {shape.images, shape.boxes, 4});
    const auto* truths =
        Elements<Compute<T>>("true_boxes", true_boxes, label_dtype, {shape.images, shape.true_boxes, 4});
    py::array_t<bool> mask({shape.images, shape.boxes});
    py::array_t<char> workspace(static_cast<py::ssize_t>(YoloIgnoreMaskWorkspaceBytes<T>(shape)));
    ThrowIfError(
        YoloIgnoreMask(options, shape, predicted, truths, mask.mutable_data(), workspace.mutable_data(), executor));
    return mask;
  });
}

// One forward or backward of the YOLOv3 loss' touch-only floor over one scale, on arrays [rows, 5 + classes].
uint32_t TouchYoloV3Loss(const py::array& labels, const py::array& predictions, py::array& gradient, bool class_focal,
                         bool backward, int threads) {
  Executor& executor = Threads(threads);
  if (labels.ndim() != 2 || predictions.ndim() != 2 || labels.shape(0) != predictions.shape(0) ||
      gradient.nbytes() != predictions.nbytes()) {
    throw py::value_error("labels, predictions, gradient: expected three arrays of as many rows");
  }
  const int64_t rows = predictions.shape(0), row_bytes = predictions.shape(1) * predictions.itemsize();
  const int64_t label_bytes = labels.itemsize();
  const TouchedRows objectness = {static_cast<const char*>(labels.data()) + kYoloObjectness * label_bytes,
                                  labels.shape(1) * label_bytes, label_bytes};
  const TouchedRows logits = {predictions.data(), row_bytes,
                              class_focal ? row_bytes : kYoloClasses * predictions.itemsize()};
  void* out = gradient.mutable_data();
  if (backward && reinterpret_cast<uintptr_t>(out) % 64 != 0) {
    throw py::value_error("gradient: expected memory that is aligned to 64 bytes");
  }
  py::gil_scoped_release release;
  if (!backward) return TouchForward(objectness, logits, rows, executor);
  // Every row has a gradient of its objectness; with the focal loss, of everything, from all its logits.
  const uint32_t seen = class_focal ? TouchForward({logits.data, row_bytes, 0}, logits, rows, executor) : 0;
  TouchBackward(out, row_bytes, rows, class_focal ? 0 : 1, executor);
  return seen;
}

PYBIND11_MODULE(_core, m) {
  using py::arg;
  m.doc() = "CPU kernels of detloss on NumPy arrays. Needs no TensorFlow.";
  m.def("build_info", &BuildInfo,
        "What this build is: its version, the TensorFlow and compiler it was built with, whether it has CUDA kernels, "
        "made with which CUDA and for which architectures, the CPU tiers compiled and the one chosen on this machine.");
  m.def("ssd_loss_forward", &SsdLossForwardOnArrays,
        "detloss.ssd_loss on arrays [batch, boxes, width]; a dict of the loss, its components and the selection "
        "(bits: 1 positive, 2 kept, 4 invalid). Labels are float32, or float64 beside float64 predictions.",
        arg("y_true"), arg("y_pred"), py::kw_only(), arg("neg_pos_ratio") = 3.0f, arg("n_neg_min") = 0,
        arg("alpha") = 1.0f, arg("mining_scope") = "batch", arg("rank_by") = "loss", arg("normalizer") = "batch",
        arg("from_logits") = false, arg("invalid_targets") = "ignore", arg("num_classes") = 0, arg("class_column") = 0,
        arg("box_column") = -12, arg("positive_column") = py::none(), arg("threads") = 0);
  m.def("ssd_loss_backward", &SsdLossBackwardOnArrays,
        "The gradient of ssd_loss_forward with respect to y_pred, from its n_pos, n_kept and selection.",
        arg("loss_gradient"), arg("y_true"), arg("y_pred"), arg("n_pos"), arg("n_kept"), arg("selection"),
        py::kw_only(), arg("alpha") = 1.0f, arg("normalizer") = "batch", arg("from_logits") = false,
        arg("num_classes") = 0, arg("class_column") = 0, arg("box_column") = -12, arg("positive_column") = py::none(),
        arg("threads") = 0);
  m.def("hard_negative_mask", &HardNegativeMaskOnArrays, "detloss.hard_negative_mask on arrays.", arg("negative_loss"),
        arg("n_positive"), py::kw_only(), arg("neg_pos_ratio") = 3.0f, arg("n_neg_min") = 0,
        arg("mining_scope") = "batch", arg("threads") = 0);
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
  m.def("yolo_ignore_mask", &YoloIgnoreMaskOnArrays, "detloss.yolo_ignore_mask on arrays [batch, boxes, 4].",
        arg("boxes"), arg("true_boxes"), py::kw_only(), arg("ignore_thresh") = 0.5f, arg("comparator") = "<",
        arg("threads") = 0);
  m.def("touch_yolov3_loss", &TouchYoloV3Loss,
        "One pass of the touch-only memory floor of the YOLOv3 loss over one scale, on arrays [rows, 5 + classes].",
        arg("labels"), arg("predictions"), arg("gradient"), arg("class_focal"), arg("backward"), arg("threads") = 0);
}

}  // namespace
}  // namespace detloss
