"""Arrays in the shapes of a network's parameters, as views of one flat vector."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from fastbp.network.network import Network
    from fastbp.network.passes import Passes


# A tuple, since an assignment to an element of a list of views would change nothing.
Views = tuple[npt.NDArray[Any], ...]


@dataclass(frozen=True)
class Shapes:
    """The shapes of all parameters, in the order of the flat vector: W0, b0, W1, b1, ..."""

    weights: tuple[tuple[int, int], ...]
    biases: tuple[tuple[int, ...], ...] | None
    weight_offsets: tuple[int, ...] = field(init=False)
    bias_offsets: tuple[int, ...] = field(init=False)
    size: int = field(init=False)

    def __post_init__(self) -> None:
        """Lay the arrays out one after the other."""
        weight_offsets, bias_offsets, end = [], [], 0
        for k, (rows, columns) in enumerate(self.weights):
            weight_offsets.append(end)
            end += rows * columns
            bias_offsets.append(end if self.biases is not None else -1)
            if self.biases is not None:
                end += self.biases[k][0]
        object.__setattr__(self, "weight_offsets", tuple(weight_offsets))
        object.__setattr__(self, "bias_offsets", tuple(bias_offsets))
        object.__setattr__(self, "size", end)

    def weight_views(self, flat: npt.NDArray[Any]) -> Views:
        """Views of the weights in ``flat``."""
        return tuple(
            flat[at : at + rows * columns].reshape(rows, columns)
            for at, (rows, columns) in zip(self.weight_offsets, self.weights, strict=True)
        )

    def bias_views(self, flat: npt.NDArray[Any]) -> Views | None:
        """Views of the biases in ``flat``, or None where there are none."""
        if self.biases is None:
            return None
        return tuple(
            flat[at : at + shape[0]].reshape(shape)
            for at, shape in zip(self.bias_offsets, self.biases, strict=True)
        )

    def names(self) -> list[str]:
        """Names of the arrays in the order of the flat vector."""
        names = []
        for k in range(len(self.weights)):
            names.append(f"weights[{k}]")
            if self.biases is not None:
                names.append(f"biases[{k}]")
        return names


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
    """

    def __init__(
        self, shapes: Shapes, flat: npt.NDArray[Any], inputs: npt.NDArray[Any] | None = None
    ) -> None:
        self.shapes = shapes
        self.passes: Passes | None = None  # scratch memory for the next call with ``out=``
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


def empty_gradients(shapes: Shapes, dtype: np.dtype[Any]) -> Gradients:
    """Gradients that a kernel is about to fill."""
    return Gradients(shapes, np.empty(shapes.size, dtype))


def _array_slices(net: Network) -> list[slice]:
    """Return where each array is in the flat vector."""
    ends = np.cumsum([math.prod(shape) for shape in _shapes(net)]).tolist()
    return [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _shapes(net: Network) -> list[tuple[int, ...]]:
    weights = [array.shape for array in net.weights]
    if net.biases is None:
        return weights
    biases = [array.shape for array in net.biases]
    return [shape for layer in zip(weights, biases, strict=True) for shape in layer]
