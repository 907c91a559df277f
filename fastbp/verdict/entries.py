"""From given gradient, numerical gradient and error bar to verdicts.

Pure functions on NumPy arrays. An entry is wrong when ::

    |given - numerical| > error_bar + hull + atol + rtol * |numerical|

where `hull` is the radius of what the conventions for a ReLU at exactly 0 can produce around the
numerical value. Entries on a kink, and entries without a finite numerical value or error bar, are
not judged; a NaN is wrong on a kink too. Large arrays go through block by block, so that the only
temporaries of their full size are masks of one byte per entry.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from fastbp.typing import AnyFloats, Mask, Radius

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

__all__ = [
    "TOO_ROUGH",
    "ArrayVerdict",
    "CheckVerdict",
    "Judgement",
    "Tolerance",
    "allowed_difference",
    "check_verdict",
    "default_tolerance",
    "detectable_error",
    "failed_reason",
    "fit_factor",
    "judge_array",
    "judged_entries",
    "largest_errors",
    "verdict_as_a_whole",
    "wrong_entries",
    "zero_entries",
]

ArrayVerdict: TypeAlias = Literal["passed", "failed", "untested", "inconclusive"]
CheckVerdict: TypeAlias = Literal["passed", "failed", "vacuous", "inconclusive"]


# 2**16 entries of float64 are half a megabyte: a handful of such temporaries stays in the cache.
BLOCK = 1 << 16

# A float32 gradient carries the rounding of a whole backward pass in float32: of the entry itself,
# and, where terms cancel, of the array's largest entries.
RTOL_FLOAT64 = 1e-6
RTOL_FLOAT32 = 1e-4
CANCELLATION_FLOAT32 = 64 * float(np.finfo(np.float32).eps)

TOO_ROUGH = "the rounding of the computation is larger than every derivative"
# Of arrays none of whose derivatives is above its error bar. In 3000 of correct gradients, most of
# them float32 and nearly fitted, the two sides were apart by less than 0.06 of their norm, or both
# below 0.8 times the noise that the bars are multiples of; nothing in between.
AGREEMENT, QUIET = 0.25, 4.0
CLOSE_AGREEMENT = 0.01  # where both are so small, what is needed to rule out chance


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What the given gradient may be off by: ``atol + rtol * |numerical|``."""

    rtol: float
    atol: float


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


def default_tolerance(dtype: np.dtype[Any], numerical: AnyFloats) -> Tolerance:
    """Return the tolerance for an array that was computed in float64 or float32.

    Parameters
    ----------
    dtype : dtype
        The coarser of the network's dtype and that of the given gradient.
    numerical : ndarray, shape (n,)
        The numerical gradient of the array; its largest entry sets what cancellation may cost in
        float32.

    Examples
    --------
    >>> default_tolerance(np.dtype(np.float64), np.array([3.0]))
    Tolerance(rtol=1e-06, atol=0.0)
    """
    if dtype.itemsize == 8:
        return Tolerance(RTOL_FLOAT64, 0.0)
    return Tolerance(RTOL_FLOAT32, CANCELLATION_FLOAT32 * _largest_finite(numerical))


def allowed_difference(
    numerical: AnyFloats, error_bar: Radius, tolerance: Tolerance, hull: Radius = 0.0
) -> NDArray[np.float64]:
    """Return ``error_bar + hull + atol + rtol * |numerical|`` for each entry."""
    # An infinite numerical value is not judged; with rtol = 0 its product is a NaN, in silence.
    with np.errstate(invalid="ignore"):
        allowed: NDArray[np.float64] = tolerance.rtol * np.abs(numerical, dtype=np.float64)
    allowed += tolerance.atol
    allowed += error_bar
    allowed += hull
    return allowed


def judged_entries(numerical: AnyFloats, error_bar: Radius, kinks: Mask | None = None) -> Mask:
    """Return where a verdict is possible: numbers finite, not on a kink."""
    judged: Mask = np.isfinite(numerical)
    judged &= np.isfinite(error_bar)
    if kinks is not None:
        judged &= ~kinks
    return judged


def wrong_entries(
    given: AnyFloats,
    numerical: AnyFloats,
    error_bar: Radius,
    tolerance: Tolerance,
    *,
    hull: Radius = 0.0,
    kinks: Mask | None = None,
) -> Mask:
    """Return which entries of the given gradient are wrong.

    Parameters
    ----------
    given : ndarray, shape (n,), any float dtype
        The gradient in question. NaN and infinity are wrong wherever the numerical value is
        finite, also on a kink.
    numerical : ndarray, shape (n,), float64
        What it is compared with.
    error_bar, hull : float or ndarray, shape (n,)
        Error bar of the numerical value, and the radius of what conventions can produce.
    tolerance : Tolerance
        What the given gradient may be off by.
    kinks : ndarray of bool, shape (n,), optional
        Entries that are not to be judged.

    Returns
    -------
    ndarray of bool, shape (n,)

    Examples
    --------
    >>> wrong_entries(np.array([1.0, 2.5]), np.array([1.0, 2.0]), 1e-9, Tolerance(1e-6, 0.0))
    array([False,  True])
    """
    wrong = judged_entries(numerical, error_bar, kinks)
    for part in _blocks(given.size):
        allowed = allowed_difference(numerical[part], _cut(error_bar, part), tolerance)
        allowed += _cut(hull, part)
        wrong[part] &= _errors(given[part], numerical[part]) > allowed
        # No convention makes a NaN: one is wrong on a kink too.
        wrong[part] |= np.isfinite(numerical[part]) & ~np.isfinite(given[part])
    return wrong


def zero_entries(given: AnyFloats, numerical: AnyFloats, error_bar: Radius) -> Mask:
    """Return which entries say nothing: given is exactly 0, numerical is 0 within its error bar."""
    zero: Mask = given == 0
    for part in _blocks(given.size):
        zero[part] &= np.abs(numerical[part]) <= _cut(error_bar, part)
    return zero


def largest_errors(
    given: AnyFloats, numerical: AnyFloats, among: Mask, count: int
) -> NDArray[np.int64]:
    """Return the flat indices of the largest ``|given - numerical|``, largest first.

    Parameters
    ----------
    given, numerical : ndarray, shape (n,)
        What is compared; an error that is NaN counts as infinite.
    among : ndarray of bool, shape (n,)
        The entries that are looked at.
    count : int
        At most this many are returned; equal errors in the order of their index.
    """
    indices = np.empty(0, dtype=np.int64)
    errors = np.empty(0)
    for part in _blocks(given.size):
        found = part.start + np.flatnonzero(among[part])
        if found.size:
            indices = np.concatenate([indices, found])
            errors = np.concatenate([errors, _errors(given[found], numerical[found])])
            errors[np.isnan(errors)] = np.inf
            order = np.lexsort((indices, -errors))[:count]
            indices, errors = indices[order], errors[order]
    return indices


def fit_factor(
    given: AnyFloats, numerical: AnyFloats, judged: Mask
) -> tuple[float | None, float | None]:
    """Return k with ``given ≈ k numerical`` in least squares, and what is left.

    Returns
    -------
    factor : float or None
        k = <given, numerical> / <numerical, numerical> over the judged entries where both are
        finite; None if the numerical gradient is 0 there.
    residual : float or None
        |given - k numerical| / |given|; None if there is no factor, or given is 0.

    Notes
    -----
    Both are divided by their largest entry before anything is squared, so that nothing overflows.

    Examples
    --------
    >>> numerical = np.array([1.0, -2.0, 3.0])
    >>> fit_factor(2 * numerical, numerical, np.ones(3, dtype=bool))
    (2.0, 0.0)
    """
    used = judged & np.isfinite(given)
    given_scale = _largest_among(given, used)
    numerical_scale = _largest_among(numerical, used)
    if numerical_scale == 0:
        return None, None
    if given_scale == 0:
        return 0.0, None
    product, square = _scaled_products(given, numerical, used, given_scale, numerical_scale)
    ratio = product / square
    residual = _scaled_residual(given, numerical, used, given_scale, numerical_scale, ratio)
    return float(ratio * (given_scale / numerical_scale)), residual


def detectable_error(
    numerical: AnyFloats,
    error_bar: Radius,
    tolerance: Tolerance,
    judged: Mask,
    hull: Radius = 0.0,
) -> float:
    """Return twice the largest allowed difference: a larger error cannot hide at a judged entry.

    An error e shows as at least e less what two correct computations may differ by, and that is
    the allowed difference too.
    """
    largest = -np.inf
    for part in _blocks(numerical.size):
        allowed = allowed_difference(numerical[part], _cut(error_bar, part), tolerance)
        allowed += _cut(hull, part)
        largest = max(largest, np.max(allowed, initial=-np.inf, where=judged[part]))
    return 2 * float(largest) if largest > -np.inf else float("inf")


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


def _scaled_products(
    given: AnyFloats, numerical: AnyFloats, used: Mask, given_scale: float, numerical_scale: float
) -> tuple[float, float]:
    product = square = 0.0
    for part in _blocks(given.size):
        g = _scaled(given[part], used[part], given_scale)
        n = _scaled(numerical[part], used[part], numerical_scale)
        product += float(np.sum(g * n))
        square += float(np.sum(n * n))
    return product, square


def _scaled_residual(
    given: AnyFloats,
    numerical: AnyFloats,
    used: Mask,
    given_scale: float,
    numerical_scale: float,
    ratio: float,
) -> float:
    left = square = 0.0
    for part in _blocks(given.size):
        g = _scaled(given[part], used[part], given_scale)
        n = _scaled(numerical[part], used[part], numerical_scale)
        square += float(np.sum(g * g))
        left += float(np.sum((g - ratio * n) ** 2))
    return float(np.sqrt(left / square))


def _scaled(values: AnyFloats, used: Mask, scale: float) -> NDArray[np.float64]:
    return values[used].astype(np.float64) / scale


def _errors(given: AnyFloats, numerical: AnyFloats) -> NDArray[np.float64]:
    # Infinity less infinity is a NaN, and the difference of huge numbers overflows: both are
    # errors that count as infinite, not accidents.
    with np.errstate(invalid="ignore", over="ignore"):
        difference: NDArray[np.float64] = np.subtract(given, numerical, dtype=np.float64)
    return np.abs(difference, out=difference)


def _largest_finite(values: AnyFloats) -> float:
    return _largest_among(values, np.isfinite(values))


def _largest_among(values: AnyFloats, used: Mask) -> float:
    largest = 0.0
    for part in _blocks(values.size):
        size = np.abs(values[part])
        largest = max(largest, float(np.max(size, initial=0.0, where=used[part])))
    return largest


def _cut(radius: Radius, part: slice) -> Radius:
    return radius[part] if isinstance(radius, np.ndarray) else radius


def _blocks(entries: int) -> Iterator[slice]:
    for start in range(0, entries, BLOCK):
        yield slice(start, min(start + BLOCK, entries))
