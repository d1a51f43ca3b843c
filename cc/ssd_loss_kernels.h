// Loops over boxes of the SSD loss, compiled once per CPU tier.
#ifndef DETLOSS_CC_SSD_LOSS_KERNELS_H_
#define DETLOSS_CC_SSD_LOSS_KERNELS_H_

#include <cstdint>

#include "cc/cpu_tier.h"
#include "cc/dtypes.h"
#include "cc/hard_negative_mining.h"
#include "cc/ssd_loss.h"
#include "cc/ssd_row.h"

namespace detloss {

// Sums over a block of boxes of one image. Blocks are fixed and their sums are added in order, so that no result
// depends on the threads.
struct SsdBlockSums {
  double positive = 0;
  double negative = 0;
  double localization = 0;
  double n_pos = 0;
  int64_t n_kept = 0;
  int64_t n_candidates = 0;
  int64_t num_invalid = 0;
  int64_t first_invalid = -1;  // box within the block
  int64_t num_misplaced = 0;   // boxes without a class, but with a one-hot label behind their class columns
  bool is_nan = false;         // a positive or a candidate has NaN as its cross-entropy or key
};

template <class T>
struct SsdForwardBlock {
  const SsdLossOptions* options;  // with a resolved layout
  int64_t boxes;
  int64_t width;
  const Compute<T>* y_true;
  const T* y_pred;
  Bits<Compute<T>>* keys;
  Compute<T>* cross_entropy;
  uint8_t* selection;
  SsdBlockSums* sums;
};

template <class L>
struct SsdKeepBlock {
  int64_t boxes;
  int64_t first_box;  // its flat index
  MiningCut<Bits<L>> cut;
  const Bits<L>* keys;
  const L* cross_entropy;
  uint8_t* selection;
  SsdBlockSums* sums;
};

template <class T>
struct SsdBackwardRows {
  const SsdLossOptions* options;  // with a resolved layout
  SsdShape shape;
  int64_t begin, end;  // boxes, by flat index
  bool stream;         // whether the gradient is too large to be worth caching
  const Compute<T>* y_true;
  const T* y_pred;
  const uint8_t* selection;
  const SsdScales<Compute<T>>* scales;
  T* gradient;
};

template <class T>
struct SsdLossKernels {
  // Cross-entropy and key of every box, and the sums over positives.
  void (*forward)(const SsdForwardBlock<T>&);
  // Marks and sums what mining keeps.
  void (*keep)(const SsdKeepBlock<Compute<T>>&);
  void (*backward)(const SsdBackwardRows<T>&);
};

DETLOSS_DECLARE_PER_TIER(const SsdLossKernels<float> kSsdLossFloat)
DETLOSS_DECLARE_PER_TIER(const SsdLossKernels<double> kSsdLossDouble)
DETLOSS_DECLARE_PER_TIER(const SsdLossKernels<Half> kSsdLossHalf)
DETLOSS_DECLARE_PER_TIER(const SsdLossKernels<BFloat16> kSsdLossBFloat16)

}  // namespace detloss

#endif  // DETLOSS_CC_SSD_LOSS_KERNELS_H_
