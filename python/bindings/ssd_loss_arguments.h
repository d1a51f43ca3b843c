// Arguments of the SSD loss and of its mining, on the CPU and on a device.
#ifndef DETLOSS_PYTHON_BINDINGS_SSD_LOSS_ARGUMENTS_H_
#define DETLOSS_PYTHON_BINDINGS_SSD_LOSS_ARGUMENTS_H_

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <optional>

#include "cc/hard_negative_mining.h"
#include "cc/option_names.h"
#include "cc/ssd_loss.h"
#include "python/bindings/option_reader.h"
#include "python/bindings/tensor_view.h"

namespace detloss {

inline void TakeMiningOptions(OptionReader& reader, MiningOptions* options) {
  reader.Choose("mining_scope", kMiningScopes, &options->scope);
  reader.Take("neg_pos_ratio", &options->neg_pos_ratio);
  reader.Take("n_neg_min", &options->n_neg_min);
}

inline MiningOptions MiningOptionsFrom(const py::kwargs& given) {
  MiningOptions options;
  OptionReader reader("hard_negative_mask", given);
  TakeMiningOptions(reader, &options);
  reader.Finish();
  return options;
}

// The options that the backward pass has, too.
inline void TakeSsdGradientOptions(OptionReader& reader, SsdLossOptions* options) {
  SsdLayout& layout = options->layout;
  std::optional<int64_t> positive_column;
  reader.Take("num_classes", &layout.num_classes);
  reader.Take("class_column", &layout.class_column);
  reader.Take("box_column", &layout.box_column);
  reader.Take("positive_column", &positive_column);
  reader.Take("exact_width", &layout.exact_width);
  layout.has_positive_column = positive_column.has_value();
  layout.positive_column = positive_column.value_or(0);
  reader.Choose("normalizer", kNormalizers, &options->normalizer);
  reader.Take("alpha", &options->alpha);
  reader.Take("from_logits", &options->from_logits);
}

inline SsdLossOptions SsdGradientOptionsFrom(const py::kwargs& given) {
  SsdLossOptions options;
  OptionReader reader("ssd_loss", given);
  TakeSsdGradientOptions(reader, &options);
  reader.Finish();
  return options;
}

inline SsdLossOptions SsdLossOptionsFrom(const py::kwargs& given) {
  SsdLossOptions options;
  OptionReader reader("ssd_loss", given);
  TakeSsdGradientOptions(reader, &options);
  TakeMiningOptions(reader, &options.mining);
  reader.Choose("rank_by", kRankings, &options.rank_by);
  reader.Choose("invalid_targets", kInvalidTargets, &options.invalid_targets);
  reader.Finish();
  return options;
}

inline SsdShape SsdShapeOf(const Dimensions& y_pred) {
  if (y_pred.size() != 3)
    throw py::value_error("y_pred: expected shape (batch, boxes, width), got " + ShapeText(y_pred));
  CheckSizes("y_pred", y_pred);
  return {y_pred[0], y_pred[1], y_pred[2]};
}

inline Dimensions DimensionsOf(const SsdShape& shape) { return {shape.images, shape.boxes, shape.width}; }

template <class T>
struct SsdInputs {
  SsdInputs(const TensorView& labels, const TensorView& predictions, const char* label_dtype, const SsdShape& shape)
      : y_true(Elements<Compute<T>>("y_true", labels, label_dtype, DimensionsOf(shape))),
        y_pred(Elements<T>("y_pred", predictions, predictions.dtype, DimensionsOf(shape))) {}

  const Compute<T>* const y_true;
  const T* const y_pred;
};

template <class L>
SsdLossResiduals<L> SsdResidualsOf(const TensorView& n_pos, const TensorView& n_kept, const TensorView& selection,
                                   const char* label_dtype, const SsdShape& shape) {
  return {Elements<L>("n_pos", n_pos, label_dtype, {shape.images}),
          Elements<L>("n_kept", n_kept, label_dtype, {shape.images}),
          Elements<uint8_t>("selection", selection, "uint8", {shape.images, shape.boxes})};
}

struct MiningShape {
  int64_t images;
  int64_t boxes;
};

inline MiningShape MiningShapeOf(const Dimensions& negative_loss) {
  if (negative_loss.size() != 2) {
    throw py::value_error("negative_loss: expected shape (batch, boxes), got " + ShapeText(negative_loss));
  }
  CheckSizes("negative_loss", negative_loss);
  return {negative_loss[0], negative_loss[1]};
}

}  // namespace detloss

#endif  // DETLOSS_PYTHON_BINDINGS_SSD_LOSS_ARGUMENTS_H_
