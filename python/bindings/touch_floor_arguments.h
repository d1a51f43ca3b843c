// What the touch-only floors of the losses read and write, on the CPU and on a device.
#ifndef DETLOSS_PYTHON_BINDINGS_TOUCH_FLOOR_ARGUMENTS_H_
#define DETLOSS_PYTHON_BINDINGS_TOUCH_FLOOR_ARGUMENTS_H_

#include <pybind11/pybind11.h>

#include <cstdint>

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

inline void CheckTouchedTensors(const TensorView& labels, const TensorView& predictions, const TensorView& gradient) {
  const bool rows =
      labels.shape.size() == 2 && predictions.shape.size() == 2 && labels.shape[0] == predictions.shape[0];
  if (!rows || !labels.contiguous || !predictions.contiguous || !gradient.contiguous ||
      ByteCount(gradient) != ByteCount(predictions)) {
    throw py::value_error("labels, predictions, gradient: expected three C-contiguous arrays of as many rows");
  }
  if (reinterpret_cast<uintptr_t>(gradient.data) % 64 != 0) {
    throw py::value_error("gradient: expected memory that is aligned to 64 bytes");
  }
}

inline TouchedTensors TouchedBySsdLoss(const TensorView& labels, const TensorView& predictions,
                                       const TensorView& gradient, int64_t num_classes, bool from_logits) {
  CheckTouchedTensors(labels, predictions, gradient);
  const int64_t logits_bytes = num_classes * predictions.item_bytes;
  return {{labels.data, labels.shape[1] * labels.item_bytes, (num_classes + 4) * labels.item_bytes},
          {predictions.data, predictions.shape[1] * predictions.item_bytes, from_logits ? logits_bytes : 4},
          predictions.shape[0],
          const_cast<void*>(gradient.data),
          96,  // about one row in a hundred holds a gradient, as mining leaves it
          false};
}

// Of one scale.
inline TouchedTensors TouchedByYoloV3Loss(const TensorView& labels, const TensorView& predictions,
                                          const TensorView& gradient, bool class_focal) {
  CheckTouchedTensors(labels, predictions, gradient);
  const int64_t row_bytes = predictions.shape[1] * predictions.item_bytes;
  return {{static_cast<const char*>(labels.data) + kYoloObjectness * labels.item_bytes,
           labels.shape[1] * labels.item_bytes, labels.item_bytes},
          {predictions.data, row_bytes, class_focal ? row_bytes : kYoloClasses * predictions.item_bytes},
          predictions.shape[0],
          const_cast<void*>(gradient.data),
          // Every row has a gradient of its objectness; with the focal loss, of everything, from all its logits.
          class_focal ? 0 : 1,
          class_focal};
}

}  // namespace detloss

#endif  // DETLOSS_PYTHON_BINDINGS_TOUCH_FLOOR_ARGUMENTS_H_
