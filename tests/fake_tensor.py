"""NumPy arrays that claim, through DLPack, to be on a CUDA device."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

CUDA = 2  # DLPack's number of the device type


class DLTensor(ctypes.Structure):
    """As in DLPack's `dlpack.h`."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
        ("manager_ctx", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    ]


_CODES = {"i": 0, "u": 1, "f": 2, "V": 4, "b": 6}  # ml_dtypes' bfloat16 is of NumPy's kind V

_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


class FakeTensor:
    """An array that claims to be on a CUDA device: nothing may read it."""

    def __init__(
        self,
        array: np.ndarray,
        *,
        device_type: int = CUDA,
        device_id: int = 0,
        strides: Any = "array's",
        shape: Any = None,
        told: Any = None,
        **fields: int,
    ):
        """Claims that differ from the array: its shape, `told` of `__dlpack_device__`, other `fields` of `DLTensor`."""
        self.array, self.device = array, (device_type, device_id)
        self.told = told or self.device
        self.streams: list[Any] = []
        steps = [step // array.itemsize for step in array.strides] if strides == "array's" else strides
        self._shape = (ctypes.c_int64 * max(1, array.ndim))(*(array.shape if shape is None else shape))
        self._strides = None if steps is None else (ctypes.c_int64 * max(1, array.ndim))(*steps)
        self._tensor = DLTensor(
            array.ctypes.data,
            *self.device,
            array.ndim,
            _CODES[array.dtype.kind],
            array.itemsize * 8,
            1,
            self._shape,
            self._strides,
        )
        for name, value in fields.items():
            setattr(self._tensor, name, value)

    def __dlpack_device__(self) -> Any:
        return self.told

    def __dlpack__(self, *, stream: int | None = None) -> Any:
        self.streams.append(stream)
        return _new_capsule(ctypes.addressof(self._tensor), b"dltensor", None)


def aligned(bytes_: int, shift: int = 0) -> np.ndarray:
    memory = np.zeros(bytes_ + 64, np.uint8)
    start = -memory.ctypes.data % 64 + shift
    return memory[start : start + bytes_]
