// Names of the options' values, as every front end spells them.
#ifndef DETLOSS_CC_OPTION_NAMES_H_
#define DETLOSS_CC_OPTION_NAMES_H_

#include <cstddef>
#include <string>

#include "cc/ssd_loss.h"
#include "cc/status.h"
#include "cc/yolov3_loss.h"

namespace detloss {

template <class Option>
struct OptionName {
  const char* name;
  Option value;
};

constexpr OptionName<InvalidTargets> kInvalidTargets[] = {
    {"ignore", InvalidTargets::kIgnore}, {"silent", InvalidTargets::kSilent}, {"error", InvalidTargets::kError}};
// Of labels that hold a class index.
constexpr OptionName<InvalidTargets> kInvalidYoloTargets[] = {{"ignore", InvalidTargets::kIgnore},
                                                              {"silent", InvalidTargets::kSilent},
                                                              {"error", InvalidTargets::kError},
                                                              {"class_error", InvalidTargets::kClassError}};

constexpr OptionName<MiningScope> kMiningScopes[] = {
    {"batch", MiningScope::kBatch}, {"image", MiningScope::kImage}, {"image_uniform", MiningScope::kImageUniform}};
constexpr OptionName<RankBy> kRankings[] = {{"loss", RankBy::kLoss}, {"foreground", RankBy::kForeground}};
constexpr OptionName<Normalizer> kNormalizers[] = {
    {"batch", Normalizer::kBatch}, {"image", Normalizer::kImage}, {"image_selected", Normalizer::kImageSelected}};

// How the best overlap of a cell that counts compares to the threshold; the option is IgnoreOptions::above.
constexpr OptionName<bool> kComparators[] = {{"<", false}, {"<=", true}};
constexpr OptionName<IgnoreScope> kIgnoreScopes[] = {{"scale", IgnoreScope::kScale}, {"image", IgnoreScope::kImage}};
constexpr OptionName<bool> kTargetFormats[] = {{"center", false}, {"corner", true}};
constexpr OptionName<ClassLoss> kClassLosses[] = {{"sigmoid", ClassLoss::kSigmoid},
                                                  {"softmax", ClassLoss::kSoftmax},
                                                  {"normalized_sigmoid", ClassLoss::kNormalizedSigmoid},
                                                  {"none", ClassLoss::kNone}};
// How coordinates are compared, or else by which overlap boxes are.
struct NamedBoxLoss {
  BoxLoss box_loss;
  Overlap overlap = Overlap::kIou;
};
constexpr OptionName<NamedBoxLoss> kBoxLosses[] = {{"classic", {BoxLoss::kClassic}},
                                                   {"squared", {BoxLoss::kSquared}},
                                                   {"iou", {BoxLoss::kOverlap, Overlap::kIou}},
                                                   {"giou", {BoxLoss::kOverlap, Overlap::kGiou}},
                                                   {"diou", {BoxLoss::kOverlap, Overlap::kDiou}},
                                                   {"ciou", {BoxLoss::kOverlap, Overlap::kCiou}},
                                                   {"siou", {BoxLoss::kOverlap, Overlap::kSiou}}};

// Sets `value` to the option of that name.
template <class Option, size_t kCount>
Status ChooseOption(const char* argument, const OptionName<Option> (&options)[kCount], const std::string& name,
                    Option* value) {
  std::string expected;
  for (const OptionName<Option>& option : options) {
    if (name == option.name) {
      *value = option.value;
      return Status::Ok();
    }
    expected += (expected.empty() ? "'" : ", '") + std::string(option.name) + "'";
  }
  return Status::InvalidArgument(std::string(argument) + ": expected one of " + expected + ", got '" + name + "'");
}

}  // namespace detloss

#endif  // DETLOSS_CC_OPTION_NAMES_H_
