#include <cstdlib>
#include <string>

#include "cc/cpu_tier.h"
#include "tests/cc/check.h"

namespace detloss {

TEST(EveryTierContainsTheOneBelow) {
  CHECK(CpuSupports(CpuTier::kBaseline));
  CHECK(!CpuSupports(CpuTier::kX86_64_v4) || CpuSupports(CpuTier::kX86_64_v3));
}

TEST(TiersHaveTheNamesOfThePsAbi) {
  CHECK_EQUAL(std::string(CpuTierName(CpuTier::kBaseline)), "baseline");
  CHECK_EQUAL(std::string(CpuTierName(CpuTier::kX86_64_v3)), "x86-64-v3");
  CHECK_EQUAL(std::string(CpuTierName(CpuTier::kX86_64_v4)), "x86-64-v4");
}

TEST(TheBestSupportedTierUpToTheLimitIsChosen) {
  const char* limit = std::getenv("DETLOSS_CPU_TIER");
  CpuTier want = CpuTier::kBaseline;
  for (CpuTier tier : kCpuTiers) {
    if (CpuSupports(tier)) want = tier;
    if (limit != nullptr && std::string(limit) == CpuTierName(tier)) break;
  }
  CHECK_EQUAL(std::string(CpuTierName(ChosenCpuTier())), CpuTierName(want));
  CHECK(CpuSupports(ChosenCpuTier()));
}

}  // namespace detloss
