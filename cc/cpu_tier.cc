#include "cc/cpu_tier.h"

#include <cstdlib>
#include <cstring>

namespace detloss {
namespace {

CpuTier Choose() {
  const char* limit = std::getenv("DETLOSS_CPU_TIER");
  CpuTier chosen = CpuTier::kBaseline;
  for (CpuTier tier : kCpuTiers) {
    if (CpuSupports(tier)) chosen = tier;
    if (limit != nullptr && std::strcmp(limit, CpuTierName(tier)) == 0) break;
  }
  return chosen;
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
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                  __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
#else
  const bool v3 = false, v4 = false;
#endif
  return tier == CpuTier::kBaseline || (tier == CpuTier::kX86_64_v3 && v3) || (tier == CpuTier::kX86_64_v4 && v4);
}

CpuTier ChosenCpuTier() {
  static const CpuTier chosen = Choose();
  return chosen;
}

}  // namespace detloss
