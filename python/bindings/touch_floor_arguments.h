// What the touch-only floors of the losses read and write, on the CPU and on a device.
#ifndef DETLOSS_PYTHON_BINDINGS_TOUCH_FLOOR_ARGUMENTS_H_
#define DETLOSS_PYTHON_BINDINGS_TOUCH_FLOOR_ARGUMENTS_H_

#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "cc/touch_floor.h"
#include "cc/yolov3_cell.h"
#include "python/bindings/tensor_view.h"

namespace detloss {

// One pass over rows of one tensor each of labels, predictions and gradient.
struct TouchedTensors {
  TouchedRows labels;
  TouchedRows predictions;
  int64_t rows;
  void* gradient;
  int64_t nonzero_every;  // rows of the gradient; 0: nothing of it is zero
  bool backward_reads;    // all the predictions
};

// Two-dimensional tensors of as many rows: labels of a loss, predictions, and in the backward pass their gradient.
struct TouchArguments {
  TensorView labels;
  TensorView predictions;
  TensorView gradient;
};

// Throws unless the tensors are what the loss takes as rows of `least` columns or more, so that every touched byte is
// theirs.
inline void CheckTouched(const TouchArguments& given, int64_t least) {
  const Dimensions& rows = given.predictions.shape;
  if (rows.size() != 2 || rows[1] < least) {
    throw py::value_error(
        ErrorText("predictions", "shape (rows, " + std::to_string(least) + " or more columns)", ShapeText(rows)));
  }
  CheckSizes("predictions", rows);
  const Dimensions& labels = given.labels.shape;
  if (labels.size() != 2 || labels[0] != rows[0] || labels[1] < least) {
    throw py::value_error(
        ErrorText("labels", "shape (" + std::to_string(rows[0]) + ", " + std::to_string(least) + " or more columns)",
                  ShapeText(labels)));
  }
  CheckSizes("labels", labels);
  WithPredictionDtype("predictions", given.predictions.dtype, [&](auto element, const char* label_dtype) {
    using T = decltype(element);
    Elements<T>("predictions", given.predictions, given.predictions.dtype, rows);
    Elements<Compute<T>>("labels", given.labels, label_dtype, labels);
    MutableElements<T>("gradient", given.gradient, given.predictions.dtype, rows);
  });
  CheckAlignment("gradient", given.gradient, 64);
}

inline TouchedTensors TouchedBySsdLoss(const TouchArguments& given, int64_t num_classes, bool from_logits) {
  if (num_classes < 1) throw py::value_error(ErrorText("num_classes", "at least 1", std::to_string(num_classes)));
  constexpr int64_t kOffsets = 4;
  // Beyond any width, a sum would overflow.
  CheckTouched(given, std::min(num_classes, kMostElements) + kOffsets);
  const TensorView &labels = given.labels, &predictions = given.predictions;
  const int64_t logits_bytes = num_classes * predictions.item_bytes;
  return {{labels.data, labels.shape[1] * labels.item_bytes, (num_classes + kOffsets) * labels.item_bytes},
          {predictions.data, predictions.shape[1] * predictions.item_bytes, from_logits ? logits_bytes : 4},
          predictions.shape[0],
          const_cast<void*>(given.gradient.data),
          96,  // about one row in a hundred holds a gradient, as mining leaves it
          false};
}

// Of one scale.
inline TouchedTensors TouchedByYoloV3Loss(const TouchArguments& given, bool class_focal) {
  CheckTouched(given, kYoloClasses + 1);
  const TensorView &labels = given.labels, &predictions = given.predictions;
  const int64_t row_bytes = predictions.shape[1] * predictions.item_bytes;
  return {{static_cast<const char*>(labels.data) + kYoloObjectness * labels.item_bytes,
           labels.shape[1] * labels.item_bytes, labels.item_bytes},
          {predictions.data, row_bytes, class_focal ? row_bytes : kYoloClasses * predictions.item_bytes},
          predictions.shape[0],
          const_cast<void*>(given.gradient.data),
          // Every row has a gradient of its objectness; with the focal loss, of everything, from all its logits.
          class_focal ? 0 : 1,
          class_focal};
}

}  // namespace detloss

#endif  // DETLOSS_PYTHON_BINDINGS_TOUCH_FLOOR_ARGUMENTS_H_
