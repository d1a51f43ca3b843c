// The SSD loss with hard negative mining, and its gradient. Semantics: the docstring of detloss.ssd_loss.
#ifndef DETLOSS_CC_SSD_LOSS_H_
#define DETLOSS_CC_SSD_LOSS_H_

#include <cstddef>
#include <cstdint>

#include "cc/device_stream.h"
#include "cc/dtypes.h"
#include "cc/executor.h"
#include "cc/ssd_loss_options.h"
#include "cc/status.h"

namespace detloss {

// Checks what can be said of the options when a graph is built, before the shape is known.
Status CheckSsdOptions(const SsdLossOptions& options);
// Unknown dimensions are negative.
Status CheckSsdShape(const SsdShape& shape);
// Checks both, and fills in what the options' layout leaves to the width of the rows. Images and boxes may be unknown.
Status ResolveSsdOptions(const SsdLossOptions& options, const SsdShape& shape, SsdLossOptions* resolved);

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

// Warns of invalid labels, and of rows that do not look like the layout that was guessed from their width.
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

// The same on a device, where InvalidTargets::kError is refused and nothing is warned of: nothing is known there before
// the work is done.
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
