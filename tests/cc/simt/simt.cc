#include "tests/cc/simt/simt.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <numeric>
#include <utility>
#include <vector>

#include "tests/cc/random.h"
#include "tests/cc/simt/cuda_runtime.h"

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

// Bounds of all shared memory of the program, from shared_memory.ld.
extern "C" char simt_shared_begin[], simt_shared_end[];

namespace simt {
namespace {

#if defined(__x86_64__)
// Saves the registers that a callee must keep on the caller's stack and takes up the other's. The floating-point
// control words are not among them: all fibers have those of the thread that launches. Two system calls, which
// swapcontext makes for the signal mask, would take most of the time.
using Context = void*;  // stack pointer
extern "C" void simt_switch(Context* from, const Context* to);
asm(R"(
.pushsection .text
.type simt_switch, @function
simt_switch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov (%rsi), %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
.size simt_switch, . - simt_switch
.popsection
)");

void MakeContext(Context* context, char* stack, size_t bytes, void (*entry)()) {
  // What simt_switch pops: six registers and where to return to. Above it the stack is as after a call.
  void** top = reinterpret_cast<void**>(stack + bytes) - 8;
  top[6] = reinterpret_cast<void*>(entry);
  *context = top;
}
#else
using Context = ucontext_t;
void simt_switch(Context* from, const Context* to) { swapcontext(from, to); }

void MakeContext(Context* context, char* stack, size_t bytes, void (*entry)()) {
  getcontext(context);
  context->uc_stack.ss_sp = stack;
  context->uc_stack.ss_size = bytes;
  makecontext(context, entry, 0);
}
#endif

constexpr unsigned kMostThreads = 1024, kLanes = 32;
constexpr size_t kStackBytes = 64 << 10;
constexpr char kReturned[] = "";

struct Thread {
  Context context;
  unsigned index;
  // Where it waits, null while it can run, and what it brought there.
  const char* operation;
  unsigned mask;  // 0: waits for the whole block
  uint64_t value;
  unsigned source_lane;
  Exchanged result;
};

// As masks.
struct Warp {
  unsigned lanes;    // that the block has
  unsigned waiting;  // for others of the warp
  unsigned returned;
};

detloss::Random random_order(0);
const std::function<void()>* kernel = nullptr;  // that is being run
// The block that is being run. Its fibers stay for the next one and for the next launch.
Thread threads[kMostThreads], host;
Warp warps[kMostThreads / kLanes];
Thread* current = &host;
std::deque<Thread*> ready;
unsigned count;     // threads of the block
unsigned made = 0;  // threads that have a stack
unsigned left;      // threads of the block that have not returned
unsigned at_barrier = 0, predicates = 0, barrier_result;

std::string Hex(unsigned bits) {
  char text[16];
  std::snprintf(text, sizeof(text), "0x%08x", bits);
  return text;
}

std::string Describe(const Thread& thread) {
  if (thread.operation == kReturned) return "has returned";
  return std::string("waits at ") + thread.operation + (thread.mask == 0 ? "" : " with mask " + Hex(thread.mask));
}

bool AreTogether(const Thread& a, const Thread& b) {
  return a.mask == b.mask && (a.operation == b.operation || std::strcmp(a.operation, b.operation) == 0);
}

bool WaitsFor(const Thread& thread, const Thread& other) {
  if (thread.operation == kReturned) return false;
  if (thread.mask == 0) return true;
  return thread.index / kLanes == other.index / kLanes && (thread.mask >> other.index % kLanes & 1) != 0;
}

// No thread can run. Names the first that waits for one that does not come.
[[noreturn]] void FailStuck() {
  for (unsigned i = 0; i < count; ++i) {
    for (unsigned j = 0; j < count; ++j) {
      if (!WaitsFor(threads[i], threads[j]) || AreTogether(threads[i], threads[j])) continue;
      threadIdx.x = i;
      Fail(Describe(threads[i]) + " for thread " + std::to_string(j) + ", which " + Describe(threads[j]));
    }
  }
  std::abort();
}

// Goes on with the next thread that can run, and returns when it is the caller's turn again.
void RunNext() {
  if (ready.empty() && left > 0) FailStuck();
  Thread* const before = current;
  current = &host;
  if (!ready.empty()) {
    current = ready.front();
    ready.pop_front();
    current->operation = nullptr;
    threadIdx.x = current->index;
  }
  if (current != before) simt_switch(&before->context, &current->context);
}

void RunThread() {
  for (;;) {
    (*kernel)();
    current->operation = kReturned;
    warps[current->index / kLanes].returned |= 1u << current->index % kLanes;
    --left;
    RunNext();
  }
}

// A number whose exclusive or with indices shuffles them: of any two, each comes first with even odds.
unsigned DrawOrder() { return static_cast<unsigned>(random_order.Next() >> 32); }

void LetBlockRun() {
  unsigned size = 1;
  while (size < count) size *= 2;
  const unsigned order = DrawOrder() % size;
  for (unsigned i = 0; i < size; ++i) {
    if ((i ^ order) < count) ready.push_back(&threads[i ^ order]);
  }
}

// Before the other warps go on, or after them.
void LetLanesRun(Thread* lanes, unsigned mask) {
  const unsigned order = DrawOrder(), first = order & (kLanes - 1);
  const bool at_once = (order & kLanes) != 0;
  for (unsigned i = 0; i < kLanes; ++i) {
    if ((mask >> (i ^ first) & 1) == 0) continue;
    if (at_once) {
      ready.push_front(&lanes[i ^ first]);
    } else {
      ready.push_back(&lanes[i ^ first]);
    }
  }
}

// If the lanes that wait are together, gives each what it asked for.
void MeetLanes(const Thread& caller, Thread* lanes, Warp* warp) {
  unsigned predicates_of_lanes = 0;
  for (unsigned rest = caller.mask; rest != 0; rest &= rest - 1) {
    const Thread& lane = lanes[__builtin_ctz(rest)];
    if (!AreTogether(lane, caller)) return;  // of two masks that overlap, one comes first
    predicates_of_lanes |= (lane.value != 0 ? 1u : 0u) << lane.index % kLanes;
  }
  for (unsigned rest = caller.mask; rest != 0; rest &= rest - 1) {
    Thread& lane = lanes[__builtin_ctz(rest)];
    lane.result = {lanes[lane.source_lane].value, predicates_of_lanes};
  }
  warp->waiting &= ~caller.mask;
  LetLanesRun(lanes, caller.mask);
}

void MakeThread(unsigned index) {
  const size_t guard = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  void* const memory =
      mmap(nullptr, guard + kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, guard, PROT_NONE) != 0) Fail("no memory for a thread's stack");
  threads[index].index = index;
  MakeContext(&threads[index].context, static_cast<char*>(memory) + guard, kStackBytes, RunThread);
}

void RunBlock(unsigned block) {
  std::memset(simt_shared_begin, 0xff, static_cast<size_t>(simt_shared_end - simt_shared_begin));
  blockIdx.x = block;
  left = count;
  for (unsigned first = 0; first < count; first += kLanes) {
    warps[first / kLanes] = {count - first < kLanes ? (1u << (count - first)) - 1 : ~0u, 0, 0};
  }
  LetBlockRun();
  RunNext();
}

}  // namespace

void SetSeed(uint64_t seed) { random_order = detloss::Random(seed); }

void Fail(const std::string& message) {
  std::fprintf(stderr, "simt: ");
  if (kernel != nullptr) std::fprintf(stderr, "block %u, thread %u: ", blockIdx.x, threadIdx.x);
  std::fprintf(stderr, "%s\n", message.c_str());
  std::abort();
}

void Launch(unsigned blocks, int block_threads, const std::function<void()>& body) {
  if (kernel != nullptr) Fail("a kernel launches a kernel");
  if (blocks == 0) Fail("a launch of no blocks");
  if (block_threads < 1 || block_threads > static_cast<int>(kMostThreads)) {
    Fail("a launch of " + std::to_string(block_threads) + " threads in a block, expected 1 to 1024");
  }
  count = static_cast<unsigned>(block_threads);
  for (; made < count; ++made) MakeThread(made);
  std::vector<unsigned> order(blocks);
  std::iota(order.begin(), order.end(), 0u);
  for (unsigned i = blocks; i > 1; --i) std::swap(order[i - 1], order[static_cast<size_t>(random_order.Below(i))]);
  gridDim.x = blocks;
  blockDim.x = count;
  kernel = &body;
  for (unsigned block : order) RunBlock(block);
  kernel = nullptr;
}

int Barrier(const char* operation, bool predicate) {
  current->operation = operation;
  current->mask = 0;
  predicates += predicate;
  const auto is_here = [](const Thread& thread) { return AreTogether(thread, *current); };
  if (++at_barrier == count && std::all_of(threads, threads + count, is_here)) {
    // Stays until all have come to the next barrier, and so have read it.
    barrier_result = std::exchange(predicates, 0);
    at_barrier = 0;
    LetBlockRun();
  }
  RunNext();
  return static_cast<int>(barrier_result);
}

Exchanged Exchange(const char* operation, unsigned mask, uint64_t value, int source_lane) {
  Thread& self = *current;
  Warp& warp = warps[self.index / kLanes];
  Thread* const lanes = &threads[self.index / kLanes * kLanes];
  const auto refuse = [&](const std::string& why) {
    Fail(operation + std::string(" with mask ") + Hex(mask) + ": " + why);
  };
  if ((mask >> self.index % kLanes & 1) == 0) refuse("lacks the caller");
  if ((mask & ~warp.lanes) != 0) refuse("the block has no lanes " + Hex(mask & ~warp.lanes));
  if ((mask & warp.returned) != 0) refuse("lanes " + Hex(mask & warp.returned) + " have returned");
  self.operation = operation;
  self.mask = mask;
  self.value = value;
  self.source_lane = static_cast<unsigned>(source_lane);
  if ((mask >> self.source_lane & 1) == 0) refuse("lacks the source, lane " + std::to_string(source_lane));
  warp.waiting |= 1u << self.index % kLanes;
  if ((mask & ~warp.waiting) == 0) MeetLanes(self, lanes, &warp);
  RunNext();
  return self.result;
}

}  // namespace simt
