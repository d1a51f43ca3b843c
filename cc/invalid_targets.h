// What a loss does about labels that it cannot take, and how it says so.
#ifndef DETLOSS_CC_INVALID_TARGETS_H_
#define DETLOSS_CC_INVALID_TARGETS_H_

#include <cstdint>
#include <string>

#include "cc/status.h"

namespace detloss {

enum class InvalidTargets {
  kIgnore,      // leaves them out, with a warning
  kSilent,      // leaves them out
  kError,       // refuses them
  kClassError,  // refuses a class index that is out of range, and treats all else as kIgnore does
};

// An invalid label in the words of a message.
struct InvalidLabel {
  std::string expected;
  std::string found;
  std::string place;
};

inline Status RefuseTarget(const InvalidLabel& label, const char* invalid_targets) {
  return Status::InvalidArgument("y_true: expected " + label.expected + " (invalid_targets=\"" + invalid_targets +
                                 "\"), got " + label.found + " in " + label.place);
}

// `first` is the first of as many as `count`.
inline Status WarnOfTargets(int64_t count, const InvalidLabel& first) {
  return Status::Warning("y_true: " + std::to_string(count) +
                         " invalid label(s) of this batch are left out of the loss. The first: expected " +
                         first.expected + ", got " + first.found + " in " + first.place +
                         ". detloss.check_targets lists them all. This is said once per process, and not with "
                         "invalid_targets=\"silent\".");
}

// On a device nothing is known before the work is done.
inline Status CheckInvalidTargetsOnDevice(InvalidTargets invalid_targets) {
  if (invalid_targets != InvalidTargets::kError) return Status::Ok();
  return Status::InvalidArgument(
      "invalid_targets: expected \"ignore\" on a GPU, got \"error\"; detloss.check_targets checks labels beforehand");
}

}  // namespace detloss

#endif  // DETLOSS_CC_INVALID_TARGETS_H_
