// Random batches of YOLOv3 labels and logits, awkward ones among them, and the fused loss run on them.
#ifndef DETLOSS_TESTS_CC_YOLOV3_CASES_H_
#define DETLOSS_TESTS_CC_YOLOV3_CASES_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <limits>
#include <vector>

#include "cc/yolov3_loss.h"
#include "tests/cc/check.h"
#include "tests/cc/dtype_values.h"
#include "tests/cc/guarded_buffer.h"
#include "tests/cc/random.h"

namespace detloss {

template <class T>
struct YoloCase {
  YoloV3LossOptions options;
  YoloV3Shape shape;
  std::vector<std::vector<Compute<T>>> y_true;  // per scale
  std::vector<std::vector<T>> y_pred;           // per scale
  std::vector<Compute<T>> loss_gradient;
};

// What a random case is made of.
struct YoloCaseShape {
  int64_t images = 2;
  int64_t anchors = 3;
  int64_t classes = 5;
  std::vector<YoloScaleShape> scales = {{2, 3}, {5, 4}};
  double objects = 0.15;         // share of the rows
  double invalid = 0.06;         // share of the rows
  bool whole_classes = false;    // one class per object, scored 1
  bool extreme_logits = true;    // now and then
  bool nan_predictions = false;  // where they matter; where they must not there are always some
  bool infinite_logits = false;  // now and then
};

// Labels are multiples of 1/1024, so that every dtype judges and decodes them alike.
template <class T>
class YoloCaseGenerator {
 public:
  YoloCaseGenerator(const YoloV3LossOptions& options, const YoloCaseShape& given, uint64_t seed)
      : given_(given), random_(seed) {
    made_.options = options;
    made_.shape = {given.images, given.anchors, given.classes, given.scales};
  }

  YoloCase<T> Make() {
    DrawGeometry();
    for (size_t scale = 0; scale < given_.scales.size(); ++scale) {
      made_.y_true.emplace_back();
      made_.y_pred.emplace_back();
      for (int64_t image = 0; image < given_.images; ++image) DrawImage(scale);
    }
    for (int64_t image = 0; image < given_.images; ++image) {
      made_.loss_gradient.push_back(static_cast<Compute<T>>(random_.Chance(0.1) ? 0 : random_.Normal()));
    }
    return std::move(made_);
  }

 private:
  static constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  static constexpr double kUnit = 1.0 / 1024;

  struct Row {
    std::vector<double> label;
    double x, y, w, h;
    bool valid = true, has_object = false;
  };

  double Any(std::initializer_list<double> values) {
    return values.begin()[random_.Below(static_cast<int64_t>(values.size()))];
  }
  double Rounded(double x) { return std::floor(x / kUnit + 0.5) * kUnit; }
  bool corner() const { return made_.options.cell.corner_targets; }

  void DrawGeometry() {
    YoloV3LossOptions& options = made_.options;
    const bool in_pixels = random_.Chance(0.5);
    for (const YoloScaleShape& scale : given_.scales) {
      const int64_t stride = 8 + 8 * random_.Below(4);
      options.strides.push_back(in_pixels ? stride : 0);
      for (int64_t anchor = 0; anchor < given_.anchors; ++anchor) {
        for (int64_t cells : {std::max<int64_t>(1, scale.width), std::max<int64_t>(1, scale.height)}) {
          const double size = random_.Uniform(0.05, 0.6);
          options.anchors.push_back(static_cast<float>(in_pixels ? size * static_cast<double>(stride * cells) : size));
        }
      }
    }
  }

  void DrawImage(size_t scale) {
    const YoloScaleShape& cells = given_.scales[scale];
    std::vector<Row> rows;
    for (int64_t y = 0; y < cells.height; ++y) {
      for (int64_t x = 0; x < cells.width; ++x) {
        for (int64_t anchor = 0; anchor < given_.anchors; ++anchor) rows.push_back(DrawLabel(cells, x, y));
      }
    }
    std::vector<const Row*> objects;
    for (const Row& row : rows) {
      if (row.has_object) objects.push_back(&row);
    }
    for (size_t i = 0; i < rows.size(); ++i) {
      for (double x : rows[i].label) made_.y_true[scale].push_back(static_cast<Compute<T>>(x));
      for (double x : DrawLogits(scale, static_cast<int64_t>(i), rows[i], objects)) {
        made_.y_pred[scale].push_back(FromDouble<T>(x));
      }
    }
  }

  Row DrawLabel(const YoloScaleShape& cells, int64_t x, int64_t y) {
    Row row;
    row.label.assign(5 + (corner() ? 1 : given_.classes), kNan);
    row.has_object = random_.Chance(given_.objects);
    if (!row.has_object) {
      const double anything = Any({0, 0, 0, 0.5, -3, 1e30});
      for (int i = 0; i < 4; ++i) row.label[i] = anything;
      row.label[4] = random_.Chance(0.1) ? -0.0 : 0.0;
      if (!random_.Chance(given_.invalid)) return row;
      row.label[random_.Below(5)] = Any({kNan, HUGE_VAL, -HUGE_VAL});
      row.valid = false;
      return row;
    }
    row.w = 2 * Rounded(random_.Uniform(0.015, 0.45));
    row.h = 2 * Rounded(random_.Uniform(0.015, 0.45));
    row.x = Rounded((static_cast<double>(x) + random_.Uniform(0.05, 0.95)) / static_cast<double>(cells.width));
    row.y = Rounded((static_cast<double>(y) + random_.Uniform(0.05, 0.95)) / static_cast<double>(cells.height));
    SetBox(&row);
    row.label[4] = random_.Chance(0.25) ? static_cast<double>(1 + random_.Below(15)) / 16 : 1;
    DrawClasses(row.label.data() + 5);
    if (random_.Chance(0.1)) MakeUnusual(&row);
    if (random_.Chance(given_.invalid)) Spoil(&row);
    return row;
  }

  void SetBox(Row* row) {
    const double center[4] = {row->x, row->y, row->w, row->h};
    const double corners[4] = {row->x - row->w / 2, row->y - row->h / 2, row->x + row->w / 2, row->y + row->h / 2};
    std::copy_n(corner() ? corners : center, 4, row->label.begin());
  }

  void DrawClasses(double* classes) {
    if (corner()) {
      classes[0] = static_cast<double>(random_.Below(given_.classes)) + Any({0, 0, 0, 0.75});
      return;
    }
    std::fill_n(classes, given_.classes, 0.0);
    classes[random_.Below(given_.classes)] = 1;
    if (given_.whole_classes || random_.Chance(0.7)) return;
    for (int64_t c = 0; c < given_.classes; ++c) classes[c] = Any({0, 0.25, 0.0625, 1, 0});
    classes[random_.Below(given_.classes)] = 0.5;
  }

  // What no encoder writes, and the losses take all the same: weights above 1, a centre or an area beyond the image's.
  void MakeUnusual(Row* row) {
    const int64_t kind = random_.Below(4);
    if (kind == 0) {
      row->label[4] = Any({1 + kUnit, 1.5, 2});
    } else if (kind == 1) {
      row->w = 2;
      row->h = Any({1, 1.5});
      SetBox(row);
    } else if (kind == 2) {
      (random_.Chance(0.5) ? row->x : row->y) = Any({-kUnit, 1 + kUnit, -0.5});
      SetBox(row);
    } else if (!corner() && random_.Chance(0.3)) {
      std::fill_n(row->label.begin() + 5, given_.classes, 0.0);
    } else if (!corner() && !given_.whole_classes) {
      row->label[5 + random_.Below(given_.classes)] = Any({1 + kUnit, 2});
    }
  }

  // One broken rule.
  void Spoil(Row* row) {
    row->valid = row->has_object = false;
    const int64_t rule = random_.Below(5);
    if (rule == 0) {
      row->label[random_.Below(5)] = Any({kNan, HUGE_VAL, -HUGE_VAL});
    } else if (rule == 1) {
      row->label[4] = Any({-0.5, -1e-30, 1.0625e6, 1e38});
    } else if (rule == 2) {
      (random_.Chance(0.5) ? row->w : row->h) = Any({0, -0.25});
      SetBox(row);
    } else if (rule == 3) {
      row->label[random_.Below(4)] = Any({1.0625e6, 1e38, -1.0625e6});
    } else if (corner()) {
      row->label[5] = Any({-1, -0.5, static_cast<double>(given_.classes), 1e30, kNan, HUGE_VAL});
    } else {
      row->label[5 + random_.Below(given_.classes)] = Any({-0.25, 1.0625e6, kNan, HUGE_VAL});
    }
  }

  // NaN is what nothing may read.
  std::vector<double> DrawLogits(size_t scale, int64_t index, const Row& row, const std::vector<const Row*>& objects) {
    std::vector<double> logits(5 + given_.classes, kNan);
    if (!row.valid) return logits;
    const YoloCellOptions& options = made_.options.cell;
    for (int i = 0; i < 5; ++i) logits[i] = random_.Normal();
    logits[4] *= 2;
    if (row.has_object && random_.Chance(0.7)) Aim(scale, index, row, &logits);
    if (!row.has_object && !objects.empty() && random_.Chance(0.5)) {
      Aim(scale, index, *objects[random_.Below(static_cast<int64_t>(objects.size()))], &logits);
    }
    const bool any_box = !row.has_object || options.box_loss != BoxLoss::kOverlap;
    if (given_.extreme_logits && random_.Chance(0.05)) logits[4] = Any({-30, 30, 1e4, -1e4, 110});
    if (given_.extreme_logits && any_box && random_.Chance(0.05)) logits[random_.Below(4)] = Any({-30, 30, -1e4, 1e4});
    if (given_.extreme_logits && !row.has_object && random_.Chance(0.05)) {
      logits[random_.Below(4)] = Any({HUGE_VAL, -HUGE_VAL});
    }
    if (row.has_object || options.class_focal) {
      for (int64_t c = 0; c < given_.classes; ++c) {
        logits[5 + c] = 2 * random_.Normal();
        if (given_.extreme_logits && random_.Chance(0.05)) logits[5 + c] = Any({-60, 60, 25, -25});
      }
    }
    for (int64_t i = any_box ? 0 : 4; i < 5 + given_.classes && given_.infinite_logits; ++i) {
      if (!std::isnan(logits[i]) && random_.Chance(0.2)) logits[i] = Any({HUGE_VAL, -HUGE_VAL});
    }
    if (given_.nan_predictions && any_box && random_.Chance(0.05)) logits[random_.Below(5)] = kNan;
    return logits;
  }

  // Predicts about the object's box, as far as the cell can.
  void Aim(size_t scale, int64_t index, const Row& object, std::vector<double>* logits) {
    const YoloScaleShape& cells = given_.scales[scale];
    const int64_t anchor = index % given_.anchors, cell = index / given_.anchors;
    const double off = Any({0.02, 0.2, 0.6});
    const double places[2] = {object.x * static_cast<double>(cells.width) - static_cast<double>(cell % cells.width),
                              object.y * static_cast<double>(cells.height) - static_cast<double>(cell / cells.width)};
    const double lengths[2] = {object.w, object.h};
    for (int axis = 0; axis < 2; ++axis) {
      const double place = std::clamp(places[axis], 0.02, 0.98);
      (*logits)[axis] = std::log(place / (1 - place)) + off * random_.Normal();
      double size = made_.options.anchors[(scale * given_.anchors + anchor) * 2 + axis];
      const int64_t stride = made_.options.strides[scale];
      if (stride > 0) size /= static_cast<double>(stride * (axis == 0 ? cells.width : cells.height));
      (*logits)[2 + axis] = std::log(lengths[axis] / size) + off * random_.Normal();
    }
  }

  const YoloCaseShape given_;
  Random random_;
  YoloCase<T> made_;
};

template <class T>
YoloCase<T> MakeYoloCase(const YoloV3LossOptions& options, const YoloCaseShape& shape, uint64_t seed) {
  return YoloCaseGenerator<T>(options, shape, seed).Make();
}

// Every choice by name. Geometry and numbers are left to the caller.
inline std::vector<YoloV3LossOptions> AllYoloChoices() {
  std::vector<YoloV3LossOptions> all;
  const auto add = [&](const YoloCellOptions& cell) {
    all.emplace_back();
    all.back().cell = cell;
  };
  for (int box = 0; box < 7; ++box) {
    YoloCellOptions cell;
    cell.box_loss = box == 0 ? BoxLoss::kClassic : box == 1 ? BoxLoss::kSquared : BoxLoss::kOverlap;
    if (box >= 2) cell.overlap = static_cast<Overlap>(box - 2);
    for (ClassLoss class_loss :
         {ClassLoss::kSigmoid, ClassLoss::kSoftmax, ClassLoss::kNormalizedSigmoid, ClassLoss::kNone}) {
      cell.class_loss = class_loss;
      const bool may_focus = class_loss == ClassLoss::kSigmoid || class_loss == ClassLoss::kSoftmax;
      for (bool class_focal : {false, true}) {
        if (class_focal && !may_focus) continue;
        cell.class_focal = class_focal;
        for (bool objectness_focal : {false, true}) {
          cell.objectness_focal = objectness_focal;
          for (bool corner_targets : {false, true}) {
            cell.corner_targets = corner_targets;
            add(cell);
          }
        }
      }
    }
  }
  return all;
}

// The numbers, varied along.
inline void VaryYoloNumbers(uint64_t seed, const YoloCaseShape& shape, YoloV3LossOptions* options) {
  constexpr float kThresholds[] = {0.5f, 0.3f, 0.7f, 0, 0.1f, 1.5f};
  constexpr float kSmoothings[] = {0, 0.1f, 0, 0.5f};
  constexpr float kWeights[] = {1, 0.5f, 2, 0, 1};
  options->ignore.thresh = kThresholds[seed % 6];
  options->ignore.above = seed % 4 == 1 && options->ignore.thresh > 0;  // above 0, all boxes that touch matter
  options->ignore_scope = seed % 3 == 0 ? IgnoreScope::kImage : IgnoreScope::kScale;
  options->cell.label_smoothing = kSmoothings[seed / 2 % 4];
  options->cell.box_weight = kWeights[seed % 5];
  options->cell.object_weight = kWeights[(seed + 1) % 5];
  options->cell.no_object_weight = kWeights[(seed + 2) % 5];
  options->cell.class_weight = kWeights[(seed + 3) % 5];
  if (seed % 3 == 1) {
    for (int64_t c = 0; c < shape.classes; ++c) options->class_weights.push_back(0.25f * static_cast<float>(c % 7));
  }
  if (seed % 2 == 1) {
    for (size_t scale = 0; scale < shape.scales.size(); ++scale) {
      options->grid_sense.push_back(1.05f + 0.05f * static_cast<float>(scale));
    }
  }
}

template <class T>
struct YoloRun {
  Status status;
  std::vector<Compute<T>> loss, box, xy, wh, object, no_object, class_term;
  std::vector<int32_t> num_invalid;
  std::vector<std::vector<Compute<T>>> objectness_gradient;
  std::vector<std::vector<uint8_t>> selection;
  std::vector<std::vector<T>> gradient;
};

// One guarded buffer per scale.
template <class V>
class GuardedBuffers {
 public:
  void Add(int64_t count, int64_t offset = 0) {
    buffers_.emplace_back(count, offset);
    data_.push_back(buffers_.back().data());
  }
  const std::vector<V*>& data() const { return data_; }
  std::vector<const V*> const_data() const { return {data_.begin(), data_.end()}; }
  std::vector<std::vector<V>> values() const {
    std::vector<std::vector<V>> all;
    for (const GuardedBuffer<V>& buffer : buffers_) all.push_back(buffer.values());
    return all;
  }

 private:
  std::deque<GuardedBuffer<V>> buffers_;
  std::vector<V*> data_;
};

template <class V>
std::vector<const V*> PointersTo(const std::vector<std::vector<V>>& arrays) {
  std::vector<const V*> pointers;
  for (const std::vector<V>& array : arrays) pointers.push_back(array.data());
  return pointers;
}

// `forward(y_true, y_pred, outputs)` and `backward(y_true, y_pred, residuals, gradient)` run the loss and its gradient.
// The gradients lie `gradient_offset` elements behind the start of a cache line.
template <class T, class Forward, class Backward>
YoloRun<T> RunYoloV3LossBy(const YoloCase<T>& given, int64_t gradient_offset, const Forward& forward,
                           const Backward& backward) {
  using L = Compute<T>;
  const YoloV3Shape& shape = given.shape;
  const GuardedBuffer<L> loss(shape.images), box(shape.images), xy(shape.images), wh(shape.images),
      object(shape.images), no_object(shape.images), class_term(shape.images);
  const GuardedBuffer<int32_t> num_invalid(shape.images);
  GuardedBuffers<L> objectness_gradient;
  GuardedBuffers<uint8_t> selection;
  GuardedBuffers<T> gradient;
  for (size_t scale = 0; scale < shape.scales.size(); ++scale) {
    const int64_t rows = shape.images * shape.Rows(scale);
    objectness_gradient.Add(rows);
    selection.Add(rows);
    gradient.Add(rows * (5 + shape.classes), gradient_offset);
  }
  const std::vector<const L*> y_true = PointersTo(given.y_true);
  const std::vector<const T*> y_pred = PointersTo(given.y_pred);
  const Status first = forward(
      y_true, y_pred,
      YoloV3LossOutputs<L>{loss.data(), box.data(), xy.data(), wh.data(), object.data(), no_object.data(),
                           class_term.data(), num_invalid.data(), objectness_gradient.data(), selection.data()});
  if (!first.ok()) return {first, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}};
  const Status second =
      backward(y_true, y_pred, YoloV3LossResiduals<L>{objectness_gradient.const_data(), selection.const_data()},
               gradient.data());
  return {second.ok() ? first : second,
          loss.values(),
          box.values(),
          xy.values(),
          wh.values(),
          object.values(),
          no_object.values(),
          class_term.values(),
          num_invalid.values(),
          objectness_gradient.values(),
          selection.values(),
          gradient.values()};
}

template <class T>
YoloRun<T> RunYoloV3Loss(const YoloCase<T>& given, Executor& executor, int64_t gradient_offset = 0) {
  const GuardedBuffer<char> workspace(static_cast<int64_t>(YoloV3LossWorkspaceBytes<T>(given.shape)));
  return RunYoloV3LossBy<T>(
      given, gradient_offset,
      [&](const auto& y_true, const auto& y_pred, const auto& outputs) {
        return YoloV3LossForward<T>(given.options, given.shape, y_true, y_pred, outputs, workspace.data(), executor);
      },
      [&](const auto& y_true, const auto& y_pred, const auto& residuals, const auto& gradient) {
        return YoloV3LossBackward<T>(given.options, given.shape, given.loss_gradient.data(), y_true, y_pred, residuals,
                                     gradient, executor);
      });
}

template <class T>
void CheckSameRun(const YoloRun<T>& got, const YoloRun<T>& want) {
  CHECK_EQUAL(got.status.message(), want.status.message());
  CHECK_BITS_EQUAL(got.loss, want.loss);
  CHECK_BITS_EQUAL(got.box, want.box);
  CHECK_BITS_EQUAL(got.xy, want.xy);
  CHECK_BITS_EQUAL(got.wh, want.wh);
  CHECK_BITS_EQUAL(got.object, want.object);
  CHECK_BITS_EQUAL(got.no_object, want.no_object);
  CHECK_BITS_EQUAL(got.class_term, want.class_term);
  CHECK_BITS_EQUAL(got.num_invalid, want.num_invalid);
  CHECK_EQUAL(got.selection.size(), want.selection.size());
  for (size_t scale = 0; scale < want.selection.size(); ++scale) {
    const check::Context context("scale " + check::Show(scale));
    CHECK_BITS_EQUAL(got.objectness_gradient[scale], want.objectness_gradient[scale]);
    CHECK_BITS_EQUAL(got.selection[scale], want.selection[scale]);
    CHECK_BITS_EQUAL(got.gradient[scale], want.gradient[scale]);
  }
}

}  // namespace detloss

#endif  // DETLOSS_TESTS_CC_YOLOV3_CASES_H_
