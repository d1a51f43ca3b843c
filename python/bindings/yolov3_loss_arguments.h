// Arguments of the YOLOv3 loss and of its ignore mask, on the CPU and on a device.
#ifndef DETLOSS_PYTHON_BINDINGS_YOLOV3_LOSS_ARGUMENTS_H_
#define DETLOSS_PYTHON_BINDINGS_YOLOV3_LOSS_ARGUMENTS_H_

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <vector>

#include "cc/option_names.h"
#include "cc/yolo_ignore_mask.h"
#include "cc/yolov3_loss.h"
#include "python/bindings/option_reader.h"
#include "python/bindings/tensor_view.h"

namespace detloss {

// The options of both directions.
inline YoloV3LossOptions YoloOptionsFrom(const py::kwargs& given) {
  YoloV3LossOptions options;
  NamedBoxLoss box_loss = {options.cell.box_loss, options.cell.overlap};
  OptionReader reader("yolov3_loss", given);
  reader.Take("grid_sense", &options.grid_sense);
  reader.Take("ignore_thresh", &options.ignore.thresh);
  reader.Choose("comparator", kComparators, &options.ignore.above);
  reader.Choose("ignore_scope", kIgnoreScopes, &options.ignore_scope);
  reader.Choose("box_loss", kBoxLosses, &box_loss);
  reader.Choose("class_loss", kClassLosses, &options.cell.class_loss);
  reader.Take("class_focal", &options.cell.class_focal);
  reader.Take("objectness_focal", &options.cell.objectness_focal);
  reader.Take("label_smoothing", &options.cell.label_smoothing);
  reader.Take("box_weight", &options.cell.box_weight);
  reader.Take("object_weight", &options.cell.object_weight);
  reader.Take("no_object_weight", &options.cell.no_object_weight);
  reader.Take("class_weight", &options.cell.class_weight);
  reader.Take("class_weights", &options.class_weights);
  reader.Choose("target_format", kTargetFormats, &options.cell.corner_targets);
  reader.Choose("invalid_targets", kInvalidYoloTargets, &options.invalid_targets);
  reader.Finish();
  options.cell.box_loss = box_loss.box_loss;
  options.cell.overlap = box_loss.overlap;
  return options;
}

// Takes anchors `[scales, anchors, 2]` and strides into the options; returns the shape that logits of every scale,
// `[batch, height, width, anchors, 5 + classes]`, have.
inline YoloV3Shape TakeGeometry(const std::vector<Dimensions>& y_pred, const py::array_t<double>& anchors,
                                const std::vector<int64_t>& strides, YoloV3LossOptions* options) {
  const int64_t scales = static_cast<int64_t>(y_pred.size());
  if (scales == 0) throw py::value_error("y_pred: expected at least one scale, got none");
  if (anchors.ndim() != 3 || anchors.shape(0) != scales || anchors.shape(2) != 2) {
    throw py::value_error("anchors: expected shape (" + std::to_string(scales) + ", anchors, 2), got " +
                          ShapeText(Dimensions(anchors.shape(), anchors.shape() + anchors.ndim())));
  }
  for (const Dimensions& scale : y_pred) {
    if (scale.size() == 5 && scale[3] == anchors.shape(1) && scale[4] > kYoloClasses) continue;
    throw py::value_error("y_pred: expected shape (batch, height, width, " + std::to_string(anchors.shape(1)) +
                          ", 5 + classes), got " + ShapeText(scale));
  }
  const py::array_t<double, py::array::c_style> lengths(anchors);
  options->anchors.assign(lengths.data(), lengths.data() + lengths.size());
  options->strides = strides;
  YoloV3Shape shape = {y_pred[0][0], anchors.shape(1), y_pred[0][4] - kYoloClasses, {}};
  for (const Dimensions& scale : y_pred) shape.scales.push_back({scale[1], scale[2]});
  return shape;
}

inline YoloV3Shape TakeGeometry(const std::vector<TensorView>& y_pred, const py::array_t<double>& anchors,
                                const std::vector<int64_t>& strides, YoloV3LossOptions* options) {
  std::vector<Dimensions> shapes;
  for (const TensorView& scale : y_pred) shapes.push_back(scale.shape);
  return TakeGeometry(shapes, anchors, strides, options);
}

inline Dimensions RowsOf(const YoloV3Shape& shape, size_t scale) { return {shape.images, shape.Rows(scale)}; }

inline Dimensions CellsOf(const YoloV3Shape& shape, size_t scale, int64_t columns) {
  return {shape.images, shape.scales[scale].height, shape.scales[scale].width, shape.anchors, columns};
}

// Those of every scale; `dimensions` tells a scale's shape.
template <class T, class DimensionsOfScale>
std::vector<T*> MutableElementsOf(const char* name, const std::vector<TensorView>& tensors, const std::string& dtype,
                                  const YoloV3Shape& shape, const DimensionsOfScale& dimensions) {
  if (tensors.size() != shape.scales.size()) {
    throw py::value_error(std::string(name) + ": expected " + std::to_string(shape.scales.size()) +
                          " scales, as in y_pred, got " + std::to_string(tensors.size()));
  }
  std::vector<T*> elements;
  for (size_t i = 0; i < tensors.size(); ++i) {
    elements.push_back(MutableElements<T>(name, tensors[i], dtype, dimensions(i)));
  }
  return elements;
}

template <class T, class DimensionsOfScale>
std::vector<const T*> ElementsOf(const char* name, const std::vector<TensorView>& tensors, const std::string& dtype,
                                 const YoloV3Shape& shape, const DimensionsOfScale& dimensions) {
  const std::vector<T*> elements = MutableElementsOf<T>(name, tensors, dtype, shape, dimensions);
  return {elements.begin(), elements.end()};
}

// Labels and logits of every scale.
template <class T>
struct YoloInputs {
  YoloInputs(const std::vector<TensorView>& labels, const std::vector<TensorView>& logits, const char* label_dtype,
             const YoloV3LossOptions& options, const YoloV3Shape& shape) {
    const int64_t label_columns = LabelColumns(options.cell, shape.classes);
    y_true = ElementsOf<Compute<T>>("y_true", labels, label_dtype, shape,
                                    [&](size_t i) { return CellsOf(shape, i, label_columns); });
    y_pred = ElementsOf<T>("y_pred", logits, logits[0].dtype, shape,
                           [&](size_t i) { return CellsOf(shape, i, kYoloClasses + shape.classes); });
  }

  std::vector<const Compute<T>*> y_true;
  std::vector<const T*> y_pred;
};

template <class L>
YoloV3LossResiduals<L> YoloResidualsOf(const std::vector<TensorView>& objectness_gradient,
                                       const std::vector<TensorView>& selection, const char* label_dtype,
                                       const YoloV3Shape& shape) {
  const auto rows = [&](size_t i) { return RowsOf(shape, i); };
  return {ElementsOf<L>("objectness_gradient", objectness_gradient, label_dtype, shape, rows),
          ElementsOf<uint8_t>("selection", selection, "uint8", shape, rows)};
}

inline IgnoreOptions IgnoreOptionsFrom(const py::kwargs& given) {
  IgnoreOptions options;
  OptionReader reader("yolo_ignore_mask", given);
  reader.Take("ignore_thresh", &options.thresh);
  reader.Choose("comparator", kComparators, &options.above);
  reader.Finish();
  return options;
}

inline IgnoreMaskShape IgnoreMaskShapeOf(const TensorView& boxes, const TensorView& true_boxes) {
  if (boxes.shape.size() != 3 || true_boxes.shape.size() != 3) {
    throw py::value_error("boxes, true_boxes: expected shapes (batch, boxes, 4), got " + ShapeText(boxes.shape) +
                          " and " + ShapeText(true_boxes.shape));
  }
  return {boxes.shape[0], boxes.shape[1], true_boxes.shape[1]};
}

template <class T>
struct IgnoreMaskInputs {
  IgnoreMaskInputs(const TensorView& predicted, const TensorView& truths, const char* label_dtype,
                   const IgnoreMaskShape& shape)
      : boxes(Elements<T>("boxes", predicted, predicted.dtype, {shape.images, shape.boxes, 4})),
        true_boxes(Elements<Compute<T>>("true_boxes", truths, label_dtype, {shape.images, shape.true_boxes, 4})) {}

  const T* const boxes;
  const Compute<T>* const true_boxes;
};

}  // namespace detloss

#endif  // DETLOSS_PYTHON_BINDINGS_YOLOV3_LOSS_ARGUMENTS_H_
