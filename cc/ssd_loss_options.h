// What the SSD loss is asked for, and what it marks boxes as. Shared by host and device.
#ifndef DETLOSS_CC_SSD_LOSS_OPTIONS_H_
#define DETLOSS_CC_SSD_LOSS_OPTIONS_H_

#include <cstdint>

#include "cc/invalid_targets.h"
#include "cc/mining_cut.h"
#include "cc/ssd_layout.h"

namespace detloss {

enum class RankBy {
  kLoss,        // cross-entropy
  kForeground,  // largest foreground probability
};

enum class Normalizer {
  kBatch,          // B / max(1, positives of the batch)
  kImage,          // 1 / max(1, positives of the image)
  kImageSelected,  // confidence: 1 / (positives + kept), localization: 1 / positives, 1 without any, of the image
};

struct SsdLossOptions {
  SsdLayout layout;
  MiningOptions mining;
  RankBy rank_by = RankBy::kLoss;
  Normalizer normalizer = Normalizer::kBatch;
  float alpha = 1;
  bool from_logits = false;
  InvalidTargets invalid_targets = InvalidTargets::kIgnore;
};

// Labels and predictions are `[images, boxes, width]`.
struct SsdShape {
  int64_t images;
  int64_t boxes;
  int64_t width;
};

// Bits of a box in the selection, which is all that the backward pass needs to know of mining.
enum SsdSelection : uint8_t {
  kSsdPositive = 1,
  kSsdKept = 2,
  kSsdInvalid = 4,
};

}  // namespace detloss

#endif  // DETLOSS_CC_SSD_LOSS_OPTIONS_H_
