#include <cstdint>
#include <vector>

#include "cc/thread_pool.h"
#include "cc/touch_floor.h"
#include "tests/cc/check.h"
#include "tests/cc/guarded_buffer.h"

namespace detloss {

TEST(EveryTouchedByteIsRead) {
  ThreadPool pool(2);
  constexpr int64_t kRows = 1500, kRowBytes = 52, kTouched = 44;
  std::vector<uint8_t> labels(kRows * kRowBytes, 0), predictions = labels;
  const auto touch = [&] {
    return TouchForward({labels.data(), kRowBytes, kRowBytes}, {predictions.data(), kRowBytes, kTouched}, kRows, pool);
  };
  CHECK_EQUAL(touch(), 0u);
  for (int64_t row : {int64_t{0}, int64_t{17}, int64_t{1023}, int64_t{1024}, kRows - 1}) {
    for (int64_t byte = 0; byte < kRowBytes; ++byte) {
      const int64_t at = row * kRowBytes + byte;
      labels[at] = 1;
      CHECK(touch() != 0);
      labels[at] = 0;
      predictions[at] = 1;
      CHECK_EQUAL(touch() != 0, byte < kTouched);
      predictions[at] = 0;
    }
  }
}

TEST(TheGradientIsZeroButForOneElementInSoManyRows) {
  for (int threads : {1, 2, 7}) {
    ThreadPool pool(threads);
    for (int64_t rows : {0, 1, 31, 32, 100, 3000}) {
      constexpr int64_t kRowBytes = 132;
      const GuardedBuffer<char> gradient(rows * kRowBytes);
      for (int64_t every : {1, 7, 96}) {
        TouchBackward(gradient.data(), kRowBytes, rows, every, pool);
        std::vector<char> want(rows * kRowBytes, 0);
        for (int64_t row = 0; row < rows; row += every) want[row * kRowBytes] = 1;
        CHECK_BITS_EQUAL(gradient.values(), want);
      }
      TouchBackward(gradient.data(), kRowBytes, rows, 0, pool);
      CHECK_BITS_EQUAL(gradient.values(), std::vector<char>(rows * kRowBytes, 1));
    }
  }
}

TEST(RowsOfAnyWidthAreWritten) {
  ThreadPool pool(2);
  for (int64_t row_bytes : {2046, 2048, 2050, 100'000}) {
    constexpr int64_t kRows = 70;
    const GuardedBuffer<char> gradient(kRows * row_bytes);
    TouchBackward(gradient.data(), row_bytes, kRows, 3, pool);
    std::vector<char> want(kRows * row_bytes, 0);
    for (int64_t row = 0; row < kRows; row += 3) want[row * row_bytes] = 1;
    CHECK_BITS_EQUAL(gradient.values(), want);
  }
}

}  // namespace detloss
