// Shapes that the YOLOv3 loss takes. Where only part of a shape is known, when a graph is built, the unknown dimensions
// are -1 and pass every check.
#ifndef DETLOSS_OPS_YOLOV3_LOSS_SHAPES_H_
#define DETLOSS_OPS_YOLOV3_LOSS_SHAPES_H_

#include <string>
#include <vector>

#include "cc/tensor_size.h"
#include "cc/yolov3_loss.h"
#include "ops/argument_shapes.h"
#include "ops/attributes.h"

namespace detloss {

// One scale's tensor as [batch, height, width, anchors, columns].
inline absl::Status SplitAnchors(const std::string& name, const Dimensions& found, int64_t anchors, Dimensions* split) {
  const auto fail = [&] {
    return absl::InvalidArgumentError(absl::StrCat(name, ": expected shape [batch, height, width, ", anchors,
                                                   ", columns] or [batch, height, width, ", anchors, " * columns] for ",
                                                   anchors, " anchors, got ", DimensionsText(found)));
  };
  if (found.size() != 4 && found.size() != 5) return fail();
  *split = found;
  if (found.size() == 4) {
    if (found[3] >= 0 && found[3] % anchors != 0) return fail();
    split->back() = anchors;
    split->push_back(found[3] < 0 ? -1 : found[3] / anchors);
  }
  if ((*split)[3] >= 0 && (*split)[3] != anchors) return fail();
  (*split)[3] = anchors;
  return absl::OkStatus();
}

// Takes what `next` knows; false if they differ.
inline bool Merge(int64_t next, int64_t* known) {
  if (*known < 0) *known = next;
  return next < 0 || next == *known;
}

struct YoloDimensions {
  int64_t anchors = -1;
  int64_t batch = -1;
  int64_t classes = -1;
  std::vector<Dimensions> scales;  // [height, width]
};

inline absl::Status AddScale(const Dimensions& y_true, const Dimensions& y_pred, bool corner_targets,
                             YoloDimensions* all) {
  const std::string scale = absl::StrCat("[", all->scales.size(), "]");
  Dimensions labels, logits;
  TF_RETURN_IF_ERROR(SplitAnchors("y_pred" + scale, y_pred, all->anchors, &logits));
  TF_RETURN_IF_ERROR(SplitAnchors("y_true" + scale, y_true, all->anchors, &labels));
  const int64_t classes = logits[4] < 0 ? -1 : logits[4] - kYoloClasses;
  if (logits[4] >= 0 && (classes < 1 || !Merge(classes, &all->classes))) {
    const std::string expected = all->classes < 0 ? "C" : absl::StrCat(all->classes, ", as the scales before,");
    return absl::InvalidArgumentError(absl::StrCat("y_pred", scale, ": expected 5 + ", expected,
                                                   " columns for each of ", all->anchors, " anchors, got shape ",
                                                   DimensionsText(y_pred)));
  }
  Dimensions expected = logits;
  if (corner_targets) expected[4] = kYoloClasses + 1;
  bool same = true;
  for (int i = 0; i < 5; ++i) same &= Merge(labels[i], &expected[i]);
  if (!same) {
    return absl::InvalidArgumentError(absl::StrCat("y_true", scale, ": expected shape ", DimensionsText(expected),
                                                   corner_targets ? " (6 columns of corner labels)" : "", " for y_pred",
                                                   scale, " of shape ", DimensionsText(y_pred), ", got ",
                                                   DimensionsText(y_true)));
  }
  if (!corner_targets && expected[4] >= 0) Merge(expected[4] - kYoloClasses, &all->classes);
  if (!Merge(expected[0], &all->batch)) {
    return absl::InvalidArgumentError(absl::StrCat("y_pred", scale, ": expected a batch of ", all->batch,
                                                   " as in the scales before, got shape ", DimensionsText(y_pred)));
  }
  all->scales.push_back({expected[1], expected[2]});
  return absl::OkStatus();
}

// Anchors of a scale, from the number of lengths given.
inline absl::Status CountAnchors(const YoloV3LossOptions& options, size_t scales, int64_t* anchors) {
  const size_t lengths = options.anchors.size();
  *anchors = lengths / (2 * scales);
  if (lengths > 0 && lengths % (2 * scales) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("anchors: expected width and height of the same number of anchors for ", scales, " scale(s), got ",
                   lengths, " numbers"));
}

inline YoloV3Shape ShapeOf(const YoloDimensions& all) {
  YoloV3Shape shape = {all.batch, all.anchors, all.classes, {}};
  for (const Dimensions& scale : all.scales) shape.scales.push_back({scale[0], scale[1]});
  return shape;
}

// `y_true` and `y_pred` hold one shape per scale.
inline absl::Status CheckYoloShapes(const std::vector<tensorflow::TensorShape>& y_true,
                                    const std::vector<tensorflow::TensorShape>& y_pred,
                                    const YoloV3LossOptions& options, YoloV3Shape* shape) {
  YoloDimensions all;
  TF_RETURN_IF_ERROR(CountAnchors(options, y_pred.size(), &all.anchors));
  for (size_t i = 0; i < y_pred.size(); ++i) {
    TF_RETURN_IF_ERROR(AddScale(DimensionsOf(y_true[i]), DimensionsOf(y_pred[i]), options.cell.corner_targets, &all));
  }
  *shape = ShapeOf(all);
  return ToAbsl(CheckYoloV3Options(options, *shape));
}

// Of a gradient, which is that of one scale.
inline absl::Status CheckYoloGradShapes(const tensorflow::TensorShape& loss_gradient,
                                        const tensorflow::TensorShape& objectness_gradient,
                                        const tensorflow::TensorShape& selection, const YoloV3Shape& shape) {
  const Dimensions rows = {shape.images, shape.Rows(0)};
  TF_RETURN_IF_ERROR(CheckShape("loss_gradient", loss_gradient, {shape.images}));
  TF_RETURN_IF_ERROR(CheckShape("objectness_gradient", objectness_gradient, rows));
  return CheckShape("selection", selection, rows);
}

}  // namespace detloss

#endif  // DETLOSS_OPS_YOLOV3_LOSS_SHAPES_H_
