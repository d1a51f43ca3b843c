// The part of DLPack's ABI that this package reads: a capsule "dltensor" holds a pointer to a DLManagedTensor, whose
// first member is a DLTensor. After https://dmlc.github.io/dlpack/latest/c_api.html, as of version 0.x, which every
// later version still hands out to a consumer that asks for no version.
#ifndef DETLOSS_PYTHON_BINDINGS_DLPACK_H_
#define DETLOSS_PYTHON_BINDINGS_DLPACK_H_

#include <cstdint>

namespace detloss {
namespace dlpack {

constexpr const char* kCapsuleName = "dltensor";

constexpr int32_t kCuda = 2;  // of DLDeviceType

enum TypeCode : uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kBFloat = 4, kBool = 6 };  // of DLDataTypeCode

struct Device {
  int32_t type;
  int32_t id;
};

struct DataType {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  int32_t ndim;
  DataType dtype;
  int64_t* shape;
  int64_t* strides;  // in elements; null: C order
  uint64_t byte_offset;
};

}  // namespace dlpack
}  // namespace detloss

#endif  // DETLOSS_PYTHON_BINDINGS_DLPACK_H_
