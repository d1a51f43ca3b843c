"""What TensorFlow is told when it asks for more than the first derivative of a loss."""

from __future__ import annotations


def no_second_derivative(function: str) -> LookupError:
    """The error to raise when the gradient op of `function` is differentiated."""
    return LookupError(
        f"{function} has no second derivative: its gradient cannot be differentiated. Forward-mode differentiation "
        "(tf.autodiff.ForwardAccumulator) is built from a second derivative, so it does not work either; "
        "tf.GradientTape gives the first."
    )
