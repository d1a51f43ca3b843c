// Attributes of the ops as options of the kernels; op definitions, kernels and lowerings read them alike.
#ifndef DETLOSS_OPS_ATTRIBUTES_H_
#define DETLOSS_OPS_ATTRIBUTES_H_

#include <string>
#include <utility>

#include "cc/hard_negative_mining.h"
#include "cc/ssd_loss.h"
#include "cc/yolov3_loss.h"
#include "tensorflow/core/platform/errors.h"

namespace detloss {

inline absl::Status ToAbsl(const Status& status) {
  return status.ok() ? absl::OkStatus() : absl::InvalidArgumentError(status.message());
}

inline MiningScope ParseMiningScope(const std::string& name) {
  return name == "batch" ? MiningScope::kBatch : name == "image" ? MiningScope::kImage : MiningScope::kImageUniform;
}

inline RankBy ParseRankBy(const std::string& name) { return name == "loss" ? RankBy::kLoss : RankBy::kForeground; }

inline Normalizer ParseNormalizer(const std::string& name) {
  return name == "batch" ? Normalizer::kBatch : name == "image" ? Normalizer::kImage : Normalizer::kImageSelected;
}

// `Context` is anything with TensorFlow's GetAttr: an OpKernelConstruction, an InferenceContext, the attributes of an
// XLA handler.
template <class Context>
absl::Status ReadLayout(Context* context, SsdLayout* layout) {
  TF_RETURN_IF_ERROR(context->GetAttr("num_classes", &layout->num_classes));
  TF_RETURN_IF_ERROR(context->GetAttr("class_column", &layout->class_column));
  TF_RETURN_IF_ERROR(context->GetAttr("box_column", &layout->box_column));
  TF_RETURN_IF_ERROR(context->GetAttr("has_positive_column", &layout->has_positive_column));
  return context->GetAttr("positive_column", &layout->positive_column);
}

template <class Context>
absl::Status ReadMiningOptions(Context* context, MiningOptions* options) {
  std::string scope;
  TF_RETURN_IF_ERROR(context->GetAttr("neg_pos_ratio", &options->neg_pos_ratio));
  TF_RETURN_IF_ERROR(context->GetAttr("n_neg_min", &options->n_neg_min));
  TF_RETURN_IF_ERROR(context->GetAttr("mining_scope", &scope));
  options->scope = ParseMiningScope(scope);
  return absl::OkStatus();
}

// What forward and backward both need.
template <class Context>
absl::Status ReadSsdLossGradOptions(Context* context, SsdLossOptions* options) {
  std::string normalizer;
  TF_RETURN_IF_ERROR(ReadLayout(context, &options->layout));
  TF_RETURN_IF_ERROR(context->GetAttr("alpha", &options->alpha));
  TF_RETURN_IF_ERROR(context->GetAttr("normalizer", &normalizer));
  options->normalizer = ParseNormalizer(normalizer);
  return context->GetAttr("from_logits", &options->from_logits);
}

template <class Context>
absl::Status ReadSsdLossOptions(Context* context, SsdLossOptions* options) {
  std::string rank_by, invalid_targets;
  TF_RETURN_IF_ERROR(ReadSsdLossGradOptions(context, options));
  TF_RETURN_IF_ERROR(ReadMiningOptions(context, &options->mining));
  TF_RETURN_IF_ERROR(context->GetAttr("rank_by", &rank_by));
  TF_RETURN_IF_ERROR(context->GetAttr("invalid_targets", &invalid_targets));
  options->rank_by = ParseRankBy(rank_by);
  options->invalid_is_error = invalid_targets == "error";
  return absl::OkStatus();
}

// What names the box loss: an overlap, or how coordinates are compared.
inline void ParseBoxLoss(const std::string& name, YoloCellOptions* options) {
  options->box_loss = name == "classic" ? BoxLoss::kClassic : name == "squared" ? BoxLoss::kSquared : BoxLoss::kOverlap;
  options->overlap = name == "giou"   ? Overlap::kGiou
                     : name == "diou" ? Overlap::kDiou
                     : name == "ciou" ? Overlap::kCiou
                     : name == "siou" ? Overlap::kSiou
                                      : Overlap::kIou;
}

inline ClassLoss ParseClassLoss(const std::string& name) {
  return name == "sigmoid"              ? ClassLoss::kSigmoid
         : name == "softmax"            ? ClassLoss::kSoftmax
         : name == "normalized_sigmoid" ? ClassLoss::kNormalizedSigmoid
                                        : ClassLoss::kNone;
}

template <class Context>
absl::Status ReadIgnoreOptions(Context* context, IgnoreOptions* options) {
  std::string comparator;
  TF_RETURN_IF_ERROR(context->GetAttr("ignore_thresh", &options->thresh));
  TF_RETURN_IF_ERROR(context->GetAttr("comparator", &comparator));
  options->above = comparator == "<=";
  return absl::OkStatus();
}

// What forward and backward both need.
template <class Context>
absl::Status ReadYoloV3LossGradOptions(Context* context, YoloV3LossOptions* options) {
  std::string box_loss, class_loss, target_format;
  TF_RETURN_IF_ERROR(context->GetAttr("anchors", &options->anchors));
  TF_RETURN_IF_ERROR(context->GetAttr("strides", &options->strides));
  TF_RETURN_IF_ERROR(context->GetAttr("grid_sense", &options->grid_sense));
  TF_RETURN_IF_ERROR(context->GetAttr("class_weights", &options->class_weights));
  TF_RETURN_IF_ERROR(context->GetAttr("box_loss", &box_loss));
  TF_RETURN_IF_ERROR(context->GetAttr("class_loss", &class_loss));
  TF_RETURN_IF_ERROR(context->GetAttr("target_format", &target_format));
  TF_RETURN_IF_ERROR(context->GetAttr("class_focal", &options->cell.class_focal));
  TF_RETURN_IF_ERROR(context->GetAttr("label_smoothing", &options->cell.label_smoothing));
  TF_RETURN_IF_ERROR(context->GetAttr("box_weight", &options->cell.box_weight));
  TF_RETURN_IF_ERROR(context->GetAttr("class_weight", &options->cell.class_weight));
  ParseBoxLoss(box_loss, &options->cell);
  options->cell.class_loss = ParseClassLoss(class_loss);
  options->cell.corner_targets = target_format == "corner";
  return absl::OkStatus();
}

template <class Context>
absl::Status ReadYoloV3LossOptions(Context* context, YoloV3LossOptions* options) {
  std::string ignore_scope, invalid_targets;
  TF_RETURN_IF_ERROR(ReadYoloV3LossGradOptions(context, options));
  TF_RETURN_IF_ERROR(ReadIgnoreOptions(context, &options->ignore));
  TF_RETURN_IF_ERROR(context->GetAttr("ignore_scope", &ignore_scope));
  TF_RETURN_IF_ERROR(context->GetAttr("objectness_focal", &options->cell.objectness_focal));
  TF_RETURN_IF_ERROR(context->GetAttr("object_weight", &options->cell.object_weight));
  TF_RETURN_IF_ERROR(context->GetAttr("no_object_weight", &options->cell.no_object_weight));
  TF_RETURN_IF_ERROR(context->GetAttr("invalid_targets", &invalid_targets));
  options->ignore_scope = ignore_scope == "image" ? IgnoreScope::kImage : IgnoreScope::kScale;
  options->invalid_is_error = invalid_targets == "error";
  return absl::OkStatus();
}

}  // namespace detloss

#endif  // DETLOSS_OPS_ATTRIBUTES_H_
