"""Which Keras calls a loss or a layer, and with what: told by the Python frames, which also exist while it traces.

A frame belongs to a Keras by the name of its module. Frames of TensorFlow, of this package and of users lie in between
and say nothing: of two Kerases that call each other through a user's code, the one that is nearer is the caller.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from detloss import _legacy_keras

_NAMES = {"keras": "Keras 3", "tf_keras": "tf_keras"}
_STEPS = frozenset({"train_step", "test_step"})
_LOOPS = frozenset({"fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch"})


def check_caller(instance: Any, *tensors: Any) -> None:
    """Refuses the calls and the symbolic tensors of the Keras that `instance`, a loss or a layer, is not of.

    They would be weighted and scaled by the rules of the other Keras: to wrong numbers, without an error.

    Raises:
      TypeError: the nearest calling Keras is the other one, or one of `tensors` is symbolic and of the other one.
    """
    own, name = _keras_and_name(type(instance).__mro__)
    frame = next(_frames_of_keras(), None)
    if frame is not None and _root(frame) != own:
        raise TypeError(_refusal(name, own, "got a call by"))
    for tensor in tensors:
        if _keras_of_symbolic(type(tensor).__mro__) not in (None, own):
            raise TypeError(_refusal(name, own, "got a symbolic tensor of"))


def weights_of_wrapper(function: Any) -> tuple[Any, Any]:
    """Sample weights and mask by which a Keras will weight what its wrapper around a plain callable returns.

    Returns:
      Both, `None` where there is none or where no wrapper of a Keras calls `function`.
    """
    frames = list(itertools.islice(_frames_of_keras(), 2))
    if len(frames) < 2 or [_function(frame) for frame in frames] != ["call", "__call__"]:
        return None, None
    wrapper, caller = (frame.f_locals for frame in frames)
    if getattr(wrapper.get("self"), "fn", None) is not function or caller.get("self") is not wrapper["self"]:
        return None, None
    return caller.get("sample_weight"), caller.get("in_mask")


def weights_of_fit() -> tuple[Any, Any]:
    """Sample weights that the calling model's `fit` or `evaluate` was given, and the model.

    `None` outside of both, and in training steps that a user wrote, which may do with the weights as they please.
    """
    in_step = False
    for frame in _frames_of_keras():
        name = _function(frame)
        in_step = in_step or name in _STEPS
        if not in_step or name not in _STEPS | _LOOPS:
            continue
        # Without targets both Kerases drop the weights between the loop and the step.
        variables = frame.f_locals
        if variables.get("sample_weight") is not None:
            return variables["sample_weight"], variables.get("self")
        if name in _LOOPS:
            break
    return None, None


def _frames_of_keras() -> Iterator[FrameType]:
    """Those of either Keras, the nearest first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if _root(frame) in _NAMES:
            yield frame
        frame = frame.f_back


def _root(frame: FrameType) -> str:
    return _package(frame.f_globals.get("__name__"))


def _function(frame: FrameType) -> str:
    # AutoGraph names what it rewrote so.
    return frame.f_code.co_name.removeprefix("tf__")


def _package(module: Any) -> str:
    return str(module).partition(".")[0]


@functools.cache
def _keras_and_name(bases: tuple[type, ...]) -> tuple[str, str]:
    """Keras of one of our classes, or of a class derived from one, and our class's name."""
    packages = [(_package(base.__module__), base.__name__) for base in bases]
    own = next(package for package, _ in packages if package in _NAMES)
    return own, next(name for package, name in packages if package == "detloss")


@functools.cache
def _keras_of_symbolic(bases: tuple[type, ...]) -> str | None:
    packages = [_package(base.__module__) for base in bases if base.__name__ == "KerasTensor"]
    return next((package for package in packages if package in _NAMES), None)


def _refusal(name: str, own: str, got: str) -> str:
    other = next(keras for keras in _NAMES if keras != own)
    return (
        f"{_public_name(own, name)}: expected a model of {_NAMES[own]}, {got} {_NAMES[other]}, which weights and "
        f"scales losses by other rules. Use {_public_name(other, name)} there."
    )


def _public_name(keras: str, name: str) -> str:
    if keras == "tf_keras":
        return f"detloss.tf_keras.{name}"
    return f"detloss.losses.{name}" if _legacy_keras.is_chosen() else f"detloss.{name}"
