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
  const auto choose = [](const char* limit, CpuTier best) {
    CpuTier chosen;
    CHECK(ChooseCpuTier(limit, best, &chosen).ok());
    return std::string(CpuTierName(chosen));
  };
  for (CpuTier best : kCpuTiers) {
    CHECK_EQUAL(choose(nullptr, best), CpuTierName(best));
    for (CpuTier limit : kCpuTiers) {
      CHECK_EQUAL(choose(CpuTierName(limit), best), CpuTierName(limit < best ? limit : best));
    }
  }
}

TEST(AnUnknownTierIsRefused) {
  const auto refusal = [](const char* limit) {
    CpuTier chosen;
    return ChooseCpuTier(limit, CpuTier::kX86_64_v4, &chosen).message();
  };
  const std::string expected = "DETLOSS_CPU_TIER: expected one of 'baseline', 'x86-64-v3', 'x86-64-v4', got ";
  CHECK_EQUAL(refusal("avx2"), expected + "'avx2'");
  CHECK_EQUAL(refusal("x86-64-v3 "), expected + "'x86-64-v3 '");
  CHECK_EQUAL(refusal(""), expected + "''");
}

TEST(TheChosenTierIsSupportedAndNoBetterThanTheEnvironmentSays) {
  const char* limit = std::getenv("DETLOSS_CPU_TIER");
  CHECK(CheckCpuTier().ok());
  CHECK(CpuSupports(ChosenCpuTier()));
  CHECK(limit == nullptr || std::string(CpuTierName(ChosenCpuTier())) <= limit);  // the names are in order
}

}  // namespace detloss
