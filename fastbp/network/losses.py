"""The losses by name, their reductions, and the targets that they take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp.errors import DTypeError, NonFiniteError, OptionError, ShapeError
from fastbp.kernels.backprop.sample_losses import CUSTOM, LEAST_SQUARES, SIGMOID, SOFTMAX
from fastbp.runtime.floating_point import callers_errstate
from fastbp.runtime.validation import (
    require_array,
    require_choice,
    require_dtype,
    require_finite,
    require_number,
    require_shape,
)
from fastbp.typing import AnyFloats, Array

CustomLoss = tuple[
    Callable[[AnyFloats, AnyFloats], float], Callable[[AnyFloats, AnyFloats], AnyFloats]
]
Loss = str | CustomLoss

CODES = {
    "least_squares": LEAST_SQUARES,
    "softmax_cross_entropy": SOFTMAX,
    "sigmoid_cross_entropy": SIGMOID,
}
REDUCTIONS = ("sum", "mean", "mean_entries")


@dataclass(frozen=True)
class Objective:
    """What is minimised: scale * reduction(loss) + weight_decay / 2 * sum of W ** 2."""

    loss: Loss = "least_squares"
    reduction: str = "sum"
    scale: float = 1.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Check every option once."""
        if isinstance(self.loss, tuple):
            if len(self.loss) != 2 or not all(callable(part) for part in self.loss):
                raise OptionError(
                    "loss must be a name or a pair of callables (value, gradient), "
                    f"not {self.loss!r}."
                )
        else:
            require_choice(self.loss, "loss", tuple(CODES))
        require_choice(self.reduction, "reduction", REDUCTIONS)
        number = require_number(self.scale, "scale", -np.inf, np.inf, "a finite number")
        decay = require_number(
            self.weight_decay, "weight_decay", 0.0, np.inf, "a finite number of at least 0"
        )
        object.__setattr__(self, "scale", number)
        object.__setattr__(self, "weight_decay", decay)

    @property
    def code(self) -> int:
        """The number by which kernels know the loss."""
        return int(CODES[self.loss]) if isinstance(self.loss, str) else int(CUSTOM)

    @property
    def custom(self) -> CustomLoss | None:
        """The pair of callables, or None for a loss with a name."""
        return None if isinstance(self.loss, str) else self.loss

    @property
    def name(self) -> str:
        """The name of the loss, "custom" for a pair of callables."""
        return self.loss if isinstance(self.loss, str) else "custom"

    def factor(self, batch: int, outputs: int) -> float:
        """Return what the summed loss is multiplied by: scale over the reduction's count."""
        counts = {"sum": 1, "mean": batch, "mean_entries": batch * outputs}
        return self.scale / counts[self.reduction]

    def decay_term(self, weights: Sequence[AnyFloats]) -> float:
        """Return weight_decay / 2 times the sum of all squared weights."""
        if self.weight_decay == 0.0:
            return 0.0
        with np.errstate(all="ignore"):  # zero or infinity, as the loss
            squares = [float(np.sum(np.square(w, dtype=np.float64))) for w in weights]
        return 0.5 * self.weight_decay * sum(squares)


def takes_labels(objective: Objective, y: object) -> bool:
    """Tell whether ``y`` is meant as class indices."""
    return (
        objective.loss == "softmax_cross_entropy"
        and isinstance(y, np.ndarray)
        and y.dtype.kind in "iu"
    )


def _require_labels(y: Array, batch: int, classes: int) -> None:
    require_shape(y, "y", (batch,))
    outside = (y < 0) | (y >= classes)
    if outside.any():
        place = int(np.argmax(outside))
        raise OptionError(
            f"y must hold class indices from 0 to {classes - 1}, but y[{place}] is {int(y[place])}."
        )


def _require_range(y: AnyFloats, low: float, high: float, what: str) -> None:
    outside = ~((y >= low) & (y <= high))
    if outside.any():
        place = tuple(int(i) for i in np.argwhere(outside)[0])
        index = ", ".join(str(i) for i in place)
        raise OptionError(f"y must hold {what}, but y[{index}] is {float(y[place])}.")


def _require_probabilities(y: AnyFloats, unit_axis: int) -> None:
    _require_range(y, 0.0, np.inf, "probabilities of at least 0")
    sums = y.sum(axis=unit_axis, dtype=np.float64)
    # A float probability is rounded by half a unit; so is each of the sum's terms.
    allowed = 4.0 * y.shape[unit_axis] * float(np.finfo(y.dtype).eps) + 1e-7
    if y.dtype == np.float64:
        allowed = 1e-9 + 4.0 * y.shape[unit_axis] * float(np.finfo(y.dtype).eps)
    wrong = ~(np.abs(sums - 1.0) <= allowed)
    if wrong.any():
        sample = int(np.argmax(wrong))
        raise OptionError(
            "y must hold probabilities that sum to 1 for each sample, but those of sample "
            f"{sample} sum to {float(sums[sample])}."
        )


def require_targets(
    objective: Objective, y: object, shape: tuple[int, int], unit_axis: int, dtype: np.dtype[Any]
) -> Array:
    """Check ``y`` against the shape of the outputs, the type and the loss; not its finiteness.

    Parameters
    ----------
    objective : Objective
    y : ndarray
    shape : tuple of int
        Of the outputs, as the user sees them.
    unit_axis : int
        The axis of the outputs that counts units.
    dtype : dtype
        Of the network.

    Returns
    -------
    ndarray
        ``y`` itself.
    """
    array = require_array(y, "y")
    batch = shape[1 - unit_axis]
    if takes_labels(objective, y):
        _require_labels(array, batch, shape[unit_axis])
        return array
    if objective.loss == "softmax_cross_entropy" and array.ndim == 1:
        if array.dtype.kind == "f":
            raise DTypeError(f"y must hold class indices as integers, not {array.dtype}.")
        raise ShapeError(f"y must have shape {shape} or hold class indices, not {array.shape}.")
    floats = require_dtype(array, "y", dtype, "weights[0]")
    require_shape(floats, "y", shape)
    if objective.loss in ("softmax_cross_entropy", "sigmoid_cross_entropy"):
        require_finite(floats, "y")
    if objective.loss == "softmax_cross_entropy":
        _require_probabilities(floats, unit_axis)
    elif objective.loss == "sigmoid_cross_entropy":
        _require_range(floats, 0.0, 1.0, "numbers from 0 to 1")
    return floats


def custom_value(value: Any, output: AnyFloats, y: Array) -> float:
    """Call a user's loss on copies and insist on one finite-or-not number."""
    with callers_errstate():
        result = value(output.copy(), y.copy())
    array = np.asarray(result)
    if array.size != 1 or array.dtype.kind not in "fiu":
        raise ShapeError(
            f"loss[0](output, y) must return one real number, not {type(result).__name__} "
            f"of shape {array.shape}."
        )
    return float(array.reshape(()))


def custom_gradient(gradient: Any, output: AnyFloats, y: Array) -> AnyFloats:
    """Call a user's loss gradient on copies and insist on the output's shape and type."""
    with callers_errstate():
        given = gradient(output.copy(), y.copy())
    result = require_dtype(
        given,
        "loss[1](output, y)",
        output.dtype,
        "weights[0]",
    )
    require_shape(result, "loss[1](output, y)", output.shape)
    if not np.isfinite(result).all():
        raise NonFiniteError("loss[1](output, y) must be finite.")
    return result
