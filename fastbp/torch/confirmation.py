"""A right gradient of a smooth function, confirmed in few operations; anything else is left alone.

For some entries eight values beside the point: central differences of the orders 2 to 8, and a
table of differences that shows the noise; for the others four. Entries in doubt get other steps, as
near a pole. Where all entries agree within fine error bars that is the verdict. Any doubt that is
left (kinks, noise, steps, domains, a wrong entry) is for the general methods, which take their time
over it.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from fastbp.errors import FastbpError
from fastbp.function.checks.report_assembly import FunctionCheck, report_of
from fastbp.function.derivatives.entry_slopes import bar_of_constant
from fastbp.function.derivatives.line_slopes import DOUBLE_UNIT
from fastbp.function.methods.options import DEFAULTS, Options, function_tolerance
from fastbp.runtime.compilation import Stopwatch
from fastbp.runtime.user_code import agree
from fastbp.torch.tensors import array_of, real_numbers
from fastbp.verdict.rows import Numerical, judged_row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastbp.report import Report
    from fastbp.runtime.progress import Advance
    from fastbp.torch.autodiff.incoming import AtThePoint
    from fastbp.torch.autodiff.tensor_function import TensorFunction
    from fastbp.typing import Array, Mask, Vector

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
PAIR, FOUR = np.arange(1, 3), np.arange(1, 5)
# Of central differences over one, two, three and four steps, for each order of the whole.
FOURTH = np.array([4 / 3, -1 / 3])
SIXTH = np.array([3 / 2, -3 / 5, 1 / 10, 0.0])
EIGHTH = np.array([8 / 5, -4 / 5, 8 / 35, -1 / 35])
# Differences of the orders 6 to 8 are noise, by what their coefficients add up to in squares.
TABLE = {6: np.sqrt(924.0), 7: np.sqrt(3432.0), 8: np.sqrt(12870.0)}
SIGMAS = 8.0
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
    noise, share : float64
        Of eight values: the noise of each, and the error of two central differences, as a share of
        what the shorter one alone is off.
    """

    slope: Vector
    bar: Vector
    step: Vector
    noise: Vector
    share: Vector

    def put(self, some: Array, others: _Slopes) -> None:
        """Replace those of some entries."""
        for mine, other in zip(self, others, strict=True):
            mine[some] = other

    def in_doubt(self, given: Vector) -> Mask:
        """Tell where error bars are not fine enough to be sure of what is given."""
        size = np.abs(self.slope)
        absent = (size == 0.0) & (given == 0.0)
        doubtful: Mask = ~(self.bar <= FINE * np.fmax.reduce(size))
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
        outputs = function.results.tensors_at_first
        size = sum(  # of all terms of <w, f>
            float(np.abs(weight.reshape(-1)) @ np.abs(array_of(output).reshape(-1)))
            for weight, output in zip(weights, outputs, strict=True)
        )
        self._least_noise = LEAST_NOISE * size / abs(scale)

    def report(self, options: Options, watch: Stopwatch) -> Report:
        """Return the report; raise if there is any doubt."""
        function = self.function
        centre = self._value()
        began = time.perf_counter()
        again = self._value()
        _require(self._fits_in_time(time.perf_counter() - began, options))
        _require(agree(centre, again) and self._unchanged())
        self.advance.expect(self.evaluations + sum(_expected(part.size) for part in self.base))
        rows, gradient = [], self._given()
        inert = [not array.any() for array in gradient]
        for place, array in enumerate(gradient):
            slope, bar = self._slopes(self.numbers[place], real_numbers(array), centre)
            if all(inert):
                bar = np.fmax(bar, self._hidden_slopes(self.numbers[place], centre))
            tolerance = function_tolerance(options, array, np.dtype(np.float64), slope)
            is_complex = array.dtype.kind == "c"
            name = function.arguments.names[place] + (" (real, imag)" if is_complex else "")
            shape = (*array.shape, 2) if is_complex else array.shape
            numerical = Numerical(name, shape, slope, bar, np.zeros(slope.size))
            given = real_numbers(array).reshape(shape)
            row, _ = judged_row(given, numerical, np.dtype(np.float64), tolerance)
            expected = "untested" if inert[place] else "passed"
            _require(row.verdict == expected)
            rows.append(row)
        _require(self._unchanged())
        notes = () if function.real else ("complex by the convention of torch: Re(conj(w) z)",)
        check = FunctionCheck(
            tuple(rows), method="every", notes=notes, evaluations=self.evaluations
        )
        title = f"{'gradient' if function.scalar else 'vjp'} of {function.__name__}(inputs)"
        return report_of([check], title, "float64", options, watch)

    def _fits_in_time(self, seconds: float, options: Options) -> bool:
        """Tell whether every entry may be measured; `seconds` is for one evaluation."""
        limit = options.seconds_for_every if options.method == "auto" else options.budget
        entries = sum(part.size for part in self.base)
        return limit is None or MOST_EVALUATIONS * entries * seconds <= limit

    def _unchanged(self) -> bool:
        return all(map(np.array_equal, self.numbers, self.base))

    def _given(self) -> list[Array]:
        """Ask the backward pass twice, and for each output alone: the sum must be the same."""
        function, here = self.function, self.here
        product = here.product
        first = function.products(function.fresh_graph(), self.weights)
        _require(not function.changed and all(map(agree, first, product)))
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

    def _value(self) -> float:
        """Return <w, f> at what the numbers are now."""
        row = self._rows(1)
        with self.function.recording():
            self._record(row[0])
        self.advance(1)
        return float(self._paired(row)[0])

    def _rows(self, count: int) -> Array:
        """Return room for the outputs of some evaluations."""
        self.evaluations += count
        return np.empty((count, self._flat_weights.size))

    def _paired(self, rows: Array) -> Vector:
        """Return <w, f> of some evaluations; the outputs are lost."""
        rows *= self._flat_weights
        values: Vector = np.add.reduce(rows, axis=1)
        return values

    def _slopes(self, numbers: Vector, given: Vector, centre: float) -> tuple[Vector, Vector]:
        """Measure all entries of one array: on the scale of the array, or on their own."""
        sizes = _sizes(numbers)
        if not given.any():
            return self._inert(numbers, sizes, centre)
        few = numbers.size <= FEW
        if few:
            found = self._measured(numbers, np.arange(numbers.size), sizes, centre)
            doubtful = found.in_doubt(given)
        else:
            found = self._by_four_values(numbers, sizes, centre)
            doubtful = found.in_doubt(given) | ~(np.abs(found.slope - given) <= found.bar)
        if doubtful.any():
            # The most doubtful first: where these stay so, the others need not be measured.
            again = np.flatnonzero(doubtful)
            again = again[np.argsort(-found.bar[again], kind="stable")]
            for some in (again[:SAMPLED], again[SAMPLED:]):
                if not few and some.size:
                    found.put(some, self._measured(numbers, some, sizes[some], centre))
                self._take_other_steps(numbers, given, some, sizes, found, centre)
            _require(not found.in_doubt(given).any())
        return found.slope, found.bar

    def _inert(self, numbers: Vector, sizes: Vector, centre: float) -> tuple[Vector, Vector]:
        """Make sure that f is constant along every entry, as far as the general methods look.

        These look at most entries of a larger array with two steps only.
        """
        sample, others = np.arange(numbers.size), np.arange(0)
        if numbers.size > FEW:
            sample, others = _sampled(sizes)
        for some, shares in ((sample, INERT), (others, INERT[INERT_PAIR])):
            if some.size:
                steps = sizes[some, None] * shares
                moved = numbers[some, None] + np.concatenate([-steps, steps], axis=1)
                _require(bool((self._beside(numbers, some, moved) == centre).all()))
        return np.zeros(numbers.size), SIGMAS * self._least_noise / (sizes * INERT[-1])

    def _hidden_slopes(self, numbers: Vector, centre: float) -> Vector:
        """Return what slopes may be if f is constant wherever it was evaluated."""
        return bar_of_constant(centre, DOUBLE_UNIT, _sizes(numbers))

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

    def _by_four_values(self, numbers: Vector, sizes: Vector, centre: float) -> _Slopes:
        """Measure some entries fully; what they tell of noise and of the fourth order is for all.

        The difference between the orders two and four is far more than the error of the fourth: by
        how much, the entries tell that are measured fully.
        """
        sample, others = _sampled(sizes)
        full = self._measured(numbers, sample, sizes[sample], centre)
        steps = _steps(sizes[others], FINEST / SHORTER)
        central = self._central(numbers, others, steps, PAIR, centre)[0]
        with np.errstate(all="ignore"):
            slope = central @ FOURTH
            apart = np.abs(slope - central[:, 0])
            bar = SIGMAS * np.max(full.noise) / steps + MARGIN * np.max(full.share) * apart
        found = _Slopes(*np.full((5, sizes.size), np.nan))
        found.put(sample, full)
        found.slope[others], found.bar[others] = slope, _or_infinite(bar)
        found.step[others] = steps
        return found

    def _measured(self, numbers: Vector, indices: Array, sizes: Vector, centre: float) -> _Slopes:
        """Return the slopes by some entries from eight values each."""
        steps = _steps(sizes, FINEST)
        central, values = self._central(numbers, indices, steps, FOUR, centre)
        with np.errstate(all="ignore"):
            slope, of_two = central @ EIGHTH, central[:, :2] @ FOURTH
            noise = self._noise(values)
            rounding = SIGMAS * noise / steps
            bar = np.abs(slope - central @ SIXTH) + rounding
            share = np.abs(of_two - slope) / (np.abs(of_two - central[:, 0]) + rounding)
        return _Slopes(slope, _or_infinite(bar), steps, noise, share)

    def _central(
        self, numbers: Vector, indices: Array, steps: Vector, multiples: Array, centre: float
    ) -> tuple[Array, Array]:
        """Return central differences over multiples of a step, and all values in order."""
        count = multiples.size
        entries = numbers[indices]
        moved = entries[:, None] + steps[:, None] * np.concatenate([-multiples[::-1], multiples])
        found = self._beside(numbers, indices, moved)
        with np.errstate(all="ignore"):
            realised = moved[:, count:] - moved[:, count - 1 :: -1]
            central = (found[:, count:] - found[:, count - 1 :: -1]) / realised
        values = np.empty((len(found), 2 * count + 1))
        values[:, :count], values[:, count], values[:, count + 1 :] = (
            found[:, :count], centre, found[:, count:],
        )  # fmt: skip
        return central, values

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

    def _noise(self, values: Array) -> Vector:
        """Estimate the noise of the values along each entry from differences of high order."""
        found, difference = [], values
        for order in range(1, max(TABLE) + 1):
            difference = difference[:, 1:] - difference[:, :-1]
            if order in TABLE:
                found.append(np.abs(difference).max(axis=1) / TABLE[order])
        # What only the lower orders show is curvature.
        least = np.minimum.reduce(found)
        usual = np.sort(least)[least.size // 2]
        noise: Vector = np.maximum(least, max(usual, self._least_noise))
        return noise


def _expected(entries: int) -> int:
    """Return how many evaluations the entries of an array take, where none is in doubt."""
    sampled = entries if entries <= FEW else SAMPLED
    return 2 * (FOUR.size * sampled + PAIR.size * (entries - sampled))


def _sizes(numbers: Vector) -> Vector:
    """Return the size of each entry, or of a typical one of the array if that is larger."""
    typical = math.sqrt((numbers * numbers).mean()) or 1.0
    return np.maximum(np.abs(numbers), typical)


def _sampled(sizes: Vector) -> tuple[Array, Array]:
    """Return some entries of an array, the one of the largest size among them, and the others."""
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
