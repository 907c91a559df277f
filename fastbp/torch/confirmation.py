"""A right gradient of a smooth function, confirmed in few operations; anything else is left alone.

For some entries eight values beside the point: central differences of the orders 2 to 8, and a
table of differences that shows the noise; for the others four, or two where f is straight along
those. Entries in doubt get other steps, as near a pole. Where all entries agree within fine error
bars that is the verdict. Any doubt that is left (kinks, noise, steps, domains, a wrong entry) is
for the general methods, which take their time over it.
"""

from __future__ import annotations

import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from fastbp.errors import FastbpError
from fastbp.function.checks.report_assembly import FunctionCheck, report_to_come
from fastbp.function.derivatives.entry_slopes import bar_of_few_digits
from fastbp.function.derivatives.line_slopes import DOUBLE_UNIT
from fastbp.function.methods.options import DEFAULTS, Options, function_tolerance
from fastbp.runtime.compilation import Stopwatch
from fastbp.runtime.user_code import REPRODUCIBLE, agree
from fastbp.torch.tensors import array_of, real_numbers
from fastbp.verdict.entries import wrong_entries
from fastbp.verdict.rows import Numerical, judged_row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastbp.report import ArrayReport, Report
    from fastbp.report.model import ArrayVerdict
    from fastbp.runtime.progress import Advance
    from fastbp.torch.autodiff.incoming import AtThePoint
    from fastbp.torch.autodiff.tensor_function import TensorFunction
    from fastbp.typing import Array, Mask, Vector
    from fastbp.verdict.tolerance import Tolerance

__all__ = ["confirmed"]

# What may be chosen, and the gradient still be confirmed here; and the largest arrays.
HARMLESS = ("seed", "progress", "rtol", "atol", "noise", "budget", "method")
MOST_ENTRIES, MOST_EVALUATIONS = 4096, 8  # evaluations for each entry
MOST_OUTPUTS = 20
MOST_NUMBERS = 2**16  # of all outputs of the evaluations that are kept at the same time

FINEST = 2.0**-7  # a step for eight values, relative to the size of an entry
SHORTER = 4.0  # by how much those for four values are shorter
SAMPLED = 3  # entries of an array that are measured by eight values
FEW = 2 * SAMPLED  # entries, of which all are
# How far an array that f does not depend on is moved, relative to the size of an entry: the general
# methods measure an entry at such distances too.
INERT = 1.41245403364010759 * np.array([1, 2, 3, 4, 16, 64, 256]) * 2.0**-12
INERT_PAIR = [3, 6]  # of these, for most entries of larger arrays
# Steps of entries in doubt get shorter where f bends, longer where noise counts: as often as that.
OTHER_STEP, MOST_STEPS = 4.0, 4
# Bars of so many roundings of f come from noise.
MUCH_NOISE = 8.0
# Between the entries that are sampled and the others: that the fifth derivative, relative to the
# third, counts less by SHORTER**2 there is left as a margin.
MARGIN = 1.0
# No power of two, which a function that oscillates could hide behind.
UNEVEN = 0.83
ONE, PAIR, FOUR = (np.array([*range(-most, 0), *range(1, most + 1)]) for most in (1, 2, 4))
# Of central differences over one, two, three and four steps, for each order of the whole.
FOURTH = np.array([4 / 3, -1 / 3])
SIXTH = np.array([3 / 2, -3 / 5, 1 / 10, 0.0])
EIGHTH = np.array([8 / 5, -4 / 5, 8 / 35, -1 / 35])
# Differences of these orders are noise.
ORDERS = (6, 7, 8)
SIGMAS = 8.0
# Values that are off a straight line by no more of their noise are on it: each has noise, and so
# have the one in the middle and the slope.
STRAIGHT = 2 * SIGMAS
LEAST_NOISE = 2.0**-52  # of the sum of all terms of <w, f>
# Error bars must be finer than this part of the largest derivative of the array, and than this one
# of each derivative: a small one that is left out, or doubled, must not hide in its bar.
FINE, FINE_ALONE = 2.0**-30, 2.0**-7


class _InDoubtError(Exception):
    """The gradient is not confirmed."""


def confirmed(
    here: AtThePoint,
    scale: float,
    given: Mapping[str, Any],
    options: Options,
    advance: Advance,
) -> Report | None:  # fmt: skip
    """Return a report if the derivative of a function is right beyond doubt.

    Parameters
    ----------
    here : AtThePoint
        The function, and an incoming gradient for each output.
    scale : float
        What the products are divided by: the incoming gradient of a scalar function.
    given : mapping
        The options that the user gave.
    options : Options
        All, validated.
    advance : Advance
        Counts the evaluations.
    """
    if any(name not in HARMLESS and given[name] != DEFAULTS[name] for name in given):  # type: ignore[literal-required]
        return None
    if options.method == "probe" or not _fits(here.function):
        return None
    watch = Stopwatch()
    try:
        return _Confirmation(here, scale, advance).report(options, watch)
    except (_InDoubtError, FastbpError):
        return None
    except Exception:  # whatever f raises beside the point
        return None


def _fits(function: TensorFunction) -> bool:
    """Tell whether everything is in float64, finite, and not too large."""
    outputs = function.results.tensors_at_first
    arrays = [leaf.array for leaf in function.arguments.leaves]
    return (
        all(output.dtype in (torch.float64, torch.complex128) for output in outputs)
        and all(array.dtype in (np.float64, np.complex128) for array in arrays)
        and not function.seeded
        and len(outputs) <= MOST_OUTPUTS
        and all(np.isfinite(array_of(output)).all() for output in outputs)
        and all(np.isfinite(array).all() for array in arrays)
        and sum(array.size for array in arrays) <= MOST_ENTRIES
        and all(array.size for array in arrays)
    )


class _Slopes(NamedTuple):
    """Slopes by some entries: arrays of shape (n,).

    Attributes
    ----------
    slope, bar : float64
        The slopes and their error bars; infinite where nothing is known.
    step : float64
        The shortest that was taken.
    noise, share, bend : float64
        Of eight values: the noise of each; the error of two central differences, as a share of
        what the shorter one alone is off; and how far they are off a straight line, over the noise.
    """

    slope: Vector
    bar: Vector
    step: Vector
    noise: Vector
    share: Vector
    bend: Vector

    def put(self, some: Array, others: _Slopes) -> None:
        """Replace those of some entries."""
        for mine, other in zip(self, others, strict=True):
            mine[some] = other

    def in_doubt(self, given: Vector) -> Mask:
        """Tell where error bars are not fine enough to be sure of what is given."""
        size = np.abs(self.slope)
        absent = (size == 0.0) & (given == 0.0)
        doubtful: Mask = ~(self.bar <= FINE * np.abs(given).max())
        doubtful |= ~(absent | (self.bar <= FINE_ALONE * size))
        return doubtful


class _Confirmation:
    """The arrays of one confirmation."""

    def __init__(self, here: AtThePoint, scale: float, advance: Advance) -> None:
        self.here, self.scale, self.advance = here, scale, advance
        self.function, self.weights = function, weights = here.function, here.weights
        self.evaluations = 0
        arguments = function.arguments
        at = arguments.mapped(lambda array: np.array(array, order="C"), arguments.at)
        self.numbers = [real_numbers(array) for array in arguments.arrays_of(at)]
        self.base: list[Any] = [part.copy() for part in self.numbers]
        self._record = function.recorder(at)
        # Of a scalar function 1, exactly.
        self._flat_weights = np.concatenate([real_numbers(weight) for weight in weights]) / scale
        outputs = [array_of(output) for output in function.results.tensors_at_first]
        self._first = float(self._flat_weights @ np.concatenate(list(map(real_numbers, outputs))))
        size = sum(  # of all terms of <w, f>
            float(np.abs(weight).ravel() @ np.abs(output).ravel())
            for weight, output in zip(weights, outputs, strict=True)
        )
        self._least_noise = LEAST_NOISE * size / abs(scale)

    def report(self, options: Options, watch: Stopwatch) -> Report:
        """Return the report; raise if there is any doubt."""
        function = self.function
        centre, seconds = self._timed_value()
        if not self._fits_in_time(seconds, options):  # any call may be held up
            _require(self._fits_in_time(self._timed_value()[1], options))
        # The order of sums may differ from that of the first call, in the layout of the user.
        _require(abs(centre - self._first) <= REPRODUCIBLE * self._least_noise)
        _require(self._unchanged())
        self.advance.expect(self.evaluations + sum(_expected(part.size) for part in self.base))
        gradient = self._given()
        verdicts: list[ArrayVerdict] = [
            "passed" if array.any() else "untested" for array in gradient
        ]
        constant = "passed" not in verdicts
        judged = []
        for numbers, array in zip(self.numbers, gradient, strict=True):
            given = real_numbers(array)
            tolerance = function_tolerance(options, array, np.dtype(np.float64), given)
            slope, bar = self._slopes(numbers, given, centre, tolerance)
            if constant:
                bar = np.fmax(bar, self._hidden_slopes(numbers, centre))
            _require(bool(np.isfinite(bar).all()))
            judged.append(_Judged(array, slope, bar, tolerance))
        _require(self._unchanged())
        notes = () if function.real else ("complex by the convention of torch: Re(conj(w) z)",)
        check = FunctionCheck(method="every", notes=notes, evaluations=self.evaluations)
        title = f"{'gradient' if function.scalar else 'vjp'} of {function.__name__}(inputs)"
        rows = partial(_rows, function.arguments.names, judged)
        return report_to_come(check, verdicts, rows, title, "float64", options, watch)

    def _fits_in_time(self, seconds: float, options: Options) -> bool:
        """Tell whether every entry may be measured; `seconds` is for one evaluation."""
        limit = options.seconds_for_every if options.method == "auto" else options.budget
        entries = sum(part.size for part in self.base)
        return limit is None or MOST_EVALUATIONS * entries * seconds <= limit

    def _unchanged(self) -> bool:
        return all(map(np.array_equal, self.numbers, self.base))

    def _given(self) -> list[Array]:
        """Ask the backward pass twice, and for each output alone: the sum must be the same."""
        function, first = self.function, self.here.product
        _require(all(map(agree, first, self.here.again)) and not function.changed)
        for array, leaf in zip(first, function.arguments.leaves, strict=True):
            _require(array.shape == leaf.array.shape and array.dtype == leaf.array.dtype)
        if len(self.weights) > 1:
            total = [np.zeros_like(array) for array in first]
            for place in range(len(self.weights)):
                alone = [
                    weight if other == place else np.zeros_like(weight)
                    for other, weight in enumerate(self.weights)
                ]
                product = function.products(function.fresh_graph(), alone)
                for part, one in zip(total, product, strict=True):
                    part += one
            _require(all(map(agree, first, total)))
        return [array / self.scale for array in first]

    def _timed_value(self) -> tuple[float, float]:
        """Return <w, f> at what the numbers are now, and the seconds that it took."""
        began, row = time.perf_counter(), self._rows(1)
        with self.function.recording():
            self._record(row[0])
        self.advance(1)
        return float(self._paired(row)[0]), time.perf_counter() - began

    def _rows(self, count: int) -> Array:
        """Return room for the outputs of some evaluations."""
        self.evaluations += count
        return np.empty((count, self._flat_weights.size))

    def _paired(self, rows: Array) -> Vector:
        """Return <w, f> of some evaluations; the outputs are lost."""
        rows *= self._flat_weights
        values: Vector = np.add.reduce(rows, axis=1)
        return values

    def _slopes(
        self, numbers: Vector, given: Vector, centre: float, tolerance: Tolerance
    ) -> tuple[Vector, Vector]:
        """Measure all entries of one array: on the scale of the array, or on their own."""
        sizes = _sizes(numbers)
        if not given.any():
            return self._inert(numbers, sizes, centre)
        found = _Slopes(*np.full((len(_Slopes._fields), sizes.size), np.nan))

        def settle(some: Array) -> _Slopes:
            """Measure some entries by eight values, with other steps where that leaves a doubt.

            Return what the first steps have shown.
            """
            first = self._measured(numbers, some, sizes[some], centre)
            found.put(some, first)
            self._take_other_steps(numbers, given, some, sizes, found, centre)
            _require(not found.in_doubt(given)[some].any())
            right = (given[some], found.slope[some], found.bar[some], tolerance)
            _require(not wrong_entries(*right).any())
            return first

        sample, others = _sampled(sizes)
        shown = settle(sample)
        if others.size:
            noise = float(np.median(shown.noise))  # a kink beside one entry is no noise of f
            self._by_few_values(numbers, others, sizes, found, shown, noise, centre)
            doubtful = found.in_doubt(given) | ~(np.abs(found.slope - given) <= found.bar)
            again = others[doubtful[others]]
            # The most doubtful first: where these stay so, the others need not be measured.
            again = again[np.argsort(-found.bar[again], kind="stable")]
            for some in (again[:SAMPLED], again[SAMPLED:]):
                if some.size:
                    settle(some)
        return found.slope, found.bar

    def _inert(self, numbers: Vector, sizes: Vector, centre: float) -> tuple[Vector, Vector]:
        """Make sure that f is constant along every entry, as far as the general methods look.

        These look at most entries of a larger array with two steps only.
        """
        sample, others = _sampled(sizes)
        for some, shares in (
            (sample, INERT[-1:]),  # where it is seen most
            (sample, INERT[:-1]),
            (others, INERT[INERT_PAIR]),
        ):
            if some.size:
                steps = sizes[some, None] * shares
                moved = numbers[some, None] + np.concatenate([-steps, steps], axis=1)
                _require(bool((self._beside(numbers, some, moved) == centre).all()))
        return np.zeros(numbers.size), SIGMAS * self._least_noise / (sizes * INERT[-1])

    def _hidden_slopes(self, numbers: Vector, centre: float) -> Vector:
        """Return what slopes may be if f is constant wherever it was evaluated."""
        return bar_of_few_digits(centre, DOUBLE_UNIT, _sizes(numbers))

    def _take_other_steps(
        self, numbers: Vector, given: Vector, some: Array, sizes: Vector, found: _Slopes,
        centre: float,
    ) -> None:  # fmt: skip
        """Measure those of some entries that are in doubt with other steps, while that helps."""
        sizes, own = sizes.copy(), np.where(numbers != 0, np.abs(numbers), np.inf)
        some = some[found.in_doubt(given)[some]]
        for _ in range(MOST_STEPS):
            if some.size == 0:
                return
            former = found.bar[some]
            noisy = former * found.step[some] <= MUCH_NOISE * SIGMAS * self._least_noise
            shorter = np.minimum(sizes[some] / OTHER_STEP, own[some])
            sizes[some] = np.where(noisy, sizes[some] * OTHER_STEP, shorter)
            found.put(some, self._measured(numbers, some, sizes[some], centre))
            left = found.in_doubt(given)[some]
            helps = ~np.isfinite(former) | (found.bar[some] < former / 2)
            _require(bool(helps[left].all()))
            some = some[left]

    def _by_few_values(
        self, numbers: Vector, others: Array, sizes: Vector, found: _Slopes, shown: _Slopes,
        noise: float, centre: float,
    ) -> None:  # fmt: skip
        """Measure entries by four values, or by two where f is as straight as along the sample.

        What the sampled entries have shown of noise and of the fourth order is for all. The
        difference between the orders two and four is far more than the error of the fourth: by how
        much, they tell.
        """
        share, straight = np.max(shown.share), bool(np.all(shown.bend <= STRAIGHT))
        steps = _steps(sizes[others], FINEST / SHORTER) * (2 if straight else 1)
        moved, values = self._moved(numbers, others, steps, ONE if straight else PAIR)
        with np.errstate(all="ignore"):
            central = _central(moved, values)
            bar = SIGMAS * noise / steps
            if straight:
                slope = central[:, 0]
                bends = np.abs(values.sum(axis=1) - 2 * centre)
                bar = np.where(bends <= STRAIGHT * noise, bar, np.inf)
            else:
                slope = central @ FOURTH
                bar = bar + MARGIN * share * np.abs(slope - central[:, 0])
        found.slope[others], found.bar[others] = slope, _or_infinite(bar)
        found.step[others] = steps

    def _measured(self, numbers: Vector, indices: Array, sizes: Vector, centre: float) -> _Slopes:
        """Return the slopes by some entries from eight values each."""
        steps = _steps(sizes, FINEST)
        moved, found = self._moved(numbers, indices, steps, FOUR)
        with np.errstate(all="ignore"):
            central = _central(moved, found)
            slope, of_two = central @ EIGHTH, central[:, :2] @ FOURTH
            noise = self._noise(found, centre)
            rounding = SIGMAS * noise / steps
            off = found - centre - slope[:, None] * (moved - numbers[indices][:, None])
            bar = np.abs(slope - central @ SIXTH) + rounding
            share = np.abs(of_two - slope) / (np.abs(of_two - central[:, 0]) + rounding)
            bend = np.abs(off).max(axis=1) / noise
        return _Slopes(slope, _or_infinite(bar), steps, noise, share, bend)

    def _moved(
        self, numbers: Vector, indices: Array, steps: Vector, multiples: Array
    ) -> tuple[Array, Array]:
        """Move each of some entries by multiples of its step: return where to, and <w, f> there."""
        moved = numbers[indices][:, None] + steps[:, None] * multiples
        return moved, self._beside(numbers, indices, moved)

    def _beside(self, numbers: Vector, indices: Array, moved: Array) -> Array:
        """Evaluate with each of some entries replaced by each number of its row."""
        found = np.empty(moved.shape)
        entries = numbers[indices].tolist()
        places = list(zip(indices.tolist(), entries, moved.tolist(), strict=True))
        some = max(1, MOST_NUMBERS // (moved.shape[1] * max(1, self._flat_weights.size)))
        with self.function.recording():
            for start in range(0, len(places), some):
                part = places[start : start + some]
                found[start : start + some] = self._along(numbers, part).reshape(len(part), -1)
        return found

    def _along(self, numbers: Vector, places: list[tuple[int, float, list[float]]]) -> Vector:
        """Evaluate with each of some entries replaced by each of its values."""
        rows, record, row = self._rows(len(places) * len(places[0][2])), self._record, 0
        for index, former, moved in places:
            for entry in moved:
                numbers[index] = entry
                record(rows[row])
                row += 1
            numbers[index] = former
            self.advance(len(moved))
        return self._paired(rows)

    def _noise(self, beside: Array, centre: float) -> Vector:
        """Estimate the noise of the values along each entry from differences of high order."""
        middle = FOUR.size // 2
        values = np.full((len(beside), FOUR.size + 1), centre)
        values[:, :middle], values[:, middle + 1 :] = beside[:, :middle], beside[:, middle:]
        for _ in range(ORDERS[0]):
            values = values[:, 1:] - values[:, :-1]
        found = np.maximum.reduceat(np.abs(values @ HIGHER), FIRST_OF_ORDERS, axis=1)
        # What only the lower orders show is curvature.
        least = np.minimum.reduce(found, axis=1)
        usual = np.sort(least)[least.size // 2]
        noise: Vector = np.maximum(least, max(usual, self._least_noise))
        return noise


class _Judged(NamedTuple):
    """What the row of an array is made from."""

    given: Array
    slope: Vector
    bar: Vector
    tolerance: Tolerance


def _rows(names: list[str], judged: list[_Judged]) -> list[ArrayReport]:
    """Return the rows of arrays, all of which are right."""
    rows = []
    for name, (array, slope, bar, tolerance) in zip(names, judged, strict=True):
        is_complex = array.dtype.kind == "c"
        shape = (*array.shape, 2) if is_complex else array.shape
        numerical = Numerical(
            name + (" (real, imag)" if is_complex else ""), shape, slope, bar, np.zeros(slope.size)
        )
        given = real_numbers(array).reshape(shape)
        rows.append(judged_row(given, numerical, np.dtype(np.float64), tolerance)[0])
    return rows


def _expected(entries: int) -> int:
    """Return how many evaluations the entries of an array take, where none is in doubt."""
    sampled = entries if entries <= FEW else SAMPLED
    return FOUR.size * sampled + PAIR.size * (entries - sampled)


def _higher() -> tuple[Array, list[int]]:
    """Return what makes differences of all orders of those of the lowest order.

    Each over what the noise of a value makes of it; and where those of each order begin.
    """
    columns: list[Array] = []
    first, lowest = [], ORDERS[0]
    for order in ORDERS:
        first.append(len(columns))
        more = order - lowest
        weights = np.array([(-1) ** place * math.comb(more, place) for place in range(more + 1)])
        for start in range(FOUR.size + 1 - order):
            column = np.zeros(FOUR.size + 1 - lowest)
            column[start : start + weights.size] = weights / math.sqrt(math.comb(2 * order, order))
            columns.append(column)
    return np.array(columns).T, first


HIGHER, FIRST_OF_ORDERS = _higher()


def _central(moved: Array, found: Array) -> Array:
    """Return central differences, the one over the shortest distance first."""
    count = moved.shape[1] // 2
    realised = moved[:, count:] - moved[:, count - 1 :: -1]
    differences: Array = (found[:, count:] - found[:, count - 1 :: -1]) / realised
    return differences


def _sizes(numbers: Vector) -> Vector:
    """Return the size of each entry, or of a typical one of the array if that is larger."""
    typical = math.sqrt(numbers @ numbers / numbers.size) or 1.0
    return np.maximum(np.abs(numbers), typical)


def _sampled(sizes: Vector) -> tuple[Array, Array]:
    """Return some entries of an array, the one of the largest size among them, and the others.

    Of a small one all.
    """
    if sizes.size <= FEW:
        return np.arange(sizes.size), np.arange(0)
    sample = np.unique([np.argmax(sizes), *(np.arange(1, SAMPLED) * sizes.size // SAMPLED)])
    return sample, np.delete(np.arange(sizes.size), sample)


def _steps(sizes: Vector, share: float) -> Vector:
    """Return a share of each size, to the nearest power of two."""
    steps: Vector = UNEVEN * share * 2.0 ** np.rint(np.log2(sizes))
    return steps


def _or_infinite(bar: Vector) -> Vector:
    return np.where(np.isfinite(bar), bar, np.inf)


def _require(certain: bool) -> None:
    if not certain:
        raise _InDoubtError
