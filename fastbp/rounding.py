"""How far rounding can move a correct gradient: the part of an error bar that is not the step's.

A backward pass rounds in every product, and what that does to an entry depends on the network:
where outputs nearly equal targets, the residual is all rounding, and so is the gradient. The
gradient of the network with every parameter moved by a rounding error, at random, shows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.unperturbed import float64_copy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastbp.network import Network

__all__ = ["Sensitivity", "gradient_sensitivity"]

DRAWS = 4
# Between the spread of a few random draws and the error of one particular order of summation.
MARGIN = 16.0


@dataclass(frozen=True, slots=True, eq=False)
class Sensitivity:
    """How entries of the gradient answer to rounding, by unit of relative rounding error.

    Attributes
    ----------
    most, least : ndarray of float64, shape (n,)
        The largest and the smallest change over the draws, for each entry.
    """

    most: NDArray[np.float64]
    least: NDArray[np.float64]

    def __getitem__(self, part: slice) -> Sensitivity:
        """Return that of some entries."""
        return Sensitivity(self.most[part], self.least[part])

    def error_bar(self, dtype: np.dtype[Any], kinks: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return how far off the entries of one array may be that was computed in a dtype.

        Parameters
        ----------
        dtype : float64 or float32
            Of the computation.
        kinks : ndarray of bool, shape (n,)
            Entries that say nothing about the others.

        Returns
        -------
        ndarray of float64, shape (n,)
            The entry's own change, and no less than what is typical of the array's largest: a
            few draws can miss an entry. What every draw changes is typical; a mask that some of
            them flip concerns its own entries only.
        """
        typical = np.max(self.least, initial=0.0, where=np.isfinite(self.least) & ~kinks)
        bars: NDArray[np.float64] = np.maximum(self.most, typical)
        bars *= MARGIN * float(np.finfo(dtype).eps)
        return bars


def gradient_sensitivity(net: Network, x: NDArray[Any], y: NDArray[Any]) -> Sensitivity:
    """Measure how the gradient answers to rounding errors of the network's dtype.

    Parameters
    ----------
    net, x, y : Network, ndarray, ndarray
        The network and validated data.

    Returns
    -------
    Sensitivity
        For all parameters, flat. An estimate by random draws, with a margin, not a bound.

    Notes
    -----
    A sum of n products that are rounded one after the other is off by about sqrt(n) times as much
    as its rounded factors alone would make it, so weights are moved by eps * sqrt(n) * normal,
    biases and inputs by eps * normal. The gradients are those of the backward pass in float64;
    the same draws are made every time. Five passes; memory for six vectors of parameters.
    """
    eps = float(np.finfo(net.dtype).eps)
    moved, exact_x = float64_copy(net), x.astype(np.float64)
    targets = y.astype(np.float64) if y.dtype.kind == "f" else y
    exact = moved.parameters.copy()
    _, gradient = moved.loss_and_gradients(exact_x, targets, inputs=False)
    centre = gradient.flat.copy()
    most, least = np.zeros(exact.shape), np.full(exact.shape, np.inf)
    generator = np.random.default_rng(0)
    for _ in range(DRAWS):
        moved.parameters[...] = exact
        _round_at_random(moved, eps, generator)
        near_x = exact_x * (1 + eps * generator.standard_normal(exact_x.shape))
        moved.loss_and_gradients(near_x, targets, out=gradient, inputs=False)
        # Where the loss overflows, so does the change; it is then infinite or NaN, as it should.
        with np.errstate(invalid="ignore", over="ignore"):
            change = np.abs(gradient.flat - centre) / eps
        np.maximum(most, change, out=most)
        np.minimum(least, change, out=least)
    return Sensitivity(most, least)


def _round_at_random(net: Network, eps: float, generator: np.random.Generator) -> None:
    """Move every parameter by a relative error of the size that rounding has."""
    for weight in net.weights:
        spread = eps * np.sqrt(max(weight.shape))
        weight *= 1 + spread * generator.standard_normal(weight.shape)
    for bias in net.biases or ():
        bias *= 1 + eps * generator.standard_normal(bias.shape)
