// Attributes of the ops as options of the kernels; op definitions, kernels and lowerings read them alike.
#ifndef DETLOSS_OPS_ATTRIBUTES_H_
#define DETLOSS_OPS_ATTRIBUTES_H_

#include <string>
#include <utility>

#include "cc/hard_negative_mining.h"
#include "cc/ssd_loss.h"
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

}  // namespace detloss

#endif  // DETLOSS_OPS_ATTRIBUTES_H_
