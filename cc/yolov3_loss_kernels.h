// Loops over rows of the YOLOv3 loss, compiled once per CPU tier. A row is one anchor of one cell.
#ifndef DETLOSS_CC_YOLOV3_LOSS_KERNELS_H_
#define DETLOSS_CC_YOLOV3_LOSS_KERNELS_H_

#include <cstdint>

#include "cc/box.h"
#include "cc/cpu_tier.h"
#include "cc/dtypes.h"
#include "cc/ignore_test.h"
#include "cc/yolov3_cell.h"

namespace detloss {

// Rows of a block, all of one image and one scale. Small enough for what a block decodes to stay in the first-level
// cache.
constexpr int64_t kYoloRowsPerBlock = 512;

// Sums over a block. Blocks are fixed and their sums are added in order, so that no result depends on the threads.
struct YoloBlockSums {
  double xy = 0;
  double wh = 0;
  double overlap = 0;
  double object = 0;
  double no_object = 0;
  double class_term = 0;
  int64_t num_boxes = 0;
  int64_t num_invalid = 0;
  int64_t first_invalid = -1;  // row within the block
  bool is_nan = false;         // a valid row has NaN among its five logits of box and objectness
  bool class_is_nan = false;   // a row has NaN among its class logits, which count
};

// A scale as its rows see it.
template <class L>
struct YoloGrid {
  int64_t height, width, anchors;
  L grid_sense;
  const L* anchor_sizes;  // [anchors, 2], relative to the input

  DETLOSS_INLINE int64_t RowsPerImage() const { return height * width * anchors; }
};

template <class L>
struct YoloCollectBlock {
  const YoloCellOptions* options;
  int64_t classes;
  int64_t rows;
  const L* y_true;
  uint8_t* selection;
  Box<L>* boxes;  // room for as many as rows
  YoloBlockSums* sums;
};

// True boxes that lie together.
template <class L>
struct YoloBoxes {
  const Box<L>* boxes;
  int64_t count;
};

template <class T>
struct YoloForwardBlock {
  const YoloCellOptions* options;
  YoloGrid<Compute<T>> grid;
  IgnoreTest<Compute<T>> ignore;
  int64_t classes;
  int64_t first_row;  // of the block in its image
  int64_t rows;
  const Compute<T>* y_true;
  const T* y_pred;
  const YoloBoxes<Compute<T>>* true_boxes;  // those that may ignore a row
  int64_t num_true_boxes;                   // groups of them
  uint8_t* selection;
  Compute<T>* objectness_gradient;
  YoloBlockSums* sums;
};

template <class T>
struct YoloBackwardRows {
  const YoloCellOptions* options;
  YoloGrid<Compute<T>> grid;
  int64_t classes;
  int64_t begin, end;  // rows of the scale, over all images
  bool stream;         // whether the gradient is too large to be worth caching
  const Compute<T>* loss_gradient;
  const Compute<T>* y_true;
  const T* y_pred;
  const uint8_t* selection;
  const Compute<T>* objectness_gradient;
  T* gradient;
};

template <class T>
struct YoloV3LossKernels {
  // Marks objects and invalid labels, and collects the true boxes.
  void (*collect)(const YoloCollectBlock<Compute<T>>&);
  void (*forward)(const YoloForwardBlock<T>&);
  void (*backward)(const YoloBackwardRows<T>&);
};

DETLOSS_DECLARE_PER_TIER(const YoloV3LossKernels<float> kYoloV3LossFloat)
DETLOSS_DECLARE_PER_TIER(const YoloV3LossKernels<double> kYoloV3LossDouble)
DETLOSS_DECLARE_PER_TIER(const YoloV3LossKernels<Half> kYoloV3LossHalf)
DETLOSS_DECLARE_PER_TIER(const YoloV3LossKernels<BFloat16> kYoloV3LossBFloat16)

}  // namespace detloss

#endif  // DETLOSS_CC_YOLOV3_LOSS_KERNELS_H_
