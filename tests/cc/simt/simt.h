// Runs CUDA kernels, compiled as plain C++, on one thread of the host. cuda_runtime.h beside this file is what kernels
// include; this is what it is made of.
//
// A launch runs its blocks one after another in a shuffled order. The threads of a block are fibers, each of which runs
// until it waits for others; those that can go on do so in a shuffled order. The orders differ from launch to launch
// and are the same in every run of a program, so that what depends on them shows and can be looked into.
//
// Misuse aborts with a message: waiting for a thread that has returned or waits elsewhere, masks that leave out the
// caller or name lanes that are not there, lanes of one mask in different operations, reading a lane outside the mask.
//
// Not emulated:
// - The memory model. Every access is seen at once by all, so that a missing __threadfence does not show.
// - Preemption. A thread that spins until another has written runs for ever; a missing barrier shows only where one of
//   the orders of the threads between two barriers gives another result.
// - Divergence and timing. The lanes of a warp run one after another between operations that name them.
// - Two barriers in two places of the source, which are one and the same here.
// - Floating-point atomics (left out on purpose: their order would show in the result), dynamic shared memory, blocks
//   and grids of more than one dimension.
// Shared memory is full of 0xff bytes (NaN) when a block starts: kernels write it before they read it.
#ifndef DETLOSS_TESTS_CC_SIMT_SIMT_H_
#define DETLOSS_TESTS_CC_SIMT_SIMT_H_

#include <cstdint>
#include <functional>
#include <string>

namespace simt {

// Begins the sequence of orders anew, from another start.
void SetSeed(uint64_t seed);

// Runs `kernel` as `threads` threads in each of `blocks` blocks.
void Launch(unsigned blocks, int threads, const std::function<void()>& kernel);

// Prints the message, with the thread that runs, and aborts.
[[noreturn]] void Fail(const std::string& message);

// Waits for all threads of the block; returns for how many of them the predicate holds.
int Barrier(const char* operation, bool predicate = false);

struct Exchanged {
  uint64_t value;       // the source's
  unsigned predicates;  // lanes whose value is not zero
};

// Waits for all lanes of the mask.
Exchanged Exchange(const char* operation, unsigned mask, uint64_t value, int source_lane);

}  // namespace simt

#endif  // DETLOSS_TESTS_CC_SIMT_SIMT_H_
