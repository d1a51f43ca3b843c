// Hard negative mining: which k boxes of a batch or of an image have the largest keys, lowest index first among equals.
#ifndef DETLOSS_CC_HARD_NEGATIVE_MINING_H_
#define DETLOSS_CC_HARD_NEGATIVE_MINING_H_

#include <cstddef>
#include <cstdint>

#include "cc/device_stream.h"
#include "cc/dtypes.h"
#include "cc/executor.h"
#include "cc/platform.h"
#include "cc/status.h"

namespace detloss {

enum class MiningScope {
  kBatch,         // the batch is mined as one
  kImage,         // every image by itself
  kImageUniform,  // every image keeps the same number, out of all its boxes
};

struct MiningOptions {
  MiningScope scope = MiningScope::kBatch;
  float neg_pos_ratio = 3;
  int64_t n_neg_min = 0;
};

Status CheckMiningOptions(const MiningOptions& options);

// Key of a box that is never kept, below OrderedKey of every number.
template <class Key>
constexpr Key kNeverKept = 0;

// The result of mining a scope: boxes with a larger key are kept, and those with this key up to this flat index.
template <class Key>
struct MiningCut {
  Key key = ~Key(0);
  int64_t last_index = -1;

  DETLOSS_INLINE bool Keeps(Key candidate, int64_t flat_index) const {
    return candidate > key || (candidate == key && flat_index <= last_index);
  }
};

// Bytes that FindMiningCuts needs, aligned to 64.
template <class Key>
size_t MiningWorkspaceBytes(int64_t images, int64_t boxes);

// Finds a cut for every image (all equal with batch scope). `keys` are OrderedKey of `[images, boxes]`; `n_positive`
// and `n_candidates` count per image.
template <class Key>
void FindMiningCuts(const MiningOptions& options, int64_t images, int64_t boxes, const Key* keys,
                    const double* n_positive, const int64_t* n_candidates, MiningCut<Key>* cuts, void* workspace,
                    Executor& executor);

// Mining as an op of its own: `mask[images, boxes]` of the kept boxes, from their losses (zero: no candidate).
template <class T>
size_t HardNegativeMiningWorkspaceBytes(int64_t images, int64_t boxes);
template <class T>
Status HardNegativeMining(const MiningOptions& options, int64_t images, int64_t boxes, const T* negative_loss,
                          const Compute<T>* n_positive, bool* mask, void* workspace, Executor& executor);

// The same on a device, where `n_positive` is not checked.
template <class T>
size_t HardNegativeMiningDeviceWorkspaceBytes(const MiningOptions& options, int64_t images, int64_t boxes);
template <class T>
Status HardNegativeMining(const MiningOptions& options, int64_t images, int64_t boxes, const T* negative_loss,
                          const Compute<T>* n_positive, bool* mask, void* workspace, DeviceStream stream);

}  // namespace detloss

#endif  // DETLOSS_CC_HARD_NEGATIVE_MINING_H_
