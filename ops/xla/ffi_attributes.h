// Attributes of an op on their way through XLA: written as text by the lowering, read back by the handler.
#ifndef DETLOSS_OPS_XLA_FFI_ATTRIBUTES_H_
#define DETLOSS_OPS_XLA_FFI_ATTRIBUTES_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cc/dtypes.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "xla/ffi/api/ffi.h"

namespace detloss {

// Answers GetAttr like TensorFlow's contexts, and notes down all that was asked for: the dictionary text that a typed
// custom call takes as its backend config.
class FfiAttributeWriter {
 public:
  explicit FfiAttributeWriter(tensorflow::OpKernelConstruction* context) : context_(context) {}

  template <class T>
  absl::Status GetAttr(const char* name, T* value) {
    TF_RETURN_IF_ERROR(context_->GetAttr(name, value));
    attributes_.push_back(absl::StrCat(name, " = ", Text(*value)));
    return absl::OkStatus();
  }

  std::string text() const { return absl::StrCat("{", absl::StrJoin(attributes_, ", "), "}"); }

 private:
  // Floats are written as their bits. Decimal digits pass through conversions that make zeros of subnormal numbers on
  // the threads of TensorFlow that flush them, and there are none for infinity and NaN.
  static std::string Bits(float value) { return absl::StrFormat("0x%08X", BitCast<uint32_t>(value)); }

  static std::string Text(float value) { return absl::StrCat(Bits(value), " : f32"); }
  static std::string Text(int64_t value) { return absl::StrFormat("%d : i64", value); }
  static std::string Text(bool value) { return value ? "true" : "false"; }
  static std::string Text(const std::string& value) { return absl::StrCat("\"", value, "\""); }
  static std::string Text(const std::vector<float>& values) {
    return ArrayText("f32", values, [](std::string* out, float value) { absl::StrAppend(out, Bits(value)); });
  }
  static std::string Text(const std::vector<int64_t>& values) {
    return ArrayText("i64", values, [](std::string* out, int64_t value) { absl::StrAppend(out, value); });
  }
  template <class T, class Format>
  static std::string ArrayText(const char* type, const std::vector<T>& values, const Format& format) {
    if (values.empty()) return absl::StrCat("array<", type, ">");
    return absl::StrCat("array<", type, ": ", absl::StrJoin(values, ", ", format), ">");
  }

  tensorflow::OpKernelConstruction* const context_;
  std::vector<std::string> attributes_;
};

// Answers GetAttr like TensorFlow's contexts.
class FfiAttributeReader {
 public:
  explicit FfiAttributeReader(xla::ffi::Dictionary attributes) : attributes_(attributes) {}

  template <class T>
  absl::Status GetAttr(const char* name, T* value) const {
    return Read<T>(name, value);
  }
  absl::Status GetAttr(const char* name, std::string* value) const { return Read<std::string_view>(name, value); }
  template <class T>
  absl::Status GetAttr(const char* name, std::vector<T>* values) const {
    const auto stored = attributes_.get<xla::ffi::Span<const T>>(name);
    if (!stored.has_value()) return absl::InternalError(stored.error().message());
    values->assign(stored->begin(), stored->end());
    return absl::OkStatus();
  }

 private:
  template <class Stored, class T>
  absl::Status Read(const char* name, T* value) const {
    const auto stored = attributes_.get<Stored>(name);
    if (!stored.has_value()) return absl::InternalError(stored.error().message());
    *value = T(*stored);
    return absl::OkStatus();
  }

  const xla::ffi::Dictionary attributes_;
};

}  // namespace detloss

#endif  // DETLOSS_OPS_XLA_FFI_ATTRIBUTES_H_
