"""The verdict of an array: passed, failed, untested or inconclusive."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fastbp.report.model import ArrayVerdict, CheckVerdict
from fastbp.verdict.blocks import norm
from fastbp.verdict.tolerance import allowed_difference

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fastbp.verdict.entries import Entries
    from fastbp.verdict.summary import Summary
    from fastbp.verdict.tolerance import Tolerance

__all__ = ["TOO_ROUGH", "check_verdict", "verdict_as_a_whole", "verdict_of", "verdict_of_rough"]


TOO_ROUGH = "the rounding of the computation is larger than every derivative"


# Of arrays none of whose derivatives is above its error bar. Correct gradients of 650 networks by
# three programs were off by half of the noise of their array in the median, by 1.9 times that at
# 99 %, and by 2.6 times at most.
AGREEMENT, QUIET, UNEXPLAINED = 0.25, 2.0, 5.0
CLOSE_AGREEMENT = 0.01  # where both are so small, what is needed to rule out chance


def verdict_of(found: Summary) -> tuple[ArrayVerdict, str]:
    """Return the verdict of one array, and why; for the reason `TOO_ROUGH` there is more to see.

    Parameters
    ----------
    found : Summary

    Returns
    -------
    verdict : str
        "passed", "failed", "untested" or "inconclusive".
    reason : str
        In words; empty for "passed".
    """
    if found.wrong:
        return "failed", _failed_reason(found)
    if found.broken:
        return "inconclusive", (
            f"{_counted(found.broken, found.entries)} without a finite numerical derivative: "
            f"the loss overflows, or its noise does"
        )
    if found.zero == found.entries:
        return "untested", "zero on both sides in every entry"
    if found.zero + found.left_out == found.entries:
        return "inconclusive", (
            f"each of the entries that are not zero ({found.left_out}) is on a kink"
        )
    return ("passed", "") if found.above_noise else ("inconclusive", TOO_ROUGH)


def _failed_reason(found: Summary) -> str:
    counted = _counted(found.wrong, found.entries)
    reason = f"{counted} {'is' if found.wrong == 1 else 'are'} wrong"
    if found.not_finite:
        reason += f", {found.not_finite} of them not finite"
    if not found.not_zero:
        reason += ": every given entry is 0"
    return reason


def _counted(some: int, entries: int) -> str:
    return f"{some} of {entries} {'entry' if entries == 1 else 'entries'}"


def verdict_of_rough(
    entries: Iterable[Entries], tolerance: Tolerance, noise: float
) -> tuple[ArrayVerdict, str]:
    """Look again, at the whole of an array whose derivatives are all below their bars.

    Parameters
    ----------
    entries : iterable of Entries
        All of its entries, some at a time.
    tolerance : Tolerance
    noise : float
        Norm of what rounding makes of the array.
    """
    apart = outside = of_numerical = of_given = 0.0
    for _, given, numerical, _, hull, _ in entries:
        error = np.abs(np.subtract(given, numerical, dtype=np.float64))
        left = np.maximum(error - allowed_difference(numerical, 0.0, tolerance, hull), 0.0)
        apart, outside = math.hypot(apart, norm(error)), math.hypot(outside, norm(left))
        of_numerical = math.hypot(of_numerical, norm(numerical))
        of_given = math.hypot(of_given, norm(given))
    return verdict_as_a_whole(apart, outside, of_numerical, of_given, noise)


def verdict_as_a_whole(
    apart: float, outside: float, numerical: float, given: float, noise: float
) -> tuple[ArrayVerdict, str]:
    """Judge an array none of whose derivatives is above its error bar.

    Each entry by itself says nothing: a zero, or twice its value, would pass as well. Together
    they do: bars have a margin of their own, and the two sides of a right gradient are nearer
    to each other than that. Where they are, the array passed. Where they are further apart than
    rounding explains, it failed: a wrong sign, say, or a factor. Else both are zero within
    rounding, and nothing was tested.

    Parameters
    ----------
    apart, outside : float
        Norm of the difference of the two sides, and of what of it no convention and no tolerance
        of the user explains.
    numerical, given : float
        Norms of the two sides.
    noise : float
        Norm of what rounding makes of the array.

    Examples
    --------
    >>> verdict_as_a_whole(apart=0.01, outside=0.01, numerical=9.0, given=9.0, noise=1.0)
    ('passed', 'no derivative is above its error bar; as a whole the two sides agree to 0.0011')
    >>> verdict_as_a_whole(apart=0.7, outside=0.7, numerical=0.5, given=0.4, noise=1.0)
    ('untested', 'zero within rounding on both sides')
    >>> verdict_as_a_whole(apart=18.0, outside=18.0, numerical=9.0, given=9.0, noise=1.0)[0]
    'failed'
    """
    below = "no derivative is above its error bar"
    if not all(math.isfinite(size) for size in (apart, numerical, given, noise)):
        return "inconclusive", TOO_ROUGH
    quiet = max(numerical, given) <= QUIET * noise
    if apart <= (CLOSE_AGREEMENT if quiet else AGREEMENT) * numerical:
        share = apart / numerical if numerical else 0.0
        return "passed", f"{below}; as a whole the two sides agree to {share:.2g}"
    if outside > UNEXPLAINED * noise:
        times = f"{outside / noise:.2g} times " if noise else ""
        return "failed", (
            f"{below}, but as a whole the two sides are apart by {times}"
            f"{'more than ' if not noise else ''}what rounding makes of the array"
        )
    if not quiet and outside <= AGREEMENT * numerical:
        allowed = "a convention for masks in doubt, or a tolerance,"
        return "passed", f"{below}; {allowed} explains the difference"
    return "untested", "zero within rounding on both sides"


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
