// Which compilation of the CPU kernels runs on this machine.
#ifndef DETLOSS_CC_CPU_TIER_H_
#define DETLOSS_CC_CPU_TIER_H_

#include <array>

#include "cc/status.h"

namespace detloss {

enum class CpuTier { kBaseline, kX86_64_v3, kX86_64_v4 };

constexpr std::array<CpuTier, 3> kCpuTiers = {CpuTier::kBaseline, CpuTier::kX86_64_v3, CpuTier::kX86_64_v4};

const char* CpuTierName(CpuTier tier);

bool CpuSupports(CpuTier tier);

// The tier that `limit` allows (null: any) of those up to `best`. A limit above `best` is none.
Status ChooseCpuTier(const char* limit, CpuTier best, CpuTier* chosen);

// The best that the processor supports, but no better than the environment variable DETLOSS_CPU_TIER says, if it is
// set. Chosen once.
CpuTier ChosenCpuTier();

// Whether the variable is unset or names a tier. With another value kernels refuse to run.
Status CheckCpuTier();

// Kernel sources are compiled once per tier, each into a namespace of that name. These two declare a table of such
// kernels in every namespace, and pick the table of a tier.
#define DETLOSS_DECLARE_PER_TIER(declaration) \
  namespace baseline {                        \
  extern declaration;                         \
  }                                           \
  namespace x86_64_v3 {                       \
  extern declaration;                         \
  }                                           \
  namespace x86_64_v4 {                       \
  extern declaration;                         \
  }
#define DETLOSS_PICK_PER_TIER(tier, name)                       \
  ((tier) == ::detloss::CpuTier::kX86_64_v4   ? x86_64_v4::name \
   : (tier) == ::detloss::CpuTier::kX86_64_v3 ? x86_64_v3::name \
                                              : baseline::name)

}  // namespace detloss

#endif  // DETLOSS_CC_CPU_TIER_H_
