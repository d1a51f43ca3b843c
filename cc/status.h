// What an entry point answers: nothing here throws.
#ifndef DETLOSS_CC_STATUS_H_
#define DETLOSS_CC_STATUS_H_

#include <cmath>
#include <cstdio>
#include <string>
#include <utility>

namespace detloss {

class [[nodiscard]] Status {
 public:
  static Status Ok() { return Status(Code::kOk, {}); }
  // All is done, and there is something to say about it.
  static Status Warning(std::string message) { return Status(Code::kOk, std::move(message)); }
  // The caller's mistake.
  static Status InvalidArgument(std::string message) { return Status(Code::kInvalidArgument, std::move(message)); }
  // The device's.
  static Status Internal(std::string message) { return Status(Code::kInternal, std::move(message)); }

  bool ok() const { return code_ == Code::kOk; }
  bool is_internal() const { return code_ == Code::kInternal; }
  const std::string& message() const { return message_; }

 private:
  enum class Code { kOk, kInvalidArgument, kInternal };

  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  Code code_;
  std::string message_;
};

#define DETLOSS_RETURN_IF_ERROR(expression)                \
  do {                                                     \
    const ::detloss::Status detloss_status = (expression); \
    if (!detloss_status.ok()) return detloss_status;       \
  } while (false)

// A number as a message shows it.
inline std::string Describe(double value) {
  if (std::isnan(value)) return "nan";  // without a sign that means nothing
  char text[32];
  std::snprintf(text, sizeof(text), "%g", value);
  return text;
}

}  // namespace detloss

#endif  // DETLOSS_CC_STATUS_H_
