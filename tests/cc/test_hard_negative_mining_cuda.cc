// The CUDA kernels, emulated (tests/cc/simt), against sorting.
#include <cstdint>
#include <vector>

#include "cc/hard_negative_mining.h"
#include "tests/cc/check.h"
#include "tests/cc/dtype_values.h"
#include "tests/cc/guarded_buffer.h"
#include "tests/cc/mining_checks.h"
#include "tests/cc/random.h"

namespace detloss {
namespace {

struct MineOnDevice {
  template <class T>
  Mask operator()(const MiningOptions& options, const MiningCase<T>& mining) const {
    const GuardedBuffer<uint8_t> mask(mining.images * mining.boxes);
    const GuardedBuffer<char> workspace(
        static_cast<int64_t>(HardNegativeMiningDeviceWorkspaceBytes<T>(options, mining.images, mining.boxes)));
    const Status status =
        HardNegativeMining(options, mining.images, mining.boxes, mining.negative_loss.data(), mining.n_positive.data(),
                           reinterpret_cast<bool*>(mask.data()), workspace.data(), DeviceStream{nullptr});
    return {status, mask.values()};
  }
};

}  // namespace

TEST(MinesAsSortingDoes) { CheckAllSizes({{1, 1}, {3, 1}, {1, 31}, {2, 33}, {5, 100}}, MineOnDevice()); }

TEST(MinesNothingOutOfNothing) { CheckAllSizes({{0, 0}, {0, 5}, {2, 0}}, MineOnDevice()); }

// More images than a block has threads.
TEST(MinesManyImages) {
  Random random(6);
  for (const Distribution& distribution : Distributions()) {
    const check::Context named(distribution.name);
    for (MiningScope scope : kAllScopes) {
      CheckAgainstPlain({scope, 3, 1}, RandomCase<float>(300, 2, distribution, random), MineOnDevice());
    }
  }
}

// A block counts 1024 keys, and finds among the counts of 256 blocks at a time where ties end.
TEST(MinesLargeBatches) {
  Random random(4);
  for (const Distribution& distribution : Distributions()) {
    const check::Context named(distribution.name);
    CheckAgainstPlain({MiningScope::kBatch, 3, 0}, RandomCase<float>(4, 5001, distribution, random), MineOnDevice());
    CheckAgainstPlain({MiningScope::kImage, 0.5f, 10}, RandomCase<Half>(3, 5000, distribution, random), MineOnDevice());
    CheckAgainstPlain({MiningScope::kImageUniform, 2, 10}, RandomCase<double>(2, 3000, distribution, random),
                      MineOnDevice());
  }
  CheckAgainstPlain({MiningScope::kBatch, 1, 0}, RandomCase<float>(3, 100001, Distributions()[1], random),
                    MineOnDevice());
}

TEST(TiesGoToTheLowestIndex) {
  const MiningCase<float> mining = {2, 4, {1, 2, 2, 0, 2, 3, 1, 2}, {1, 0}};
  CHECK_BITS_EQUAL(MineOnDevice()({MiningScope::kBatch, 3, 0}, mining).kept,
                   (std::vector<uint8_t>{0, 1, 1, 0, 0, 1, 0, 0}));
  CHECK_BITS_EQUAL(MineOnDevice()({MiningScope::kImage, 2, 2}, mining).kept,
                   (std::vector<uint8_t>{0, 1, 1, 0, 1, 1, 0, 0}));
}

}  // namespace detloss
