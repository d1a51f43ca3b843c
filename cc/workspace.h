// Cuts one caller-owned buffer into arrays, each aligned to a cache line. With a null buffer it only adds up their
// size.
#ifndef DETLOSS_CC_WORKSPACE_H_
#define DETLOSS_CC_WORKSPACE_H_

#include <cstddef>
#include <cstdint>

namespace detloss {

class Workspace {
 public:
  explicit Workspace(void* buffer) : buffer_(static_cast<char*>(buffer)) {}

  template <class T>
  T* Take(int64_t count) {
    constexpr size_t kLine = 64;
    char* array = buffer_ == nullptr ? nullptr : buffer_ + bytes_;
    bytes_ += (static_cast<size_t>(count) * sizeof(T) + kLine - 1) / kLine * kLine;
    return reinterpret_cast<T*>(array);
  }

  size_t bytes() const { return bytes_; }

 private:
  char* const buffer_;
  size_t bytes_ = 0;
};

}  // namespace detloss

#endif  // DETLOSS_CC_WORKSPACE_H_
