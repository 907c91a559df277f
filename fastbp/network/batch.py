"""The inputs and targets of one batch: as the user has them, by unit, in float64, for kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp.errors import ShapeError
from fastbp.network.gradients import Shapes
from fastbp.network.losses import (
    CustomLoss,
    Objective,
    custom_gradient,
    custom_value,
    require_targets,
)
from fastbp.runtime.panels import flat_view
from fastbp.runtime.validation import all_finite, require_dtype, require_finite, require_shape
from fastbp.typing import AnyFloats, Array, Floats, Indices

__all__ = ["Batch", "Targets", "require_all_finite"]

NO_TARGETS, NO_LABELS = np.empty(0), np.empty(0, np.int64)

# Targets as a kernel takes them: flat values, strides of units and samples, class indices.
Targets = tuple[Array, int, int, Indices]
Index = tuple[slice, slice]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Inputs and targets that have been validated.

    Attributes
    ----------
    x : ndarray, shape (n_in, batch), or (batch, n_in) where rows are examples
    y : ndarray, in the shape of the output, or class indices of shape (batch,)
        ``NO_TARGETS`` where inputs are all there is.
    unit_axis : int
        The axis of x and of outputs that counts units: 1 where rows are examples, else 0.
    """

    x: AnyFloats
    y: Array
    unit_axis: int

    @classmethod
    def required(
        cls, shapes: Shapes, objective: Objective, dtype: np.dtype[Any], x: object, y: object
    ) -> Batch:
        """Validate types, shapes and values; finiteness is seen by the kernels.

        Raises
        ------
        DTypeError, ShapeError, NonFiniteError, OptionError
        """
        batch = cls.of_inputs(shapes, dtype, x)
        axis = shapes.unit_axis
        shape = (batch.size, shapes.sizes[-1]) if axis else (shapes.sizes[-1], batch.size)
        plain = isinstance(y, np.ndarray) and y.shape == shape and y.dtype == dtype
        if plain and type(y) is np.ndarray and objective.loss == "least_squares":
            return cls(batch.x, y, axis)  # the values of no other targets are free
        return cls(batch.x, require_targets(objective, y, shape, axis, dtype), axis)

    @classmethod
    def of_inputs(cls, shapes: Shapes, dtype: np.dtype[Any], x: object) -> Batch:
        """Validate the type and the shape of inputs."""
        array = require_dtype(x, "x", dtype, "weights[0]")
        features, axis = shapes.sizes[0], shapes.unit_axis
        if array.ndim != 2 or array.shape[axis] != features:
            require_shape(array, "x", ("batch", features) if axis else (features, "batch"))
        if array.shape[1 - axis] == 0:
            raise ShapeError(f"x must hold at least one example, not shape {array.shape}.")
        return cls(array, NO_TARGETS, axis)

    @property
    def size(self) -> int:
        """How many examples there are."""
        return int(self.x.shape[1 - self.unit_axis])

    def by_unit(self, array: Array) -> Array:
        """View inputs, outputs or targets of the user as (units, batch), and the other way."""
        return array.T if self.unit_axis else array

    def as_user(self, by_unit: Array) -> Array:
        """Arrange (units, batch) as the user has outputs, in C order."""
        return np.ascontiguousarray(self.by_unit(by_unit))

    def flat(self, array: Array) -> tuple[Array, int, int]:
        """Lay an array of the user out flat, with the strides of units and of samples."""
        flat, first, second = flat_view(array)
        return (flat, second, first) if self.unit_axis else (flat, first, second)

    def kernel_targets(self, empty: Array) -> Targets:
        """Lay the targets out for a kernel; ``empty`` has the type in which it computes."""
        if self.y is NO_TARGETS:
            return empty, 0, 0, NO_LABELS
        if self.y.dtype.kind in "iu":
            return empty, 0, 0, self.y.astype(np.int64)
        return *self.flat(self.y), NO_LABELS

    def targets_by_unit(self, output: Floats) -> Floats:
        """View the targets as (units, batch), as outputs are; a 1 for each class index.

        Floats are float64.
        """
        if self.y.dtype.kind == "f":
            return self.by_unit(self.y)
        targets = np.zeros(output.shape)
        targets[self.y, np.arange(self.size)] = 1.0
        return targets

    def inputs_alone(self) -> Batch:
        """Return the same inputs without targets."""
        return Batch(self.x, NO_TARGETS, self.unit_axis)

    def in_float64(self) -> Batch:
        """Convert floats exactly; what is float64 is not copied."""
        y = self.y.astype(np.float64, copy=False) if self.y.dtype.kind == "f" else self.y
        return Batch(self.x.astype(np.float64, copy=False), y, self.unit_axis)

    def index(self, n: int) -> Index:
        """Return the index of example n in the user's arrays; it keeps them two-dimensional."""
        one, every = slice(n, n + 1), slice(None)
        return (one, every) if self.unit_axis else (every, one)

    def sample(self, n: int) -> Batch:
        """Return example n alone; targets are not class indices."""
        return Batch(self.x[self.index(n)], self.y[self.index(n)], self.unit_axis)

    def custom_value(self, loss: CustomLoss, output: AnyFloats) -> float:
        """Call the value of a custom loss on outputs (n_out, batch)."""
        return custom_value(loss[0], self.by_unit(output), self.y)

    def custom_gradient(self, loss: CustomLoss, output: AnyFloats) -> AnyFloats:
        """Call the gradient of a custom loss on outputs (n_out, batch): in the same shape."""
        return self.by_unit(custom_gradient(loss[1], self.by_unit(output), self.y))


def require_all_finite(
    shapes: Shapes, parameters: AnyFloats, batch: Batch, *, targets: bool = True
) -> None:
    """Raise if a parameter or the batch holds NaN or infinity, naming it.

    Raises
    ------
    NonFiniteError
    """
    if not all_finite(parameters):
        for array in shapes.arrays:
            require_finite(array.view(parameters), array.name)
    require_finite(batch.x, "x")
    if targets:
        require_finite(batch.y, "y")
