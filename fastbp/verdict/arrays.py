"""The verdict of an array: passed, failed, untested or inconclusive."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastbp.report.model import ArrayVerdict, CheckVerdict
from fastbp.typing import AnyFloats, Mask, Radius
from fastbp.verdict.blocks import _blocks, _cut, _errors, _largest_among, _largest_finite
from fastbp.verdict.entries import (
    detectable_error,
    fit_factor,
    judged_entries,
    largest_errors,
    wrong_entries,
    zero_entries,
)
from fastbp.verdict.tolerance import Tolerance

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

__all__ = [
    "TOO_ROUGH",
    "Judgement",
    "check_verdict",
    "failed_reason",
    "judge_array",
    "verdict_as_a_whole",
]


TOO_ROUGH = "the rounding of the computation is larger than every derivative"


# Of arrays none of whose derivatives is above its error bar. In 3000 of correct gradients, most of
# them float32 and nearly fitted, the two sides were apart by less than 0.06 of their norm, or both
# below 0.8 times the noise that the bars are multiples of; nothing in between.
AGREEMENT, QUIET = 0.25, 4.0
CLOSE_AGREEMENT = 0.01  # where both are so small, what is needed to rule out chance


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """What is found in one array; flat indices count in C order.

    Attributes
    ----------
    verdict : str
        "passed", "failed", "untested" or "inconclusive".
    reason : str
        Why, in words; empty for "passed".
    wrong, zero, kinks : int
        How many entries are wrong, are zero on both sides, lie on a kink.
    worst : ndarray of int64, shape (1,) or (0,)
        Where the largest error is: of the wrong entries if there are any, else of the judged
        ones; empty if no entry was judged.
    failures : ndarray of int64
        The wrong entries, largest error first, as many as were asked for.
    factor, residual : float or None
        k = <given, numerical> / <numerical, numerical> over the judged entries, and
        |given - k numerical| / |given|; None where they are 0/0.
    detectable : float
        A single error above this is seen, at whichever judged entry; infinite if none was judged.
    """

    verdict: ArrayVerdict
    reason: str
    wrong: int
    zero: int
    kinks: int
    worst: NDArray[np.int64]
    failures: NDArray[np.int64]
    factor: float | None
    residual: float | None
    detectable: float


def judge_array(
    given: AnyFloats,
    numerical: AnyFloats,
    error_bar: Radius,
    tolerance: Tolerance,
    *,
    hull: Radius = 0.0,
    kinks: Mask | None = None,
    keep: int = 1000,
    margin: float | None = None,
) -> Judgement:
    """Judge every entry of one array, and the array.

    Parameters
    ----------
    given : ndarray, shape (n,), any float dtype
        The gradient in question.
    numerical : ndarray, shape (n,), float64
        What it is compared with.
    error_bar, hull : float or ndarray, shape (n,)
        Error bar of the numerical value, and the radius of what conventions can produce.
    tolerance : Tolerance
        What the given gradient may be off by.
    kinks : ndarray of bool, shape (n,), optional
        Entries that are not to be judged.
    keep : int
        How many wrong entries are listed.
    margin : float, optional
        How many times the noise the error bars are: an array that is below them all is then
        judged as a whole.

    Returns
    -------
    Judgement

    Notes
    -----
    A handful of passes over the array: O(n) time; n bytes for each of at most four masks.

    Examples
    --------
    >>> numerical = np.array([1.0, -2.0, 3.0])
    >>> judged = judge_array(numerical * [1, 1, -1], numerical, 1e-9, Tolerance(1e-6, 0.0))
    >>> judged.verdict, judged.reason, judged.failures
    ('failed', '1 of 3 entries is wrong', array([2]))
    """
    judged = judged_entries(numerical, error_bar, kinks)
    wrong = wrong_entries(given, numerical, error_bar, tolerance, hull=hull, kinks=kinks)
    zero = zero_entries(given, numerical, error_bar)
    failures = largest_errors(given, numerical, wrong, keep)
    worst = failures[:1] if failures.size else largest_errors(given, numerical, judged, 1)
    factor, residual = fit_factor(given, numerical, judged)
    verdict, reason = _array_verdict(given, numerical, error_bar, wrong, zero, judged, kinks)
    if reason == TOO_ROUGH and margin is not None:
        if np.any(hull > error_bar):  # some convention's derivative is above the bar
            verdict, reason = "passed", ""
        else:
            verdict, reason = _verdict_of_rough(given, numerical, error_bar, hull, margin)
    return Judgement(
        verdict=verdict,
        reason=reason,
        wrong=int(np.count_nonzero(wrong)),
        zero=int(np.count_nonzero(zero)),
        kinks=0 if kinks is None else int(np.count_nonzero(kinks)),
        worst=worst,
        failures=failures,
        factor=factor,
        residual=residual,
        detectable=detectable_error(numerical, error_bar, tolerance, judged, hull),
    )


def check_verdict(
    arrays: Iterable[ArrayVerdict], others: Sequence[ArrayVerdict] = ()
) -> CheckVerdict:
    """Return the verdict of a check from those of its arrays.

    Parameters
    ----------
    arrays : iterable of str
        Verdicts of the gradient arrays.
    others : sequence of str
        Verdicts of further rows. They can fail the check, but cannot keep it from being vacuous.

    Examples
    --------
    >>> check_verdict(["passed", "untested"]), check_verdict(["untested"], ["passed"])
    ('passed', 'vacuous')
    """
    found = list(arrays)
    everything = {*found, *others}
    if "failed" in everything:
        return "failed"
    if "inconclusive" in everything:
        return "inconclusive"
    return "passed" if "passed" in found else "vacuous"


def _array_verdict(
    given: AnyFloats,
    numerical: AnyFloats,
    error_bar: Radius,
    wrong: Mask,
    zero: Mask,
    judged: Mask,
    kinks: Mask | None,
) -> tuple[ArrayVerdict, str]:
    if wrong.any():
        return "failed", failed_reason(
            int(np.count_nonzero(wrong)),
            given.size,
            int(np.count_nonzero(wrong & ~np.isfinite(given))),
            every_zero=not given.any(),
        )
    overflowed = ~judged if kinks is None else ~(judged | kinks)
    if overflowed.any():
        return "inconclusive", (
            f"{_counted(int(overflowed.sum()), given.size)} without a finite numerical derivative: "
            f"the loss overflows, or its noise does"
        )
    if zero.all():
        return "untested", "zero on both sides in every entry"
    informative = judged & ~zero
    if not informative.any():
        on_kinks = int(np.count_nonzero(~zero))
        return "inconclusive", f"each of the entries that are not zero ({on_kinks}) is on a kink"
    if not _any_above_noise(numerical, error_bar, informative):
        return "inconclusive", TOO_ROUGH
    return "passed", ""


def _verdict_of_rough(
    given: AnyFloats, numerical: AnyFloats, error_bar: Radius, hull: Radius, margin: float
) -> tuple[ArrayVerdict, str]:
    scale = max(_largest_among(given, np.isfinite(given)), _largest_finite(numerical))
    scale = 1.0 / scale if scale > 1e-300 else 1.0
    squares = np.zeros(5)
    for part in _blocks(given.size):
        apart = _errors(given[part], numerical[part])
        outside = np.maximum(apart - _cut(hull, part), 0.0)
        noise = np.broadcast_to(_cut(error_bar, part), apart.shape) / margin
        with np.errstate(over="ignore"):  # infinite, and so no agreement
            for n, side in enumerate((apart, outside, numerical[part], given[part], noise)):
                squares[n] += np.sum(np.square(side.astype(np.float64) * scale))
    return verdict_as_a_whole(*np.sqrt(squares).tolist())


def verdict_as_a_whole(
    apart: float, outside: float, numerical: float, given: float, noise: float
) -> tuple[ArrayVerdict, str]:
    """Judge an array none of whose derivatives is above its error bar.

    Each entry by itself says nothing: a zero, or twice its value, would pass as well. Together
    they may: bars have a margin of their own, and the two sides of a right gradient are nearer
    to each other than that. Where they are, the array passed. Where both are as small as the
    noise itself, they are zero within rounding, and nothing was tested. Else conventions may
    explain what they are apart.

    Parameters
    ----------
    apart, outside : float
        Norm of the difference of the two sides, and of what of it leaves the hull.
    numerical, given : float
        Norms of the two sides.
    noise : float
        Norm of the noise that the bars are multiples of.

    Examples
    --------
    >>> verdict_as_a_whole(apart=0.01, outside=0.01, numerical=9.0, given=9.0, noise=1.0)
    ('passed', 'no derivative is above its error bar; as a whole the two sides agree to 0.0011')
    >>> verdict_as_a_whole(apart=0.7, outside=0.7, numerical=0.5, given=0.4, noise=1.0)
    ('untested', 'zero within rounding on both sides')
    >>> verdict_as_a_whole(apart=18.0, outside=18.0, numerical=9.0, given=9.0, noise=1.0)[0]
    'inconclusive'
    """
    below = "no derivative is above its error bar"
    quiet = max(numerical, given) <= QUIET * noise
    if apart <= (CLOSE_AGREEMENT if quiet else AGREEMENT) * numerical < math.inf:
        share = apart / numerical if numerical else 0.0
        return "passed", f"{below}; as a whole the two sides agree to {share:.2g}"
    if quiet:
        return "untested", "zero within rounding on both sides"
    if outside <= AGREEMENT * numerical < math.inf:
        return "passed", f"{below}; a convention for masks in doubt explains the difference"
    return "inconclusive", f"{TOO_ROUGH}, and the two sides do not agree as a whole"


def failed_reason(wrong: int, entries: int, not_finite: int, *, every_zero: bool) -> str:
    """Say in words how many entries of an array are wrong."""
    counted = _counted(wrong, entries)
    reason = f"{counted} {'is' if counted.startswith('1 of') else 'are'} wrong"
    if not_finite:
        reason += f", {not_finite} of them not finite"
    if every_zero:
        reason += ": every given entry is 0"
    return reason


def _counted(some: int, entries: int) -> str:
    return f"{some} of {entries} {'entry' if entries == 1 else 'entries'}"


def _any_above_noise(numerical: AnyFloats, error_bar: Radius, informative: Mask) -> bool:
    for part in _blocks(numerical.size):
        if np.any(informative[part] & (np.abs(numerical[part]) > _cut(error_bar, part))):
            return True
    return False
