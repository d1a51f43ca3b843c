// Arguments of the YOLOv3 loss and of its ignore mask, on the CPU and on a device.
#ifndef DETLOSS_PYTHON_BINDINGS_YOLOV3_LOSS_ARGUMENTS_H_
#define DETLOSS_PYTHON_BINDINGS_YOLOV3_LOSS_ARGUMENTS_H_

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "cc/option_names.h"
#include "cc/yolo_ignore_mask.h"
#include "cc/yolov3_loss.h"
#include "python/bindings/arrays.h"
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

// A copy of anchors of any dtype of numbers.
inline py::array_t<double> AnchorsFrom(const py::object& given) {
  constexpr const char* kExpected = "an array of numbers";
  const py::array numbers = py::array::ensure(given);
  if (!numbers) ThrowTypeError("anchors", kExpected, given);
  const char kind = numbers.dtype().kind();
  if (kind != 'f' && kind != 'i' && kind != 'u') {
    throw py::type_error(ErrorText("anchors", kExpected, "dtype " + DtypeName(numbers.dtype())));
  }
  const py::array_t<double> lengths = numbers.attr("astype")("float64", py::arg("order") = "C");
  std::for_each(lengths.data(), lengths.data() + lengths.size(), [](double length) {
    if (std::isfinite(length) && !std::isfinite(static_cast<float>(length))) {
      throw py::value_error(ErrorText("anchors", "numbers that float32 holds", Describe(length)));
    }
  });
  return lengths;
}

// Takes anchors `[scales, anchors, 2]` and strides into the options; returns the shape that logits of every scale,
// `[batch, height, width, anchors, 5 + classes]`, have.
inline YoloV3Shape TakeGeometry(const std::vector<Dimensions>& y_pred, const py::object& anchors,
                                const py::object& strides, YoloV3LossOptions* options) {
  const int64_t scales = static_cast<int64_t>(y_pred.size());
  if (scales == 0) throw py::value_error("y_pred: expected at least one scale, got none");
  const py::array_t<double> lengths = AnchorsFrom(anchors);
  if (lengths.ndim() != 3 || lengths.shape(0) != scales || lengths.shape(2) != 2) {
    throw py::value_error(ErrorText("anchors", "shape (" + std::to_string(scales) + ", anchors, 2)",
                                    ShapeText(Dimensions(lengths.shape(), lengths.shape() + lengths.ndim()))));
  }
  for (const Dimensions& scale : y_pred) {
    CheckSizes("y_pred", scale);
    const Dimensions& first = y_pred[0];
    const bool fits = scale.size() == 5 && scale[3] == lengths.shape(1) && scale[4] > kYoloClasses;
    if (fits && scale[0] == first[0] && scale[4] == first[4]) continue;
    const std::string images = fits ? std::to_string(first[0]) : "batch";
    const std::string columns = fits ? std::to_string(first[4]) : "5 + classes";
    throw py::value_error(ErrorText(
        "y_pred", "shape (" + images + ", height, width, " + std::to_string(lengths.shape(1)) + ", " + columns + ")",
        ShapeText(scale)));
  }
  options->anchors.assign(lengths.data(), lengths.data() + lengths.size());
  options->strides = ValueFrom<std::vector<int64_t>>("strides", strides);
  YoloV3Shape shape = {y_pred[0][0], lengths.shape(1), y_pred[0][4] - kYoloClasses, {}};
  for (const Dimensions& scale : y_pred) shape.scales.push_back({scale[1], scale[2]});
  return shape;
}

inline YoloV3Shape TakeGeometry(const std::vector<TensorView>& y_pred, const py::object& anchors,
                                const py::object& strides, YoloV3LossOptions* options) {
  std::vector<Dimensions> shapes;
  for (const TensorView& scale : y_pred) shapes.push_back(scale.shape);
  return TakeGeometry(shapes, anchors, strides, options);
}

inline Dimensions RowsOf(const YoloV3Shape& shape, size_t scale) { return {shape.images, shape.Rows(scale)}; }

inline Dimensions CellsOf(const YoloV3Shape& shape, size_t scale, int64_t columns) {
  return {shape.images, shape.scales[scale].height, shape.scales[scale].width, shape.anchors, columns};
}

inline void CheckScales(const char* name, const std::vector<TensorView>& tensors, const YoloV3Shape& shape) {
  if (tensors.size() == shape.scales.size()) return;
  throw py::value_error(
      ErrorText(name, std::to_string(shape.scales.size()) + " scales, as in y_pred", std::to_string(tensors.size())));
}

// Those of every scale; `dimensions` tells a scale's shape.
template <class T, class DimensionsOfScale>
std::vector<const T*> ElementsOf(const char* name, const std::vector<TensorView>& tensors, const std::string& dtype,
                                 const YoloV3Shape& shape, const DimensionsOfScale& dimensions) {
  CheckScales(name, tensors, shape);
  std::vector<const T*> elements;
  for (size_t i = 0; i < tensors.size(); ++i) elements.push_back(Elements<T>(name, tensors[i], dtype, dimensions(i)));
  return elements;
}

// The same of outputs.
template <class T, class DimensionsOfScale>
std::vector<T*> MutableElementsOf(const char* name, const std::vector<TensorView>& tensors, const std::string& dtype,
                                  const YoloV3Shape& shape, const DimensionsOfScale& dimensions) {
  CheckScales(name, tensors, shape);
  std::vector<T*> elements;
  for (size_t i = 0; i < tensors.size(); ++i) {
    elements.push_back(MutableElements<T>(name, tensors[i], dtype, dimensions(i)));
  }
  return elements;
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
  CheckSizes("boxes", boxes.shape);
  CheckSizes("true_boxes", true_boxes.shape);
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
