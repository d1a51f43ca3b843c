// What an entry point answers: nothing here throws.
#ifndef DETLOSS_CC_STATUS_H_
#define DETLOSS_CC_STATUS_H_

#include <string>
#include <utility>

namespace detloss {

class [[nodiscard]] Status {
 public:
  static Status Ok() { return Status(true, {}); }
  static Status InvalidArgument(std::string message) { return Status(false, std::move(message)); }

  bool ok() const { return ok_; }
  const std::string& message() const { return message_; }

 private:
  Status(bool ok, std::string message) : ok_(ok), message_(std::move(message)) {}

  bool ok_;
  std::string message_;
};

}  // namespace detloss

#endif  // DETLOSS_CC_STATUS_H_
