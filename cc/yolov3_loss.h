// The YOLOv3 loss of one scale or of all scales of a model, and its gradient. Semantics: the docstring of
// detloss.yolov3_loss.
#ifndef DETLOSS_CC_YOLOV3_LOSS_H_
#define DETLOSS_CC_YOLOV3_LOSS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cc/device_stream.h"
#include "cc/dtypes.h"
#include "cc/executor.h"
#include "cc/invalid_targets.h"
#include "cc/status.h"
#include "cc/yolo_ignore_mask.h"
#include "cc/yolov3_cell.h"

namespace detloss {

enum class IgnoreScope {
  kScale,  // the true boxes of a cell's own scale
  kImage,  // those of all scales
};

struct YoloV3LossOptions {
  YoloCellOptions cell;  // its class_weights point into those below, once resolved
  IgnoreOptions ignore;
  IgnoreScope ignore_scope = IgnoreScope::kScale;
  InvalidTargets invalid_targets = InvalidTargets::kIgnore;
  std::vector<float> anchors;        // [scales, anchors, 2]
  std::vector<int64_t> strides;      // per scale; 0: anchors relative to the input
  std::vector<float> grid_sense;     // per scale; empty: 1
  std::vector<float> class_weights;  // per class; empty: 1
};

// One scale: labels `[images, height, width, anchors, 5 + classes]`, or 6 columns with corner targets, and logits of as
// many rows of 5 + classes.
struct YoloScaleShape {
  int64_t height;
  int64_t width;
};

struct YoloV3Shape {
  int64_t images;
  int64_t anchors;
  int64_t classes;
  std::vector<YoloScaleShape> scales;

  int64_t Rows(size_t scale) const { return scales[scale].height * scales[scale].width * anchors; }  // of an image
};

// Anchors relative to the input: `[scales, anchors, 2]`.
template <class L>
std::vector<L> YoloAnchorSizes(const YoloV3LossOptions& options, const YoloV3Shape& shape) {
  std::vector<L> sizes(options.anchors.begin(), options.anchors.end());
  for (size_t i = 0; i < sizes.size(); ++i) {
    const size_t scale = i / (2 * shape.anchors);
    const int64_t cells = i % 2 == 0 ? shape.scales[scale].width : shape.scales[scale].height;
    if (options.strides[scale] > 0) sizes[i] /= static_cast<L>(options.strides[scale] * cells);
  }
  return sizes;
}

// Per image, but for the last two: per scale, `[images, rows]`. `box`, `object`, `no_object` and `class_term` add up to
// the loss; `xy` and `wh` to `box` unless it is an overlap.
template <class L>
struct YoloV3LossOutputs {
  L* loss;
  L* box;
  L* xy;
  L* wh;
  L* object;
  L* no_object;
  L* class_term;
  int32_t* num_invalid;
  std::vector<L*> objectness_gradient;
  std::vector<uint8_t*> selection;
};

template <class T>
size_t YoloV3LossWorkspaceBytes(const YoloV3Shape& shape);

// `y_true` and `y_pred` hold one array per scale. Warns of invalid labels.
template <class T>
Status YoloV3LossForward(const YoloV3LossOptions& options, const YoloV3Shape& shape,
                         const std::vector<const Compute<T>*>& y_true, const std::vector<const T*>& y_pred,
                         const YoloV3LossOutputs<Compute<T>>& outputs, void* workspace, Executor& executor);

// What the forward pass left for the backward pass, beside labels and logits.
template <class L>
struct YoloV3LossResiduals {
  std::vector<const L*> objectness_gradient;
  std::vector<const uint8_t*> selection;
};

// Writes all of every scale's gradient, which has the shape of its logits.
template <class T>
Status YoloV3LossBackward(const YoloV3LossOptions& options, const YoloV3Shape& shape, const Compute<T>* loss_gradient,
                          const std::vector<const Compute<T>*>& y_true, const std::vector<const T*>& y_pred,
                          const YoloV3LossResiduals<Compute<T>>& residuals, const std::vector<T*>& gradient,
                          Executor& executor);

// The same on a device, where InvalidTargets::kError is refused and nothing is warned of: nothing is known there before
// the work is done.
template <class T>
size_t YoloV3LossDeviceWorkspaceBytes(const YoloV3LossOptions& options, const YoloV3Shape& shape);
template <class T>
Status YoloV3LossForward(const YoloV3LossOptions& options, const YoloV3Shape& shape,
                         const std::vector<const Compute<T>*>& y_true, const std::vector<const T*>& y_pred,
                         const YoloV3LossOutputs<Compute<T>>& outputs, void* workspace, DeviceStream stream);
template <class T>
size_t YoloV3LossGradDeviceWorkspaceBytes(const YoloV3LossOptions& options, const YoloV3Shape& shape);
template <class T>
Status YoloV3LossBackward(const YoloV3LossOptions& options, const YoloV3Shape& shape, const Compute<T>* loss_gradient,
                          const std::vector<const Compute<T>*>& y_true, const std::vector<const T*>& y_pred,
                          const YoloV3LossResiduals<Compute<T>>& residuals, const std::vector<T*>& gradient,
                          void* workspace, DeviceStream stream);

// Checks what can be said of the options when a graph is built, before anything but the number of scales is known.
Status CheckYoloV3Options(const YoloV3LossOptions& options, size_t scales);
// Unknown dimensions are negative.
Status CheckYoloV3Shape(const YoloV3Shape& shape);
// Both, and whether the options fit the shape.
Status CheckYoloV3Options(const YoloV3LossOptions& options, const YoloV3Shape& shape);

}  // namespace detloss

#endif  // DETLOSS_CC_YOLOV3_LOSS_H_
