// detloss._core: the CPU kernels on NumPy arrays, with no TensorFlow in the process.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "cc/cpu_tier.h"
#include "cc/hard_negative_mining.h"
#include "cc/ssd_loss.h"
#include "cc/thread_pool.h"
#include "cc/touch_floor.h"
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
  py::dict info;
  info["version"] = DETLOSS_VERSION;
  info["tensorflow"] = DETLOSS_TENSORFLOW_VERSION;
  info["compiler"] = DETLOSS_COMPILER;
  info["cuda"] = false;
  info["cuda_architectures"] = py::list();
  info["cpu_tiers"] = tiers;
  info["cpu_tier"] = CpuTierName(ChosenCpuTier());
  return info;
}

template <class Option>
Option Choose(const char* name, const std::string& value, const std::map<std::string, Option>& options) {
  const auto found = options.find(value);
  if (found != options.end()) return found->second;
  std::string expected;
  for (const auto& [option, _] : options) expected += (expected.empty() ? "'" : ", '") + option + "'";
  throw py::value_error(std::string(name) + ": expected one of " + expected + ", got '" + value + "'");
}

MiningScope ScopeNamed(const std::string& name) {
  return Choose<MiningScope>(
      "mining_scope", name,
      {{"batch", MiningScope::kBatch}, {"image", MiningScope::kImage}, {"image_uniform", MiningScope::kImageUniform}});
}

Normalizer NormalizerNamed(const std::string& name) {
  return Choose<Normalizer>(
      "normalizer", name,
      {{"batch", Normalizer::kBatch}, {"image", Normalizer::kImage}, {"image_selected", Normalizer::kImageSelected}});
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
  options.mining = {ScopeNamed(mining_scope), neg_pos_ratio, n_neg_min};
  options.rank_by = Choose<RankBy>("rank_by", rank_by, {{"loss", RankBy::kLoss}, {"foreground", RankBy::kForeground}});
  options.normalizer = NormalizerNamed(normalizer);
  options.alpha = alpha;
  options.from_logits = from_logits;
  options.invalid_is_error = Choose<bool>("invalid_targets", invalid_targets, {{"ignore", false}, {"error", true}});
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
  options.normalizer = NormalizerNamed(normalizer);
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
  const MiningOptions options = {ScopeNamed(mining_scope), neg_pos_ratio, n_neg_min};
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
  // Every third group of 32 rows holds a gradient: about one row in a hundred, as mining leaves it.
  TouchBackward(out, row_bytes, rows, 3, executor);
  return 0;
}

PYBIND11_MODULE(_core, m) {
  using py::arg;
  m.doc() = "CPU kernels of detloss on NumPy arrays. Needs no TensorFlow.";
  m.def("build_info", &BuildInfo,
        "What this build is: its version, the TensorFlow and compiler it was built with, whether it has CUDA kernels "
        "and for "
        "which architectures, the CPU tiers compiled and the one chosen on this machine.");
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
}

}  // namespace
}  // namespace detloss
