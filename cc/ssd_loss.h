// The SSD loss with hard negative mining, and its gradient. Semantics: the docstring of detloss.ssd_loss.
#ifndef DETLOSS_CC_SSD_LOSS_H_
#define DETLOSS_CC_SSD_LOSS_H_

#include <cstddef>
#include <cstdint>

#include "cc/device_stream.h"
#include "cc/dtypes.h"
#include "cc/executor.h"
#include "cc/hard_negative_mining.h"
#include "cc/ssd_layout.h"
#include "cc/status.h"

namespace detloss {

enum class RankBy {
  kLoss,        // cross-entropy
  kForeground,  // largest foreground probability
};

enum class Normalizer {
  kBatch,          // B / max(1, positives of the batch)
  kImage,          // 1 / max(1, positives of the image)
  kImageSelected,  // confidence: 1 / (positives + kept), localization: 1 / max(1, positives), of the image
};

struct SsdLossOptions {
  SsdLayout layout;
  MiningOptions mining;
  RankBy rank_by = RankBy::kLoss;
  Normalizer normalizer = Normalizer::kBatch;
  float alpha = 1;
  bool from_logits = false;
  bool invalid_is_error = false;
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

// Per image, but for the selection, which is `[images, boxes]`. `positive`, `negative` and `localization` add up to the
// loss.
template <class L>
struct SsdLossOutputs {
  L* loss;
  L* positive;
  L* negative;
  L* localization;
  L* n_pos;
  L* n_kept;
  int32_t* num_invalid;
  uint8_t* selection;
};

template <class T>
size_t SsdLossWorkspaceBytes(const SsdShape& shape);

template <class T>
Status SsdLossForward(const SsdLossOptions& options, const SsdShape& shape, const Compute<T>* y_true, const T* y_pred,
                      const SsdLossOutputs<Compute<T>>& outputs, void* workspace, Executor& executor);

// What the forward pass left for the backward pass, beside labels and predictions.
template <class L>
struct SsdLossResiduals {
  const L* n_pos;
  const L* n_kept;
  const uint8_t* selection;
};

template <class T>
size_t SsdLossGradWorkspaceBytes(const SsdShape& shape);

// Writes all of `gradient[images, boxes, width]`.
template <class T>
Status SsdLossBackward(const SsdLossOptions& options, const SsdShape& shape, const Compute<T>* loss_gradient,
                       const Compute<T>* y_true, const T* y_pred, const SsdLossResiduals<Compute<T>>& residuals,
                       T* gradient, void* workspace, Executor& executor);

// The same on a device, where `invalid_is_error` is refused: nothing is known there before the work is done.
template <class T>
size_t SsdLossDeviceWorkspaceBytes(const SsdLossOptions& options, const SsdShape& shape);
template <class T>
Status SsdLossForward(const SsdLossOptions& options, const SsdShape& shape, const Compute<T>* y_true, const T* y_pred,
                      const SsdLossOutputs<Compute<T>>& outputs, void* workspace, DeviceStream stream);
template <class T>
Status SsdLossBackward(const SsdLossOptions& options, const SsdShape& shape, const Compute<T>* loss_gradient,
                       const Compute<T>* y_true, const T* y_pred, const SsdLossResiduals<Compute<T>>& residuals,
                       T* gradient, DeviceStream stream);

}  // namespace detloss

#endif  // DETLOSS_CC_SSD_LOSS_H_
