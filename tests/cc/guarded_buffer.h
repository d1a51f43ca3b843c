// Memory that tells when something was written beside it.
#ifndef DETLOSS_TESTS_CC_GUARDED_BUFFER_H_
#define DETLOSS_TESTS_CC_GUARDED_BUFFER_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

#include "tests/cc/check.h"

namespace detloss {

// `count` elements full of garbage, `offset` elements behind the start of a cache line. AddressSanitizer, where it is
// on, sees every access beside an exact allocation, reads included; else bytes before and behind are compared.
template <class T>
class GuardedBuffer {
 public:
  explicit GuardedBuffer(int64_t count, int64_t offset = 0)
      : count_(count),
        before_(kGuard + static_cast<size_t>(offset) * sizeof(T)),
        size_(before_ + static_cast<size_t>(count) * sizeof(T) + kGuard),
        memory_(static_cast<uint8_t*>(::operator new(size_, std::align_val_t(kCacheLineBytes)))) {
    std::memset(memory_, kGarbage, size_);
  }
  ~GuardedBuffer() {
    CHECK(IsIntact());
    ::operator delete(memory_, std::align_val_t(kCacheLineBytes));
  }
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;

  // Null where there are no elements, as XLA hands over an empty tensor.
  T* data() const { return count_ == 0 ? nullptr : reinterpret_cast<T*>(memory_ + before_); }

  std::vector<T> values() const { return std::vector<T>(data(), data() + count_); }

 private:
  static constexpr size_t kCacheLineBytes = 64;
  static constexpr uint8_t kGarbage = 0xa5;
#if defined(__SANITIZE_ADDRESS__)
  static constexpr size_t kGuard = 0;
#else
  static constexpr size_t kGuard = kCacheLineBytes;
#endif

  bool IsIntact() const {
    const auto is_garbage = [](uint8_t byte) { return byte == kGarbage; };
    const uint8_t* const behind = memory_ + before_ + static_cast<size_t>(count_) * sizeof(T);
    return std::all_of(memory_, memory_ + before_, is_garbage) && std::all_of(behind, behind + kGuard, is_garbage);
  }

  const int64_t count_;
  const size_t before_, size_;
  uint8_t* const memory_;
};

}  // namespace detloss

#endif  // DETLOSS_TESTS_CC_GUARDED_BUFFER_H_
