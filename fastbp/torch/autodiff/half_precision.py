"""The derivative that torch computes in half precision, beside that of the program in float64.

The latter is checked against differences. What the former may be off by is what rounding makes of
it: the program runs in float64 with one rounding of half precision after each operation, several
times with random signs.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from fastbp.errors import EvaluationError
from fastbp.function.methods.directions import random_components
from fastbp.torch.autodiff import few_digits
from fastbp.torch.autodiff.arguments import Arguments
from fastbp.torch.autodiff.few_digits import DIRECTIONS, STEPS
from fastbp.torch.autodiff.incoming import random_cotangent
from fastbp.torch.autodiff.precision import SeenInHalf, WithRounding
from fastbp.torch.autodiff.tensor_function import TensorFunction
from fastbp.torch.state import same_random_numbers
from fastbp.torch.tensors import HALF_UNITS, array_of
from fastbp.verdict.blocks import norm

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastbp.typing import Array, Mask

__all__ = [
    "EVALUATIONS_ALONG",
    "HalfRow",
    "compared_in_half",
    "half_dtype",
    "half_inside",
    "judged_along",
]

REPEATS = 4
EVALUATIONS_ALONG = 2 * STEPS * DIRECTIONS  # of `judged_along` for each tensor, at most
MARGIN = 4.0  # of the largest of the repeats; their root mean square over an array is added


def half_dtype(arguments: Arguments) -> torch.dtype | None:
    """Return the coarsest half precision among the tensors; None if there is none."""
    dtypes = {leaf.tensor.dtype for leaf in arguments.leaves} & set(HALF_UNITS)
    return max(dtypes, key=HALF_UNITS.__getitem__, default=None)


def half_inside(f: Callable[..., Any], arguments: Arguments, seed: int) -> torch.dtype | None:
    """Return the half precision that f uses inside, of tensors in float32; None if it uses none."""
    if all(leaf.array.dtype not in (np.float32, np.complex64) for leaf in arguments.leaves):
        return None
    positional, named = arguments.with_tensors(arguments.as_given(arguments.at))
    seen = SeenInHalf()
    try:
        with same_random_numbers(seed), seen:
            f(*positional, **named)
    except Exception:  # what takes no such mode, and what f raises: it is called again
        return None
    return seen.dtype


class HalfRow(NamedTuple):
    """The verdict on one derivative in half precision, and why."""

    verdict: str
    reason: str = ""


def judged_in_half(given: Array, exact: Array, noise: Array, dtype: Any) -> HalfRow:
    """Judge a derivative in half precision.

    Parameters
    ----------
    given, exact : ndarray
        As it is, and in float64.
    noise : ndarray, with one more axis, the first
        In float64 with rounding, several times.
    dtype : torch.dtype
        Of the half precision.
    """
    name = str(dtype).removeprefix("torch.")
    with np.errstate(all="ignore"):
        off = np.abs(noise - exact)
        spread = np.max(off, axis=0) + np.sqrt(np.mean(off**2))
        bar = MARGIN * (spread + HALF_UNITS[dtype] * np.abs(exact))
        error = np.abs(given.astype(exact.dtype) - exact)
    if not np.all(np.isfinite(bar)):
        return HalfRow("inconclusive", f"some numbers leave the range of {name}")
    wrong = ~(error <= bar)
    largest = np.max(np.abs(exact), initial=0.0)
    if np.any(wrong):
        worst = np.unravel_index(np.argmax(np.where(wrong, error, -1.0)), error.shape)
        place = f"[{', '.join(map(str, worst))}]" if worst else "it"
        return HalfRow(
            "failed",
            f"{np.count_nonzero(wrong)} of {wrong.size} entries are off by more than the rounding "
            f"of {name}: {place} is {given[worst]:.4g}, in float64 {exact[worst]:.4g}",
        )
    if largest == 0.0:
        return HalfRow("untested")
    if np.all(bar >= largest):
        return HalfRow("inconclusive", f"the rounding of {name} is as large as the derivative")
    return HalfRow("passed")


def compared_in_half(
    reference: TensorFunction, inputs: Any, keywords: Any, dtype: Any, seed: int
) -> list[HalfRow]:
    """Compare the derivative in half precision with that in float64, for one random cotangent."""
    if reference.seeded:
        reason = "f draws random numbers: others in half precision than in float64"
        return [HalfRow("inconclusive", reason) for _ in reference.arguments.leaves]
    own = TensorFunction(reference.f, Arguments(inputs, keywords, in_double=False), seed)
    weights = random_cotangent(own, np.random.default_rng((seed, 4)))
    nested = own.results.nested(weights)
    arguments = reference.arguments
    given = arguments.arrays_of(own.vjp(own.arguments.at, nested))
    exact = arguments.arrays_of(reference.vjp(arguments.at, nested))
    noisy = []
    for repeat in range(REPEATS):
        rounding = reference.within(partial(WithRounding, dtype, (seed + repeat) % 2**31))
        noisy.append(arguments.arrays_of(rounding.vjp(arguments.at, nested)))
    return [
        judged_in_half(one, two, np.array(others), dtype)
        for one, two, *others in zip(given, exact, *noisy, strict=True)
    ]


def judged_along(
    function: TensorFunction, dtype: Any, seed: int, masks: Sequence[Mask] | None = None
) -> list[HalfRow]:
    """Judge the derivative by each tensor along random directions, differenced in half precision.

    For functions that do not compute in float64: entries alone are below the rounding there. Of
    each tensor only the entries of a mask are moved, if there are masks.
    """
    arguments, results = function.arguments, function.results
    weights = random_cotangent(function, np.random.default_rng((seed, 4)))
    products = arguments.arrays_of(function.vjp(arguments.at, results.nested(weights)))
    bases = [np.array(array, dtype=np.float64) for array in arguments.arrays_of(arguments.at)]

    def value(place: int, array: Array) -> float:
        at = iter([array if one == place else base for one, base in enumerate(bases)])
        moved = arguments.mapped(lambda _: next(at), arguments.at)
        outputs = results.flat(function.outputs(moved))
        pairs = zip(weights, outputs, strict=True)
        return float(sum(np.sum(weight * np.asarray(part, np.float64)) for weight, part in pairs))

    rounding = _rounding_of(weights, results.tensors_at_first)
    rows = []
    for place, (leaf, base, product) in enumerate(
        zip(arguments.leaves, bases, products, strict=True)
    ):
        along = _Along(
            partial(value, place), base, np.array(product, dtype=np.float64), leaf.half, dtype,
            seed, rounding, None if masks is None else masks[place].reshape(base.shape),
        )  # fmt: skip
        nothing = base.size == 0 or (masks is not None and not masks[place].any())
        verdict, reason, _ = ("untested", "", 0.0) if nothing else few_digits.voted(along.look)
        if verdict == "passed" and not product.any():  # noise may hide a derivative that is not 0
            verdict = "untested"
        rows.append(HalfRow(verdict, reason))
    return rows


def _rounding_of(weights: list[Array], outputs: list[torch.Tensor]) -> float:
    """Return the standard deviation of <weights, outputs> by the rounding of the outputs alone."""
    units = [torch.finfo(output.dtype).eps / 2 for output in outputs]
    return math.hypot(
        *(
            few_digits.ROUNDING * unit * norm(weight * array_of(output))
            for unit, weight, output in zip(units, weights, outputs, strict=True)
        )
    )


class _Along:
    """Directions of one tensor, in its precision, and what its derivative says of them."""

    def __init__(
        self, value: Callable[[Array], float], base: Array, product: Array, own: Any, dtype: Any,
        seed: int, rounding: float, mask: Mask | None,
    ) -> None:  # fmt: skip
        self.rounding, self.mask = rounding, mask
        self.value, self.base, self.product = value, base, product
        self.own, self.unit, self.seed = own, HALF_UNITS[dtype], seed

    def look(self, number: int) -> tuple[str, str, float]:
        """Judge one direction by differences over many long steps."""
        rng = np.random.default_rng((self.seed, 7, number))
        typical = float(np.sqrt(np.mean(self.base**2)))
        scale = 2.0 ** np.round(np.log2(typical)) if 0 < typical < np.inf else 1.0
        direction = scale * random_components(rng, self.base.size).reshape(self.base.shape)
        if self.mask is not None:
            direction = np.where(self.mask, direction, 0.0)
        terms = self.product * direction
        said, size = float(np.sum(terms)), float(np.sqrt(np.sum(terms**2)))
        steps = few_digits.long_steps(self.unit)
        offsets = np.array([self._offset(step * direction) / step for step in steps.tolist()])
        offset, bar = few_digits.fitted_offset(steps, offsets, self.rounding)
        allowance = few_digits.ALLOWANCE * self.unit * size
        return few_digits.judged(said, offset, bar + allowance, size)

    def _offset(self, step: Array) -> float:
        """Return how much half a difference is off what the derivative says of it."""
        up, down = self._rounded(self.base + step), self._rounded(self.base - step)
        try:
            difference = self.value(up) - self.value(down)
        except EvaluationError:  # beside the point: outside of what f takes
            return np.nan
        return (difference - float(np.sum(self.product * (up - down)))) / 2

    def _rounded(self, numbers: Array) -> Array:
        """Return numbers as they are in the precision of the tensor."""
        dtype = torch.float32 if self.own is None else self.own
        found: Array = torch.from_numpy(numbers).to(dtype).double().numpy()
        return found
