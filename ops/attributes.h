// Attributes of the ops as options of the kernels; op definitions, kernels and lowerings read them alike.
#ifndef DETLOSS_OPS_ATTRIBUTES_H_
#define DETLOSS_OPS_ATTRIBUTES_H_

#include <cstddef>
#include <string>

#include "cc/hard_negative_mining.h"
#include "cc/option_names.h"
#include "cc/ssd_loss.h"
#include "cc/yolov3_loss.h"
#include "tensorflow/core/platform/errors.h"
#include "tensorflow/core/platform/logging.h"

namespace detloss {

// Logs what a status warns of, once per process.
inline absl::Status ToAbsl(const Status& status) {
  if (status.ok()) {
    if (!status.message().empty()) LOG_FIRST_N(WARNING, 1) << "detloss: " << status.message();
    return absl::OkStatus();
  }
  return status.is_internal() ? absl::InternalError(status.message()) : absl::InvalidArgumentError(status.message());
}

// `Context` below is anything with TensorFlow's GetAttr: an OpKernelConstruction, an InferenceContext, the attributes
// of an XLA handler.
template <class Context, class Option, size_t kCount>
absl::Status GetOption(Context* context, const char* name, const OptionName<Option> (&names)[kCount], Option* option) {
  std::string value;
  TF_RETURN_IF_ERROR(context->GetAttr(name, &value));
  return ToAbsl(ChooseOption(name, names, value, option));
}

template <class Context>
absl::Status ReadLayout(Context* context, SsdLayout* layout) {
  TF_RETURN_IF_ERROR(context->GetAttr("num_classes", &layout->num_classes));
  TF_RETURN_IF_ERROR(context->GetAttr("class_column", &layout->class_column));
  TF_RETURN_IF_ERROR(context->GetAttr("box_column", &layout->box_column));
  TF_RETURN_IF_ERROR(context->GetAttr("has_positive_column", &layout->has_positive_column));
  TF_RETURN_IF_ERROR(context->GetAttr("positive_column", &layout->positive_column));
  return context->GetAttr("exact_width", &layout->exact_width);
}

template <class Context>
absl::Status ReadMiningOptions(Context* context, MiningOptions* options) {
  TF_RETURN_IF_ERROR(context->GetAttr("neg_pos_ratio", &options->neg_pos_ratio));
  TF_RETURN_IF_ERROR(context->GetAttr("n_neg_min", &options->n_neg_min));
  return GetOption(context, "mining_scope", kMiningScopes, &options->scope);
}

// What forward and backward both need.
template <class Context>
absl::Status ReadSsdLossGradOptions(Context* context, SsdLossOptions* options) {
  TF_RETURN_IF_ERROR(ReadLayout(context, &options->layout));
  TF_RETURN_IF_ERROR(context->GetAttr("alpha", &options->alpha));
  TF_RETURN_IF_ERROR(GetOption(context, "normalizer", kNormalizers, &options->normalizer));
  return context->GetAttr("from_logits", &options->from_logits);
}

template <class Context>
absl::Status ReadSsdLossOptions(Context* context, SsdLossOptions* options) {
  TF_RETURN_IF_ERROR(ReadSsdLossGradOptions(context, options));
  TF_RETURN_IF_ERROR(ReadMiningOptions(context, &options->mining));
  TF_RETURN_IF_ERROR(GetOption(context, "rank_by", kRankings, &options->rank_by));
  return GetOption(context, "invalid_targets", kInvalidTargets, &options->invalid_targets);
}

template <class Context>
absl::Status ReadIgnoreOptions(Context* context, IgnoreOptions* options) {
  TF_RETURN_IF_ERROR(context->GetAttr("ignore_thresh", &options->thresh));
  return GetOption(context, "comparator", kComparators, &options->above);
}

// What forward and backward both need.
template <class Context>
absl::Status ReadYoloV3LossGradOptions(Context* context, YoloV3LossOptions* options) {
  NamedBoxLoss box_loss;
  TF_RETURN_IF_ERROR(context->GetAttr("anchors", &options->anchors));
  TF_RETURN_IF_ERROR(context->GetAttr("strides", &options->strides));
  TF_RETURN_IF_ERROR(context->GetAttr("grid_sense", &options->grid_sense));
  TF_RETURN_IF_ERROR(context->GetAttr("class_weights", &options->class_weights));
  TF_RETURN_IF_ERROR(GetOption(context, "box_loss", kBoxLosses, &box_loss));
  TF_RETURN_IF_ERROR(GetOption(context, "class_loss", kClassLosses, &options->cell.class_loss));
  TF_RETURN_IF_ERROR(GetOption(context, "target_format", kTargetFormats, &options->cell.corner_targets));
  TF_RETURN_IF_ERROR(context->GetAttr("class_focal", &options->cell.class_focal));
  TF_RETURN_IF_ERROR(context->GetAttr("label_smoothing", &options->cell.label_smoothing));
  TF_RETURN_IF_ERROR(context->GetAttr("box_weight", &options->cell.box_weight));
  TF_RETURN_IF_ERROR(context->GetAttr("class_weight", &options->cell.class_weight));
  options->cell.box_loss = box_loss.box_loss;
  options->cell.overlap = box_loss.overlap;
  return absl::OkStatus();
}

template <class Context>
absl::Status ReadYoloV3LossOptions(Context* context, YoloV3LossOptions* options) {
  TF_RETURN_IF_ERROR(ReadYoloV3LossGradOptions(context, options));
  TF_RETURN_IF_ERROR(ReadIgnoreOptions(context, &options->ignore));
  TF_RETURN_IF_ERROR(GetOption(context, "ignore_scope", kIgnoreScopes, &options->ignore_scope));
  TF_RETURN_IF_ERROR(context->GetAttr("objectness_focal", &options->cell.objectness_focal));
  TF_RETURN_IF_ERROR(context->GetAttr("object_weight", &options->cell.object_weight));
  TF_RETURN_IF_ERROR(context->GetAttr("no_object_weight", &options->cell.no_object_weight));
  return GetOption(context, "invalid_targets", kInvalidYoloTargets, &options->invalid_targets);
}

}  // namespace detloss

#endif  // DETLOSS_OPS_ATTRIBUTES_H_
