"""The derivative that torch computes in half precision, beside that of the program in float64.

The latter is checked against differences. What the former may be off by is what rounding makes of
it: the program runs in float64 with one rounding of half precision after each operation, several
times with random signs.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastbp.torch.autodiff.arguments import Arguments
from fastbp.torch.autodiff.incoming import random_cotangent
from fastbp.torch.autodiff.precision import WithRounding
from fastbp.torch.autodiff.tensor_function import TensorFunction
from fastbp.torch.tensors import HALF_UNITS

if TYPE_CHECKING:
    from fastbp.typing import Array

__all__ = ["HalfRow", "compared_in_half", "half_dtype"]

REPEATS = 4
MARGIN = 4.0  # of the largest of the repeats; their root mean square over an array is added


def half_dtype(arguments: Arguments) -> Any:
    """Return the coarsest half precision among the tensors; None if there is none."""
    dtypes = {leaf.tensor.dtype for leaf in arguments.leaves} & set(HALF_UNITS)
    return max(dtypes, key=lambda dtype: HALF_UNITS[dtype], default=None)


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
