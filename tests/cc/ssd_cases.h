// Random batches of SSD labels and predictions, awkward ones among them, and the fused loss run on them.
#ifndef DETLOSS_TESTS_CC_SSD_CASES_H_
#define DETLOSS_TESTS_CC_SSD_CASES_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "cc/ssd_loss.h"
#include "tests/cc/check.h"
#include "tests/cc/dtype_values.h"
#include "tests/cc/guarded_buffer.h"
#include "tests/cc/random.h"

namespace detloss {

struct NamedLayout {
  const char* name;
  int64_t width;
  SsdLayout layout;
};

inline std::vector<NamedLayout> LayoutsOf(int64_t classes) {
  return {
      {"ssd_keras", classes + 12, {}},
      {"ssd_keras_rykov8", classes + 12, {0, 4, 0, true, -8}},
      {"without unused columns", classes + 4, {classes, 0, classes, false, 0}},
      {"classes last, flag between", classes + 9, {classes, -classes, 2, true, 7}},
  };
}

template <class T>
struct SsdCase {
  SsdLossOptions options;
  SsdShape shape;
  std::vector<Compute<T>> y_true;
  std::vector<T> y_pred;
  std::vector<Compute<T>> loss_gradient;
};

// How many boxes of what kind a random case has. Rows are drawn from `distinct_rows` different ones, so that keys tie.
struct SsdCaseShape {
  int64_t images = 3;
  int64_t boxes = 50;
  int64_t classes = 5;
  int64_t distinct_rows = 64;
  bool nan_predictions = false;  // where they matter; where they must not there are always some
  bool infinite_logits = false;  // now and then
};

// Draws rows for the options, whose layout is resolved. All labels are multiples of 1/16, whose sums are exact.
class SsdRowGenerator {
 public:
  SsdRowGenerator(const SsdLossOptions& options, int64_t width, const SsdCaseShape& shape, Random* random)
      : options_(options), width_(width), shape_(shape), random_(*random) {}

  struct Row {
    std::vector<double> truth, prediction;
  };

  Row Draw() {
    Row row = {std::vector<double>(width_, kNan), std::vector<double>(width_, kNan)};
    const SsdLayout& layout = options_.layout;
    double* labels = row.truth.data() + layout.class_column;
    double* offsets = row.truth.data() + layout.box_column;
    DrawLabels(labels);
    for (int i = 0; i < 4; ++i) offsets[i] = random_.Normal();
    double positive = *std::max_element(labels + 1, labels + layout.num_classes);
    if (layout.has_positive_column) {
      if (random_.Chance(0.1)) positive = Any({0, 0.25, 1, 2});  // where flag and classes disagree
      row.truth[layout.positive_column] = positive;
    }
    const bool valid = !random_.Chance(0.06) || !Spoil(positive, &row);
    DrawScores(labels, valid, row.prediction.data() + layout.class_column);
    double* predicted = row.prediction.data() + layout.box_column;
    if (valid && positive > 0) {
      for (int i = 0; i < 4; ++i) predicted[i] = offsets[i] + Any({0.3, 1, 4}) * random_.Normal();
    } else if (random_.Chance(0.5)) {
      offsets[random_.Below(4)] = kNan;
    }
    if (shape_.nan_predictions && random_.Chance(0.04)) {
      const int64_t column = random_.Chance(0.8) ? layout.class_column + random_.Below(layout.num_classes)
                                                 : layout.box_column + random_.Below(4);
      row.prediction[column] = kNan;
    }
    return row;
  }

 private:
  static constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

  double Any(std::initializer_list<double> values) {
    return values.begin()[random_.Below(static_cast<int64_t>(values.size()))];
  }

  void DrawLabels(double* labels) {
    const int64_t classes = options_.layout.num_classes;
    std::fill_n(labels, classes, random_.Chance(0.1) ? -0.0 : 0.0);
    const double kind = random_.Uniform();
    if (kind < 0.65) {
      labels[0] = 1;
    } else if (kind < 0.78) {
      labels[1 + random_.Below(classes - 1)] = 1;
    } else if (kind < 0.86) {
      // Neutral: no class at all.
    } else if (kind < 0.94) {
      const double share = static_cast<double>(1 + random_.Below(15)) / 16;
      labels[random_.Below(classes)] += share;
      labels[random_.Below(classes)] += 1 - share;
    } else {
      for (int64_t c = 0; c < classes; ++c) labels[c] = Any({0, 0, 0.5, 1, 2});
    }
  }

  // Makes the row invalid, and returns whether it could.
  bool Spoil(double positive, Row* row) {
    const SsdLayout& layout = options_.layout;
    const double bad = Any({-1, -0.0625, 1.0625e6, 1e38, kNan, HUGE_VAL, -HUGE_VAL});
    switch (random_.Below(3)) {
      case 0:
        row->truth[layout.class_column + random_.Below(layout.num_classes)] = bad;
        return true;
      case 1:
        if (layout.has_positive_column) row->truth[layout.positive_column] = bad;
        return layout.has_positive_column;
      default:
        if (positive > 0)
          row->truth[layout.box_column + random_.Below(4)] = Any({kNan, -1.0625e6, 1e38, HUGE_VAL, -HUGE_VAL});
        return positive > 0;
    }
  }

  void DrawScores(const double* labels, bool valid, double* scores) {
    const int64_t classes = options_.layout.num_classes;
    const bool no_labels = std::all_of(labels, labels + classes, [](double label) { return label == 0; });
    const bool ranked_by_score = options_.layout.has_positive_column && options_.rank_by == RankBy::kForeground;
    if (!valid || (no_labels && !ranked_by_score && random_.Chance(0.5))) return;  // leaves NaN: nothing may read it
    for (int64_t c = 0; c < classes; ++c) scores[c] = 2 * random_.Normal() + (c == 0 ? 2 : 0);
    if (options_.from_logits) {
      if (random_.Chance(0.05)) scores[1] = labels[1] == 0 ? -HUGE_VAL : scores[1];
      if (!shape_.infinite_logits) return;
      const double share = Any({0, 0.2, 1});
      for (int64_t c = 0; c < classes; ++c) scores[c] = random_.Chance(share) ? Any({HUGE_VAL, -HUGE_VAL}) : scores[c];
      return;
    }
    double sum = 0;
    for (int64_t c = 0; c < classes; ++c) sum += scores[c] = std::exp(scores[c]);
    for (int64_t c = 0; c < classes; ++c) scores[c] /= sum;
    // Saturated, about the smallest that counts, above one (a negative cross-entropy), below zero.
    if (random_.Chance(0.1)) scores[0] = Any({0, 1e-30, 9.9e-16, 1e-15, 1.1e-15, 1, 1.5, -0.25});
    if (random_.Chance(0.1)) scores[1] = Any({0, 1e-30, 9.9e-16, 1e-15, 1.1e-15, 1, 1.25, -0.5});
    for (int64_t c = 0; c < classes; ++c) {
      if (options_.rank_by == RankBy::kLoss && labels[c] == 0 && random_.Chance(0.2)) scores[c] = kNan;
    }
  }

  const SsdLossOptions& options_;
  const int64_t width_;
  const SsdCaseShape& shape_;
  Random& random_;
};

template <class T>
SsdCase<T> MakeSsdCase(const SsdLossOptions& options, const NamedLayout& layout, const SsdCaseShape& shape,
                       uint64_t seed) {
  SsdCase<T> made = {options, {shape.images, shape.boxes, layout.width}, {}, {}, {}};
  made.options.layout = layout.layout;
  SsdLossOptions resolved = made.options;
  CHECK(ResolveLayout(layout.layout, layout.width, &resolved.layout).ok());
  Random random(seed);
  SsdRowGenerator generator(resolved, layout.width, shape, &random);
  std::vector<SsdRowGenerator::Row> rows;
  for (int64_t i = 0; i < shape.distinct_rows; ++i) rows.push_back(generator.Draw());
  for (int64_t i = 0; i < shape.images * shape.boxes; ++i) {
    const SsdRowGenerator::Row& row = rows[random.Below(shape.distinct_rows)];
    for (double x : row.truth) made.y_true.push_back(static_cast<Compute<T>>(x));
    for (double x : row.prediction) made.y_pred.push_back(FromDouble<T>(x));
  }
  for (int64_t image = 0; image < shape.images; ++image) {
    made.loss_gradient.push_back(static_cast<Compute<T>>(static_cast<double>(random.Below(33) - 16) / 8));
  }
  return made;
}

template <class T>
struct SsdRun {
  Status status;
  std::vector<Compute<T>> loss, positive, negative, localization, n_pos, n_kept;
  std::vector<int32_t> num_invalid;
  std::vector<uint8_t> selection;
  std::vector<T> gradient;
};

// `forward(outputs)` and `backward(residuals, gradient)` run the loss and its gradient, which lies `gradient_offset`
// elements behind the start of a cache line.
template <class T, class Forward, class Backward>
SsdRun<T> RunSsdLossBy(const SsdShape& shape, int64_t gradient_offset, const Forward& forward,
                       const Backward& backward) {
  using L = Compute<T>;
  const int64_t boxes = shape.images * shape.boxes;
  const GuardedBuffer<L> loss(shape.images), positive(shape.images), negative(shape.images), localization(shape.images),
      n_pos(shape.images), n_kept(shape.images);
  const GuardedBuffer<int32_t> num_invalid(shape.images);
  const GuardedBuffer<uint8_t> selection(boxes);
  const GuardedBuffer<T> gradient(boxes * shape.width, gradient_offset);
  const Status first = forward(SsdLossOutputs<L>{loss.data(), positive.data(), negative.data(), localization.data(),
                                                 n_pos.data(), n_kept.data(), num_invalid.data(), selection.data()});
  if (!first.ok()) return {first, {}, {}, {}, {}, {}, {}, {}, {}, {}};
  const Status second = backward(SsdLossResiduals<L>{n_pos.data(), n_kept.data(), selection.data()}, gradient.data());
  const Status& last = second.ok() ? first : second;
  return {last,           loss.values(),   positive.values(),    negative.values(),  localization.values(),
          n_pos.values(), n_kept.values(), num_invalid.values(), selection.values(), gradient.values()};
}

template <class T>
SsdRun<T> RunSsdLoss(const SsdCase<T>& given, Executor& executor, int64_t gradient_offset = 0) {
  const GuardedBuffer<char> forward_workspace(static_cast<int64_t>(SsdLossWorkspaceBytes<T>(given.shape)));
  const GuardedBuffer<char> backward_workspace(static_cast<int64_t>(SsdLossGradWorkspaceBytes<T>(given.shape)));
  return RunSsdLossBy<T>(
      given.shape, gradient_offset,
      [&](const auto& outputs) {
        return SsdLossForward<T>(given.options, given.shape, given.y_true.data(), given.y_pred.data(), outputs,
                                 forward_workspace.data(), executor);
      },
      [&](const auto& residuals, T* gradient) {
        return SsdLossBackward<T>(given.options, given.shape, given.loss_gradient.data(), given.y_true.data(),
                                  given.y_pred.data(), residuals, gradient, backward_workspace.data(), executor);
      });
}

template <class T>
void CheckSameRun(const SsdRun<T>& got, const SsdRun<T>& want) {
  CHECK_EQUAL(got.status.message(), want.status.message());
  CHECK_BITS_EQUAL(got.loss, want.loss);
  CHECK_BITS_EQUAL(got.positive, want.positive);
  CHECK_BITS_EQUAL(got.negative, want.negative);
  CHECK_BITS_EQUAL(got.localization, want.localization);
  CHECK_BITS_EQUAL(got.n_pos, want.n_pos);
  CHECK_BITS_EQUAL(got.n_kept, want.n_kept);
  CHECK_BITS_EQUAL(got.num_invalid, want.num_invalid);
  CHECK_BITS_EQUAL(got.selection, want.selection);
  CHECK_BITS_EQUAL(got.gradient, want.gradient);
}

}  // namespace detloss

#endif  // DETLOSS_TESTS_CC_SSD_CASES_H_
