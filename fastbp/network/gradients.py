"""Arrays in the shapes of a network's parameters, as views of one flat vector."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from fastbp.kernels.layer_table import (
    BIASES,
    COLUMNS,
    INPUTS,
    OUTPUTS,
    UNITS_IN,
    UNITS_OUT,
    WEIGHTS,
)
from fastbp.typing import Array, Indices

__all__ = ["LAYOUTS", "Gradients", "ParameterArray", "Shapes", "Views"]

LAYOUTS = ("book", "torch", "keras")

# A tuple, since an assignment to an element of a list of views would change nothing.
Views = tuple[Array, ...]


class ParameterArray(NamedTuple):
    """One array of parameters: the weights or the biases of a layer."""

    kind: str  # "weights" or "biases"
    layer: int
    shape: tuple[int, ...]
    part: slice  # of the flat vector

    @property
    def name(self) -> str:
        """Its name in reports: ``weights[1]``."""
        return f"{self.kind}[{self.layer}]"

    def view(self, flat: Array) -> Array:
        """View its part of a flat vector."""
        return flat[self.part].reshape(self.shape)


@dataclass(frozen=True)
class Shapes:
    """The shapes of all parameters, in the order of the flat vector: W0, b0, W1, b1, ...

    Attributes
    ----------
    weights, biases : tuple of shapes
        In the layout of the user; ``biases`` is None where there are none.
    layout : {"book", "torch", "keras"}
        Not compared: gradients of the same shapes may be exchanged.
    arrays : tuple of ParameterArray
        All arrays in the order of the flat vector.
    sizes : tuple of int
        Units of the input, of each hidden layer and of the output.
    size : int
        How many parameters there are.
    layers : int64, shape (layers, COLUMNS)
        The network as kernels know it (``kernels/layer_table.py``).
    """

    weights: tuple[tuple[int, int], ...]
    biases: tuple[tuple[int, ...], ...] | None
    layout: str = field(default="book", compare=False)
    arrays: tuple[ParameterArray, ...] = field(init=False, compare=False, repr=False)
    sizes: tuple[int, ...] = field(init=False, compare=False)
    size: int = field(init=False, compare=False)
    layers: Indices = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Lay the arrays out one after the other."""
        arrays, end = [], 0
        for k in range(len(self.weights)):
            for kind, shapes in (("weights", self.weights), ("biases", self.biases)):
                if shapes is not None:
                    start, end = end, end + math.prod(shapes[k])
                    arrays.append(ParameterArray(kind, k, shapes[k], slice(start, end)))
        inputs = [rows if self.transposed else columns for rows, columns in self.weights]
        outputs = [columns if self.transposed else rows for rows, columns in self.weights]
        layers = np.empty((len(self.weights), COLUMNS), np.int64)
        layers[:, INPUTS], layers[:, OUTPUTS] = inputs, outputs
        layers[:, WEIGHTS] = [a.part.start for a in arrays if a.kind == "weights"]
        layers[:, BIASES] = [a.part.start for a in arrays if a.kind == "biases"] or -1
        layers[:, UNITS_OUT] = np.cumsum(inputs)
        layers[:, UNITS_IN] = layers[:, UNITS_OUT] - inputs
        for name, value in (
            ("arrays", tuple(arrays)), ("sizes", (inputs[0], *outputs)), ("size", end),
            ("layers", layers),
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    @property
    def transposed(self) -> bool:
        """Whether weights are (n_in, n_out)."""
        return self.layout == "keras"

    @property
    def unit_axis(self) -> int:
        """The axis of inputs and outputs that counts units; the other one counts examples."""
        return 0 if self.layout == "book" else 1

    def by_unit(self, weights: Array) -> Array:
        """View weights, or what has their shape, as (n_out, n_in)."""
        return weights.T if self.layout == "keras" else weights

    def views(self, flat: Array) -> Views:
        """Views of all arrays in ``flat``, in the order of `names`."""
        return tuple(array.view(flat) for array in self.arrays)

    def weight_views(self, flat: Array) -> Views:
        """Views of the weights in ``flat``."""
        step = 1 if self.biases is None else 2
        return tuple([array.view(flat) for array in self.arrays[::step]])

    def bias_views(self, flat: Array) -> Views | None:
        """Views of the biases in ``flat``, or None where there are none."""
        if self.biases is None:
            return None
        return tuple([array.view(flat) for array in self.arrays[1::2]])

    @property
    def weight_offsets(self) -> list[int]:
        """Where the weights of each layer begin in the flat vector."""
        return [array.part.start for array in self.arrays if array.kind == "weights"]

    def names(self) -> list[str]:
        """Names of the arrays in the order of the flat vector."""
        return [array.name for array in self.arrays]

    def entry_name(self, place: int) -> str:
        """Name one entry of the flat vector: ``weights[1][3, 17]``."""
        array = next(array for array in self.arrays if place < array.part.stop)
        index: Any = np.unravel_index(place - array.part.start, array.shape)
        return f"{array.name}[{', '.join(str(int(i)) for i in index)}]"


class Gradients:
    """One number for each parameter, in the parameters' shapes.

    Attributes
    ----------
    flat : ndarray, shape (parameters,)
        All of them, in the order of ``Network.parameters``.
    weights, biases : tuple of ndarray
        Views of ``flat`` in the shapes that the user gave; ``biases`` is None without biases.
    inputs : ndarray or None
        dL/dx in the shape of x, where it was asked for.

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> net = fastbp.Network.random([3, 4, 2], seed=1)
    >>> _, gradients = net.loss_and_gradients(np.ones((3, 5)), np.ones((2, 5)))
    >>> gradients.weights[0].shape, gradients.flat.size == net.parameters.size
    ((4, 3), True)
    """

    def __init__(self, shapes: Shapes, flat: Array, inputs: Array | None = None) -> None:
        self.shapes = shapes
        self.scratch: object = None  # memory that a network keeps for the next call with ``out=``
        self.flat = flat
        self.inputs = inputs

    @property
    def weights(self) -> Views:
        """Views of the part of each layer's weights."""
        return self.shapes.weight_views(self.flat)

    @property
    def biases(self) -> Views | None:
        """Views of the part of each layer's biases, or None."""
        return self.shapes.bias_views(self.flat)

    def __repr__(self) -> str:
        """Say what it is, not all numbers."""
        return f"<{type(self).__name__}: {self.flat.size} entries, {self.flat.dtype}>"
