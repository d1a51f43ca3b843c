#include <cuda_runtime.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "cc/launch.h"
#include "tests/cc/check.h"

namespace detloss {
namespace {

constexpr unsigned kAll = 0xffffffffu;

struct Ending {
  int signal;
  std::string message;  // on stderr
};

// How a process of its own ends.
template <class F>
Ending EndingOf(const F& run) {
  int ends[2];
  Ending ending = {0, ""};
  if (pipe(ends) != 0) return ending;
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    const rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    alarm(60);
    dup2(ends[1], STDERR_FILENO);
    run();
    _exit(0);
  }
  close(ends[1]);
  char text[256];
  for (ssize_t bytes; (bytes = read(ends[0], text, sizeof(text))) > 0;) ending.message.append(text, bytes);
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) ending.signal = WTERMSIG(status);
  return ending;
}

// The kernel, run in two blocks, aborts; the message names the thread and goes on as expected.
template <class F>
void CheckMisuse(int threads, const F& kernel, const std::string& expected) {
  const Ending ending = EndingOf([&] { simt::Launch(2, threads, kernel); });
  const check::Context context("message " + ending.message);
  CHECK_EQUAL(ending.signal, SIGABRT);
  CHECK_EQUAL(ending.message.rfind("simt: block ", 0), size_t{0});
  CHECK(ending.message.find(expected) != std::string::npos);
}

// The order in which the threads of a block come to a place.
std::vector<unsigned> ThreadOrder(int threads) {
  std::vector<unsigned> order;
  simt::Launch(1, threads, [&] { order.push_back(threadIdx.x); });
  return order;
}

std::vector<unsigned> BlockOrder(unsigned blocks) {
  std::vector<unsigned> order;
  simt::Launch(blocks, 1, [&] { order.push_back(blockIdx.x); });
  return order;
}

bool IsPermutation(std::vector<unsigned> order, size_t count) {
  std::sort(order.begin(), order.end());
  for (size_t i = 0; i < order.size(); ++i) {
    if (order[i] != i) return false;
  }
  return order.size() == count;
}

template <class T>
__device__ __forceinline__ T SumOfWarp(T value) {
  for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(kAll, value, lanes);
  return value;
}

// The usual reduction: shuffles within warps, shared memory across them.
template <class T>
__global__ void __launch_bounds__(1024) SumOfBlock(const T* __restrict__ values, int count, T* sums) {
  __shared__ T partial[32];
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const T sum = SumOfWarp(i < count ? __ldg(values + i) : T(0));
  if (threadIdx.x % warpSize == 0) partial[threadIdx.x / warpSize] = sum;
  __syncthreads();
  if (threadIdx.x < warpSize) {
    const T total = SumOfWarp(threadIdx.x < blockDim.x / warpSize ? partial[threadIdx.x] : T(0));
    if (threadIdx.x == 0) sums[blockIdx.x] = total;
  }
}

template <class T>
void CheckSums(int threads) {
  std::vector<T> values(5000), sums((values.size() + threads - 1) / threads), expected(sums.size());
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<T>(i % 97);
    expected[i / threads] += values[i];
  }
  const Status status = Launch("sum", SumOfBlock<T>, static_cast<int64_t>(sums.size()), threads, nullptr, values.data(),
                               static_cast<int>(values.size()), sums.data());
  CHECK(status.ok());
  CHECK_BITS_EQUAL(sums, expected);
}

// Where lane `lane` of a shuffle reads, as CUDA's guide has it.
int SourceOf(char kind, int lane, int argument, int width) {
  const int first = lane / width * width, last = first + width - 1;
  switch (kind) {
    case 'i':
      return first + ((argument % width) + width) % width;
    case 'u':
      return lane - argument >= first ? lane - argument : lane;
    case 'd':
      return lane + argument <= last ? lane + argument : lane;
    default:
      return (lane ^ argument) <= last ? lane ^ argument : lane;
  }
}

template <class T>
void CheckShuffles() {
  for (int width : {1, 2, 4, 8, 16, 32}) {
    for (int argument : {0, 1, 2, 5, 16, 31}) {
      const check::Context context("width " + check::Show(width) + ", argument " + check::Show(argument));
      simt::Launch(2, 64, [&] {
        const int lane = static_cast<int>(threadIdx.x % warpSize);
        const auto value_of = [](int of) { return static_cast<T>(1000003) * static_cast<T>(of + 1); };
        const T value = value_of(lane);
        CHECK_EQUAL(__shfl_sync(kAll, value, argument, width), value_of(SourceOf('i', lane, argument, width)));
        CHECK_EQUAL(__shfl_up_sync(kAll, value, argument, width), value_of(SourceOf('u', lane, argument, width)));
        CHECK_EQUAL(__shfl_down_sync(kAll, value, argument, width), value_of(SourceOf('d', lane, argument, width)));
        CHECK_EQUAL(__shfl_xor_sync(kAll, value, argument, width), value_of(SourceOf('x', lane, argument, width)));
      });
    }
  }
}

}  // namespace

TEST(EveryThreadOfEveryBlockRunsOnce) {
  for (int threads : {1, 31, 32, 33, 256, 1000, 1024, 64}) {
    const check::Context context(check::Show(threads) + " threads");
    std::vector<int> runs(7 * threads);
    simt::Launch(7, threads, [&] {
      CHECK_EQUAL(gridDim.x, 7u);
      CHECK_EQUAL(blockDim.x, static_cast<unsigned>(threads));
      CHECK_EQUAL(blockDim.y + blockDim.z + gridDim.y + gridDim.z, 4u);
      CHECK_EQUAL(threadIdx.y + threadIdx.z + blockIdx.y + blockIdx.z, 0u);
      ++runs[blockIdx.x * blockDim.x + threadIdx.x];
    });
    CHECK_BITS_EQUAL(runs, std::vector<int>(runs.size(), 1));
  }
}

TEST(BlocksRunInAnotherOrderAtEachLaunch) {
  simt::SetSeed(1);
  const std::vector<unsigned> first = BlockOrder(100), second = BlockOrder(100);
  CHECK(IsPermutation(first, 100));
  CHECK(IsPermutation(second, 100));
  CHECK(first != second);
  simt::SetSeed(1);
  CHECK_BITS_EQUAL(BlockOrder(100), first);
  CHECK_BITS_EQUAL(BlockOrder(100), second);
  simt::SetSeed(2);
  CHECK(BlockOrder(100) != first);
}

TEST(ThreadsRunInAnotherOrderAtEachLaunch) {
  for (size_t threads : {2, 64, 200}) {
    simt::SetSeed(1);
    const std::vector<unsigned> first = ThreadOrder(static_cast<int>(threads));
    CHECK(IsPermutation(first, threads));
    bool differs = false;
    for (int launch = 0; launch < 20; ++launch) differs |= ThreadOrder(static_cast<int>(threads)) != first;
    CHECK(differs);
  }
}

TEST(BarriersHoldBackEveryThread) {
  for (int threads : {1, 31, 32, 33, 256, 1000, 1024}) {
    const check::Context context(check::Show(threads) + " threads");
    simt::Launch(3, threads, [&] {
      __shared__ int shared[1024];
      const int self = static_cast<int>(threadIdx.x);
      for (int step = 0; step < 4; ++step) {
        shared[self] = 10 * self + step;
        __syncthreads();
        const int other = (self + 37) % threads;
        CHECK_EQUAL(shared[other], 10 * other + step);
        __syncthreads();
      }
    });
  }
}

// Warps take turns at random between their operations, too.
TEST(AMissingBarrierShows) {
  bool before = false, after = false, between = false;
  for (int launch = 0; launch < 50; ++launch) {
    simt::Launch(1, 64, [&] {
      __shared__ int shared;
      if (threadIdx.x == 0) shared = 1;
      __syncthreads();
      if (threadIdx.x == 0) shared = 2;
      __syncwarp();
      if (threadIdx.x == 0) shared = 3;
      if (threadIdx.x == 32) {
        before |= shared == 1;
        between |= shared == 2;
        after |= shared == 3;
      }
    });
  }
  CHECK(before);
  CHECK(between);
  CHECK(after);
}

TEST(BarriersTellForHowManyThreadsThePredicateHolds) {
  for (int threads : {1, 33, 256}) {
    for (int which : {0, 1, 7, 255, 256}) {
      const check::Context context(check::Show(threads) + " threads, " + check::Show(which));
      const int below = std::min(threads, which);
      simt::Launch(2, threads, [&] {
        const int self = static_cast<int>(threadIdx.x);
        CHECK_EQUAL(__syncthreads_count(self < which ? 4 : 0), below);
        CHECK_EQUAL(__syncthreads_or(self < which), static_cast<int>(below > 0));
        CHECK_EQUAL(__syncthreads_and(self < which), static_cast<int>(below == threads));
        CHECK_EQUAL(__syncthreads_count(self >= which), threads - below);
      });
    }
  }
}

TEST(ShufflesReadTheLaneThatTheyName) {
  CheckShuffles<int>();
  CheckShuffles<unsigned>();
  CheckShuffles<float>();
  CheckShuffles<double>();
  CheckShuffles<unsigned long long>();
}

TEST(VotesGatherTheLanesOfTheMask) {
  simt::Launch(2, 96, [&] {
    const unsigned lane = threadIdx.x % warpSize;
    CHECK_EQUAL(__ballot_sync(kAll, lane % 3 == 0 ? 12 : 0), 0x49249249u);
    CHECK_EQUAL(__any_sync(kAll, lane == 31), 1);
    CHECK_EQUAL(__any_sync(kAll, 0), 0);
    CHECK_EQUAL(__all_sync(kAll, 2), 1);
    CHECK_EQUAL(__all_sync(kAll, lane != 5), 0);
    // Halves of a warp on ways of their own.
    if (lane < 16) {
      CHECK_EQUAL(__ballot_sync(0xffffu, lane > 7), 0xff00u);
    } else {
      for (int i = 0; i < 3; ++i) CHECK_EQUAL(__ballot_sync(0xffff0000u, lane > 29), 0xc0000000u);
    }
    __syncwarp();
  });
}

TEST(MasksThatOverlapAreServedInTurn) {
  for (int launch = 0; launch < 20; ++launch) {
    simt::Launch(1, 3, [&] {
      const int self = static_cast<int>(threadIdx.x);
      if (self > 0) CHECK_EQUAL(__shfl_sync(0b110u, self, 2), 2);
      if (self < 2) CHECK_EQUAL(__shfl_sync(0b011u, self, 0), 0);
    });
  }
}

TEST(TheLastWarpOfABlockMayBeShort) {
  simt::Launch(2, 40, [&] {
    const unsigned mask = threadIdx.x < 32 ? kAll : 0xffu;
    CHECK_EQUAL(__ballot_sync(mask, 1), mask);
    CHECK_EQUAL(__all_sync(mask, 1), 1);
    CHECK_EQUAL(__shfl_xor_sync(mask, threadIdx.x, 7), threadIdx.x ^ 7);
  });
}

TEST(KernelsOfTheUsualKindAddUp) {
  for (int threads : {32, 64, 256, 1024}) {
    const check::Context context(check::Show(threads) + " threads");
    CheckSums<int>(threads);
    CheckSums<float>(threads);
    CheckSums<double>(threads);
  }
}

TEST(LaunchesAndMemsetsAnswerAsOnADevice) {
  CHECK(Launch("sum", SumOfBlock<int>, 0, 32, nullptr, static_cast<const int*>(nullptr), 0, static_cast<int*>(nullptr))
            .ok());
  CHECK(!Launch("sum", SumOfBlock<int>, int64_t{1} << 31, 32, nullptr, static_cast<const int*>(nullptr), 0,
                static_cast<int*>(nullptr))
             .ok());
  std::vector<int> values(5, 3);
  CHECK(SetToZero(values.data(), 4 * sizeof(int), nullptr).ok());
  CHECK_BITS_EQUAL(values, (std::vector<int>{0, 0, 0, 0, 3}));
}

TEST(AtomicsLoseNothing) {
  int sum = 0, smallest = 1000, largest = -1000;
  unsigned bits = 0, wrapped = 0xfffffff0u;
  unsigned long long wide = 1ull << 40, top = 0;
  std::vector<unsigned> tickets;
  unsigned next = 0;
  simt::Launch(4, 100, [&] {
    const int self = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x) - 200;
    atomicAdd(&sum, self);
    atomicAdd(&wrapped, 1);
    atomicAdd(&wide, 3);
    atomicOr(&bits, 1u << (threadIdx.x % 20));
    atomicMin(&smallest, self);
    atomicMax(&largest, self);
    atomicMax(&top, 1ull << (threadIdx.x % 50));
    tickets.push_back(atomicAdd(&next, 1u));
  });
  CHECK_EQUAL(sum, -200);
  CHECK_EQUAL(wrapped, 384u);
  CHECK_EQUAL(wide, (1ull << 40) + 1200);
  CHECK_EQUAL(bits, 0xfffffu);
  CHECK_EQUAL(smallest, -200);
  CHECK_EQUAL(largest, 199);
  CHECK_EQUAL(top, 1ull << 49);
  CHECK(IsPermutation(tickets, 400));
}

TEST(BitsAreCountedAsOnADevice) {
  CHECK_EQUAL(__popc(0xf0f0u), 8);
  CHECK_EQUAL(__popcll(0xf0f00000000000ffull), 16);
  CHECK_EQUAL(__ffs(0), 0);
  CHECK_EQUAL(__ffs(0x50), 5);
  CHECK_EQUAL(__clz(0), 32);
  CHECK_EQUAL(__clz(1), 31);
  CHECK_EQUAL(__clz(-1), 0);
  CHECK_EQUAL(__clzll(0), 64);
  CHECK_EQUAL(__clzll(1ll << 40), 23);
}

TEST(LoadsAndStoresOfVectorsMoveThemWhole) {
  const uint4 words[2] = {make_uint4(1, 2, 3, 4), make_uint4(5, 6, 7, 8)};
  uint4 copy = __ldcs(words + 1);
  CHECK_EQUAL(copy.x + 10 * copy.y + 100 * copy.z + 1000 * copy.w, 8765u);
  __stcs(&copy, __ldcg(words));
  CHECK_EQUAL(copy.x + 10 * copy.y + 100 * copy.z + 1000 * copy.w, 4321u);
  const float4 values = make_float4(1, 2, 3, 4);
  CHECK_EQUAL(values.x + values.y + values.z + values.w, 10.0f);
  CHECK_EQUAL(alignof(float4), alignof(uint4));
  CHECK_EQUAL(alignof(float4), size_t{16});
}

// Nor what the block before has left, nor zeros.
TEST(SharedMemoryIsGarbageWhenABlockStarts) {
  simt::Launch(3, 32, [&] {
    __shared__ float values[32];
    __shared__ unsigned count;
    CHECK(values[threadIdx.x] != values[threadIdx.x]);
    CHECK_EQUAL(count, 0xffffffffu);
    __syncthreads();
    values[threadIdx.x] = 1;
    count = blockIdx.x + 1;
  });
}

TEST(ThreadsHaveStacksOfTheirOwn) {
  simt::Launch(2, 256, [&] {
    volatile unsigned local[8000];
    for (unsigned i = 0; i < 8000; i += 500) local[i] = threadIdx.x + i;
    __syncthreads();
    for (unsigned i = 0; i < 8000; i += 500) CHECK_EQUAL(local[i], threadIdx.x + i);
  });
}

TEST(WaitingForAThreadThatDoesNotComeAborts) {
  const auto is_seven = [] { return threadIdx.x == 7; };
  CheckMisuse(
      64,
      [&] {
        if (!is_seven()) __syncthreads();
      },
      "waits at __syncthreads for thread 7, which has returned");
  CheckMisuse(
      64, [&] { is_seven() ? (void)__syncthreads_or(1) : __syncthreads(); },
      "waits at __syncthreads for thread 7, which waits at __syncthreads_or");
  CheckMisuse(
      64,
      [&] {
        if (is_seven()) __syncwarp(0x81u);
        __syncthreads();
      },
      "thread 0: waits at __syncthreads for thread 7, which waits at __syncwarp with mask 0x00000081");
  CheckMisuse(
      64,
      [&] {
        if (threadIdx.x > 31) __syncthreads();
      },
      "thread 32: waits at __syncthreads for thread 0, which has returned");
}

TEST(LanesOfOneMaskInDifferentOperationsAbort) {
  const auto is_seven = [] { return threadIdx.x == 7; };
  CheckMisuse(
      32, [&] { is_seven() ? __any_sync(kAll, 1) : __all_sync(kAll, 1); },
      "waits at __all_sync with mask 0xffffffff for thread 7, which waits at __any_sync with mask 0xffffffff");
  CheckMisuse(
      32, [&] { __syncwarp(is_seven() ? 0xffffu : kAll); },
      "waits at __syncwarp with mask 0xffffffff for thread 7, which waits at __syncwarp with mask 0x0000ffff");
}

TEST(MasksOfLanesThatAreNotThereAbort) {
  CheckMisuse(40, [] { __syncwarp(); }, "__syncwarp with mask 0xffffffff: the block has no lanes 0xffffff00");
  CheckMisuse(
      32, [] { __ballot_sync(0xfffffffeu, 1); }, "thread 0: __ballot_sync with mask 0xfffffffe: lacks the caller");
}

// The other lane returns before this one comes, or while it waits.
TEST(MasksOfLanesThatReturnAbort) {
  bool before = false, after = false;
  for (uint64_t seed = 0; seed < 10; ++seed) {
    const Ending ending = EndingOf([=] {
      simt::SetSeed(seed);
      simt::Launch(1, 2, [] {
        if (threadIdx.x == 0) __shfl_sync(0b11u, 1, 0);
      });
    });
    CHECK_EQUAL(ending.signal, SIGABRT);
    const std::string thread = "simt: block 0, thread 0: ";
    before |= ending.message == thread + "__shfl_sync with mask 0x00000003: lanes 0x00000002 have returned\n";
    after |= ending.message == thread + "waits at __shfl_sync with mask 0x00000003 for thread 1, which has returned\n";
  }
  CHECK(before);
  CHECK(after);
}

TEST(ShufflesThatReadOutsideTheirMaskAbort) {
  CheckMisuse(
      32,
      [] {
        if (threadIdx.x < 16) __shfl_down_sync(0xffffu, 1, 8);
      },
      "__shfl_down_sync with mask 0x0000ffff: lacks the source, lane ");
  for (int width : {0, 3, 64}) {
    CheckMisuse(32, [=] { __shfl_sync(kAll, 1, 0, width); }, "width must be a power of two up to 32, got ");
  }
}

TEST(WrongLaunchesAbort) {
  const auto refusal = [](unsigned blocks, int threads) {
    const Ending ending = EndingOf([=] { simt::Launch(blocks, threads, [] {}); });
    CHECK_EQUAL(ending.signal, SIGABRT);
    return ending.message;
  };
  CHECK_EQUAL(refusal(1, 0), "simt: a launch of 0 threads in a block, expected 1 to 1024\n");
  CHECK_EQUAL(refusal(1, 1025), "simt: a launch of 1025 threads in a block, expected 1 to 1024\n");
  CHECK_EQUAL(refusal(0, 32), "simt: a launch of no blocks\n");
  CheckMisuse(32, [] { simt::Launch(1, 1, [] {}); }, "a kernel launches a kernel");
}

TEST(AStackThatOverflowsEndsTheProcess) {
  const Ending ending = EndingOf([] {
    simt::Launch(1, 64, [] {
      volatile char local[100 << 10];
      for (size_t i = sizeof(local); i-- > 0;) local[i] = 0;
    });
  });
  CHECK_EQUAL(ending.signal, SIGSEGV);
}

}  // namespace detloss
