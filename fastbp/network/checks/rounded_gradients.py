"""How far rounding moves the gradient of each array as a whole: a program that rounds at random.

Error bars are for single entries: they have a margin of 32, and norms over the batch in place of
its sums. Where every derivative of an array is below its bar, what remains is the array as a whole,
and for that the noise itself is needed. So a plain backward pass runs a few times with one random
rounding in every operation ::

    f = round(round(W h + u (|W_i * h| + g |W h|) e) + b),   and so for W^T s and s h^T

with normal random numbers e and g = `growth` for sums of one sign; and what products below the
range of numbers lose. Nothing of it runs for a network whose derivatives are above their bars.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fastbp.network.batch import Batch
from fastbp.network.network import book_weight
from fastbp.network.sensitivities.error_bars import MARGIN, growth, unit_roundoff
from fastbp.network.sensitivities.loss_slopes import loss_slopes
from fastbp.network.sensitivities.number_range import smallest_of
from fastbp.verdict.blocks import norm

if TYPE_CHECKING:
    from fastbp.network.network import Network
    from fastbp.typing import Floats

__all__ = ["no_less_than_bars", "noise_of_arrays"]

RUNS = 16
# Random numbers by the bits of a value: all but those that a last rounding may change.
SHIFTS = {True: 25, False: 6}
TABLE_BITS = 12
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
SEED = 0  # the same call gives the same noise


def noise_of_arrays(net: Network, batch: Batch, roundoff: float) -> list[float]:
    """Return the norm of the rounding noise of the gradient by each parameter array.

    Parameters
    ----------
    net, batch : Network, Batch
        In float64.
    roundoff : float
        u of the coarser of the two computations that are compared.

    Notes
    -----
    The root of the mean square of `RUNS` runs, some five times as long each as a backward pass; or
    half of the largest one, where that is more. Where a mask decides, most runs move nothing.
    """
    random = np.random.default_rng(SEED)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        exact = _Program(net, batch, 0.0, random).gradient()
        apart = np.empty((RUNS, len(exact)))
        for run, own in enumerate(apart):
            moved = _Program(net, batch, roundoff, random, alike=run % 2 == 1).gradient()
            own[:] = [norm((a - b).reshape(-1)) for a, b in zip(moved, exact, strict=True)]
        usual = np.hypot.reduce(apart, axis=0) / math.sqrt(RUNS)  # of numbers of any size
        noise: list[float] = np.maximum(usual, apart.max(axis=0) / 2).tolist()
    return noise


def no_less_than_bars(noise: float, error_bars: Floats) -> float:
    """Return the noise of an array where rounding decides on masks: no less than its bars say.

    A few random programs need not show all that other masks can do.
    """
    allowed = norm(error_bars) / MARGIN
    return max(noise, allowed) if allowed < math.inf else noise


class _Program:
    """One run of a backward pass."""

    def __init__(
        self,
        net: Network,
        batch: Batch,
        roundoff: float,
        random: np.random.Generator,
        *,
        alike: bool = False,
    ) -> None:
        self.net, self.roundoff, self.random, self.alike = net, roundoff, random, alike
        self.least = smallest_of(roundoff)
        self.single = roundoff == unit_roundoff(np.float32)
        self.normals = random.standard_normal(1 << TABLE_BITS)
        self.batch = batch
        if batch.y.dtype.kind == "f":
            self.batch = Batch(batch.x, self.rounded(batch.y), batch.unit_axis)

    def gradient(self) -> list[Floats]:
        """Return dL/dW (units by inputs) and dL/db of every layer, in the parameters' order."""
        net, batch = self.net, self.batch
        levels = [self.rounded(batch.by_unit(batch.x))]
        for k in range(len(net.weights)):
            bias = 0.0 if net.biases is None else self.rounded(net.biases[k].reshape(-1, 1))
            f = self.product(self.weight(k), levels[-1], bias)
            levels.append(np.maximum(f, 0.0) if k < len(net.weights) - 1 else f)
        s = self.slopes(levels[-1])
        found: list[Floats] = []
        for k in range(len(net.weights) - 1, -1, -1):
            weight = self.weight(k)
            if net.biases is not None:
                found.insert(0, self.product(s, np.ones((s.shape[1], 1))))
            found.insert(0, self.product(s, levels[k].T, net.objective.weight_decay * weight))
            if k:
                s = np.where(levels[k] > 0, self.product(weight.T, s), 0.0)
        return found

    def weight(self, k: int) -> Floats:
        """W of a layer."""
        return self.rounded(book_weight(self.net, k))

    def product(self, left: Floats, right: Floats, offset: Floats | float = 0.0) -> Floats:
        """A product of matrices, and what is added to it."""
        result: Floats = left @ right
        if self.roundoff:
            size = np.sqrt(np.square(left) @ np.square(right))
            size += growth(left.shape[1]) * np.abs(result)
            result += self.noise(size, result, left.shape[1])
        return self.sum(self.rounded(result), offset)

    def sum(self, values: Floats, offset: Floats | float) -> Floats:
        """Add a bias. Where it is small its last digits are lost alike in all samples."""
        total: Floats = values + offset
        if self.roundoff and not self.single:
            lost = np.minimum(np.abs(offset), self.roundoff * np.abs(total))
            total += lost * self.random.standard_normal((len(total), 1))
        return self.rounded(total)

    def rounded(self, values: Floats) -> Floats:
        """Round to float32 what fits; what is float64 is rounded anyway.

        The network's own numbers too: those of a float64 network are rounded for float32.
        """
        if not self.single:
            return values
        found = values.astype(np.float32).astype(np.float64)
        return np.where(np.isfinite(found), found, values)

    def slopes(self, output: Floats) -> Floats:
        """DL/d(outputs): p - y loses digits of both."""
        objective, batch = self.net.objective, self.batch
        s = loss_slopes(objective, output, batch)
        size = np.abs(s)
        if objective.loss in ("softmax_cross_entropy", "sigmoid_cross_entropy"):
            size = size + 2.0 * batch.targets_by_unit(s)
        if self.roundoff:
            s = s + self.noise(size, s, 1)
            if objective.loss == "softmax_cross_entropy":  # all shares are divided by one sum
                shares = s + batch.targets_by_unit(s)
                likeliest = shares.max(axis=0, keepdims=True)
                size = np.full(likeliest.shape, 1.0 + growth(len(s)))
                s = s + shares * self.noise(size, likeliest, len(s))
        return s * objective.factor(batch.size, self.net.sizes[-1])

    def noise(self, size: Floats, values: Floats, depth: int) -> Floats:
        """Random rounding of sums of so many products: the same for equal values of a unit.

        Samples that a layer no longer tells apart are rounded alike, and the errors add up. So may
        units with the same weights, or not, since a product may add some rows in another order:
        ``alike`` has it that they are.
        """
        size = self.roundoff * size + self.least * (1.0 + growth(depth))
        hashed = np.ascontiguousarray(values).view(np.uint64) >> np.uint64(SHIFTS[self.single])
        hashed += self.random.integers(0, 2**63, (1 if self.alike else len(values), 1), np.uint64)
        hashed *= MULTIPLIER
        return np.asarray(size * self.normals[hashed >> np.uint64(64 - TABLE_BITS)])
