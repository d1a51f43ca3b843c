// Hard negative mining: which k boxes of a batch or of an image have the largest keys, lowest index first among equals.
#ifndef DETLOSS_CC_HARD_NEGATIVE_MINING_H_
#define DETLOSS_CC_HARD_NEGATIVE_MINING_H_

#include <cstddef>
#include <cstdint>

#include "cc/device_stream.h"
#include "cc/dtypes.h"
#include "cc/executor.h"
#include "cc/mining_cut.h"
#include "cc/status.h"

namespace detloss {

Status CheckMiningOptions(const MiningOptions& options);
Status CheckMiningShape(int64_t images, int64_t boxes);

// Bytes that FindMiningCuts needs, aligned to 64.
template <class Key>
size_t MiningWorkspaceBytes(int64_t images, int64_t boxes);

// Finds a cut for every image (all equal with batch scope). `keys` are OrderedKey of `[images, boxes]`; `n_positive`
// and `n_candidates` count per image.
template <class Key>
void FindMiningCuts(const MiningOptions& options, int64_t images, int64_t boxes, const Key* keys,
                    const double* n_positive, const int64_t* n_candidates, MiningCut<Key>* cuts, void* workspace,
                    Executor& executor);

// On a device there is a cut for every scope: one with batch scope, else one per image. Every byte of the workspace is
// zero beforehand.
template <class Key>
size_t DeviceMiningWorkspaceBytes(const MiningOptions& options, int64_t images, int64_t boxes);
template <class Key>
Status FindMiningCuts(const MiningOptions& options, int64_t images, int64_t boxes, const Key* keys,
                      const double* n_positive, const int64_t* n_candidates, MiningCut<Key>* cuts, void* workspace,
                      DeviceStream stream);

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
