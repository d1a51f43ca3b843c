#include "cc/cpu_tier.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

namespace detloss {
namespace {

constexpr char kVariable[] = "DETLOSS_CPU_TIER";

CpuTier BestSupportedTier() {
  CpuTier best = CpuTier::kBaseline;
  for (CpuTier tier : kCpuTiers) {
    if (CpuSupports(tier)) best = tier;
  }
  return best;
}

struct Choice {
  Choice() : status(ChooseCpuTier(std::getenv(kVariable), BestSupportedTier(), &tier)) {}

  CpuTier tier = CpuTier::kBaseline;
  Status status;
};

const Choice& TheChoice() {
  static const auto& choice = *new Choice();
  return choice;
}

}  // namespace

const char* CpuTierName(CpuTier tier) {
  switch (tier) {
    case CpuTier::kBaseline:
      return "baseline";
    case CpuTier::kX86_64_v3:
      return "x86-64-v3";
    case CpuTier::kX86_64_v4:
      return "x86-64-v4";
  }
  return "unknown";
}

bool CpuSupports(CpuTier tier) {
#if defined(__x86_64__)
  // The features that the kernels' compilation may use; the operating system must save their registers, which
  // __builtin_cpu_supports checks too.
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c") &&
                  __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("lzcnt") &&
                  __builtin_cpu_supports("movbe") && __builtin_cpu_supports("popcnt");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
#else
  const bool v3 = false, v4 = false;
#endif
  return tier == CpuTier::kBaseline || (tier == CpuTier::kX86_64_v3 && v3) || (tier == CpuTier::kX86_64_v4 && v4);
}

Status ChooseCpuTier(const char* limit, CpuTier best, CpuTier* chosen) {
  *chosen = best;
  if (limit == nullptr) return Status::Ok();
  std::string names;
  for (CpuTier tier : kCpuTiers) {
    if (std::strcmp(limit, CpuTierName(tier)) == 0) {
      *chosen = std::min(tier, best);
      return Status::Ok();
    }
    names += (names.empty() ? "'" : ", '") + std::string(CpuTierName(tier)) + "'";
  }
  return Status::InvalidArgument(std::string(kVariable) + ": expected one of " + names + ", got '" + limit + "'");
}

CpuTier ChosenCpuTier() { return TheChoice().tier; }

Status CheckCpuTier() { return TheChoice().status; }

}  // namespace detloss
