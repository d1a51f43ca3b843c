// Tensors of a device, of any framework that speaks DLPack, as the kernels' arguments.
#ifndef DETLOSS_PYTHON_BINDINGS_DEVICE_TENSORS_H_
#define DETLOSS_PYTHON_BINDINGS_DEVICE_TENSORS_H_

#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "cc/device_stream.h"
#include "python/bindings/dlpack.h"
#include "python/bindings/python_values.h"
#include "python/bindings/tensor_view.h"

namespace detloss {

inline std::string DtypeName(const dlpack::DataType& dtype) {
  const std::string bits = std::to_string(dtype.bits);
  if (dtype.lanes == 1) {
    if (dtype.code == dlpack::kFloat) return "float" + bits;
    if (dtype.code == dlpack::kBFloat) return "bfloat" + bits;
    if (dtype.code == dlpack::kInt) return "int" + bits;
    if (dtype.code == dlpack::kUInt) return "uint" + bits;
    if (dtype.code == dlpack::kBool && dtype.bits == 8) return "bool";
  }
  return "of DLPack type code " + std::to_string(dtype.code) + ", " + bits + " bits, " + std::to_string(dtype.lanes) +
         " lanes";
}

inline bool IsContiguous(const dlpack::Tensor& tensor) {
  if (tensor.strides == nullptr || std::count(tensor.shape, tensor.shape + tensor.ndim, 0) > 0) return true;
  int64_t stride = 1;
  for (int32_t axis = tensor.ndim - 1; axis >= 0; --axis) {
    if (tensor.shape[axis] != 1 && tensor.strides[axis] != stride) return false;
    stride *= tensor.shape[axis];
  }
  return true;
}

// The tensors of one call, all of them on one device, whose work goes to one of its streams.
class DeviceArguments {
 public:
  // `stream` is a cudaStream_t as an integer.
  explicit DeviceArguments(const py::object& stream) : stream_(ValueFrom<uintptr_t>("stream", stream)) {}

  DeviceStream stream() const { return reinterpret_cast<DeviceStream>(stream_); }

  // An object with `__dlpack__`, or what it returns. The producer lets the stream wait for work of another one that the
  // tensor still needs; nobody waits on the host.
  TensorView View(const char* name, const py::object& object) {
    const dlpack::Tensor& tensor = Load(name, object);
    CheckDevice(name, tensor.device);
    if (tensor.ndim < 0) throw py::value_error(ErrorText(name, "a rank of at least 0", std::to_string(tensor.ndim)));
    Dimensions shape(tensor.shape, tensor.shape + tensor.ndim);
    CheckSizes(name, shape);
    if (tensor.data == nullptr && std::count(shape.begin(), shape.end(), 0) == 0) {
      throw py::value_error(ErrorText(name, "a tensor with memory", "a null pointer"));
    }
    // Whether it is read-only, DLPack of version 0 does not tell.
    return {static_cast<const char*>(tensor.data) + tensor.byte_offset,
            DtypeName(tensor.dtype),
            std::move(shape),
            tensor.dtype.bits * tensor.dtype.lanes / 8,
            IsContiguous(tensor),
            true};
  }

  // One per scale.
  std::vector<TensorView> Views(const char* name, const py::object& objects) {
    std::vector<TensorView> views;
    for (const py::handle& object : ListFrom(name, objects, "a list of tensors")) {
      views.push_back(View(name, py::reinterpret_borrow<py::object>(object)));
    }
    return views;
  }

  // Of a dict of outputs.
  TensorView View(const py::dict& outputs, const char* name) { return View(name, Output(outputs, name)); }

  std::vector<TensorView> Views(const py::dict& outputs, const char* name) {
    return Views(name, Output(outputs, name));
  }

  // Memory for `bytes` bytes, as a tensor of uint8 `[bytes]` or more.
  void* Workspace(const py::object& object, size_t bytes) {
    const TensorView memory = View("workspace", object);
    if (memory.dtype != "uint8") throw py::type_error("workspace: expected dtype uint8, got " + memory.dtype);
    if (!memory.contiguous || memory.shape.size() != 1 || static_cast<size_t>(memory.shape[0]) < bytes) {
      throw py::value_error("workspace: expected shape (" + std::to_string(bytes) + ",) or longer, got " +
                            ShapeText(memory.shape));
    }
    if (bytes > 0) CheckAlignment("workspace", memory, kAlignment);
    return const_cast<void*>(memory.data);
  }

 private:
  static constexpr size_t kAlignment = 64;
  static constexpr uintptr_t kLegacyStream = 1;  // as DLPack has it, where a null stream would be ambiguous

  static py::object Output(const py::dict& outputs, const char* name) {
    if (!outputs.contains(name)) throw py::value_error("outputs: expected a tensor '" + std::string(name) + "'");
    return outputs[name];
  }

  const dlpack::Tensor& Load(const char* name, const py::object& object) {
    py::object capsule = object;
    if (py::hasattr(object, "__dlpack__")) {
      // Another device's producer would not know what to do with the stream.
      const py::object device = object.attr("__dlpack_device__")();
      try {
        const auto [type, id] = device.cast<std::pair<int32_t, int32_t>>();
        CheckDevice(name, {type, id});
      } catch (const py::cast_error&) {
        ThrowTypeError(name, "__dlpack_device__ to tell two integers", device);
      }
      capsule = object.attr("__dlpack__")(py::arg("stream") = stream_ == 0 ? kLegacyStream : stream_);
    }
    if (!PyCapsule_IsValid(capsule.ptr(), dlpack::kCapsuleName)) {
      throw py::type_error(std::string(name) + ": expected a tensor with __dlpack__, or a DLPack capsule, got " +
                           std::string(py::str(py::type::of(object).attr("__name__"))));
    }
    // Nobody takes the tensor out of the capsule, so that the capsule frees it.
    capsules_.push_back(capsule);
    return *static_cast<const dlpack::Tensor*>(PyCapsule_GetPointer(capsule.ptr(), dlpack::kCapsuleName));
  }

  void CheckDevice(const char* name, const dlpack::Device& device) {
    if (device.type != dlpack::kCuda) {
      throw py::value_error(std::string(name) + ": expected a tensor on a CUDA device, got DLPack device type " +
                            std::to_string(device.type));
    }
    if (device_ < 0) device_ = device.id;
    if (device.id != device_) {
      throw py::value_error(std::string(name) + ": expected a tensor on CUDA device " + std::to_string(device_) +
                            ", as the others, got device " + std::to_string(device.id));
    }
  }

  const uintptr_t stream_;
  int32_t device_ = -1;
  std::vector<py::object> capsules_;
};

}  // namespace detloss

#endif  // DETLOSS_PYTHON_BINDINGS_DEVICE_TENSORS_H_
