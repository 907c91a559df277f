"""A right gradient of a smooth function, confirmed in few operations; anything else is left alone.

For some entries eight values beside the point: central differences of the orders 2 to 8, and a
table of differences that shows the noise; for the others four. Where all entries agree within fine
error bars that is the verdict. Any doubt (kinks, noise, steps, domains, a wrong entry) is for the
general methods, which take their time over it.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

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
    from fastbp.typing import Array, Vector

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
        _require(
            all(array.size <= FEW for array, zero in zip(gradient, inert, strict=True) if zero)
        )
        for place, array in enumerate(gradient):
            slope, bar = self._slopes(self.numbers[place], real_numbers(array), centre)
            if all(inert):
                bar = np.fmax(bar, self._hidden_slopes(self.numbers[place], centre))
            absent = (slope == 0.0) & (real_numbers(array) == 0.0)
            _require(bool((absent | (bar <= FINE_ALONE * np.abs(slope))).all()))
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
        typical, sizes = _sizes(numbers)
        if not given.any():
            return self._inert(numbers, sizes, centre)
        if numbers.size <= FEW:
            slope, bar, *_ = self._measured(numbers, np.arange(numbers.size), sizes, centre)
        else:
            slope, bar = self._by_four_values(numbers, sizes, centre)
            self._measure_again(numbers, given, sizes, slope, bar, centre)
        doubtful = np.flatnonzero(~(bar <= FINE * np.max(np.abs(slope))))
        if doubtful.size:
            own = np.abs(numbers[doubtful])
            _require(bool(np.all((own > 0) & (own < typical))))
            slope[doubtful], bar[doubtful], *_ = self._measured(numbers, doubtful, own, centre)
            _require(bool(np.all(bar <= FINE * np.max(np.abs(slope)))))
        return slope, bar

    def _inert(self, numbers: Vector, sizes: Vector, centre: float) -> tuple[Vector, Vector]:
        """Make sure that f is constant along every entry, as far as the general methods look."""
        steps = sizes[:, None] * INERT
        moved = numbers[:, None] + np.concatenate([-steps, steps], axis=1)
        places = list(
            zip(range(numbers.size), numbers.tolist(), moved.tolist(), strict=True)
        )  # fmt: skip
        with self.function.recording():
            _require(bool(np.all(self._along(numbers, places) == centre)))
        return np.zeros(numbers.size), SIGMAS * self._least_noise / steps[:, -1]

    def _hidden_slopes(self, numbers: Vector, centre: float) -> Vector:
        """Return what slopes may be if f is constant wherever it was evaluated."""
        _, sizes = _sizes(numbers)
        return bar_of_constant(centre, DOUBLE_UNIT, sizes)

    def _measure_again(
        self, numbers: Vector, given: Vector, sizes: Vector, slope: Vector, bar: Vector,
        centre: float,
    ) -> None:  # fmt: skip
        """Measure entries fully that four values leave in doubt, the most doubtful ones first.

        Where not even steps of its own would help one of those, the others need not be measured.
        """
        wrong = ~(np.abs(slope - given) <= bar) | ~(bar <= FINE * np.max(np.abs(slope)))
        again = np.flatnonzero(wrong)
        if again.size == 0:
            return
        again = again[np.argsort(-bar[again], kind="stable")]
        for some in (again[:SAMPLED], again[SAMPLED:]):
            slope[some], bar[some], *_ = self._measured(numbers, some, sizes[some], centre)
            coarse = ~(bar[some] <= FINE * np.max(np.abs(slope)))
            own = np.abs(numbers[some])
            _require(not bool(np.any(coarse & ~((own > 0) & (own < sizes[some])))))

    def _by_four_values(
        self, numbers: Vector, sizes: Vector, centre: float
    ) -> tuple[Vector, Vector]:
        """Measure some entries fully; what they tell of noise and of the fourth order is for all.

        The difference between the orders two and four is far more than the error of the fourth: by
        how much, the entries tell that are measured fully.
        """
        sample = np.unique([np.argmax(sizes), *(np.arange(1, SAMPLED) * sizes.size // SAMPLED)])
        full, full_bar, noise, share = self._measured(numbers, sample, sizes[sample], centre)
        others = np.delete(np.arange(sizes.size), sample)
        steps = _steps(sizes[others], FINEST / SHORTER)
        central = self._central(numbers, others, steps, PAIR, centre)[0]
        slope, bar = np.empty(sizes.size), np.empty(sizes.size)
        with np.errstate(all="ignore"):
            found = central @ FOURTH
            apart = np.abs(found - central[:, 0])
            slope[others] = found
            bar[others] = SIGMAS * np.max(noise) / steps + MARGIN * np.max(share) * apart
        slope[sample], bar[sample] = full, full_bar
        return slope, np.where(np.isfinite(bar), bar, np.inf)

    def _measured(
        self, numbers: Vector, indices: Array, sizes: Vector, centre: float
    ) -> tuple[Vector, Vector, Vector, Vector]:
        """Return the slopes by some entries from eight values, their error bars, and the noise.

        And the error of two central differences, as a share of what the shorter one alone is off.
        """
        if indices.size == 0:
            return np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0)
        steps = _steps(sizes, FINEST)
        central, values = self._central(numbers, indices, steps, FOUR, centre)
        with np.errstate(all="ignore"):
            slope, of_two = central @ EIGHTH, central[:, :2] @ FOURTH
            noise = self._noise(values)
            rounding = SIGMAS * noise / steps
            bar = np.abs(slope - central @ SIXTH) + rounding
            share = np.abs(of_two - slope) / (np.abs(of_two - central[:, 0]) + rounding)
        return slope, np.where(np.isfinite(bar), bar, np.inf), noise, share

    def _central(
        self, numbers: Vector, indices: Array, steps: Vector, multiples: Array, centre: float
    ) -> tuple[Array, Array]:
        """Return central differences over multiples of a step, and all values in order."""
        count = multiples.size
        entries = numbers[indices]
        moved = entries[:, None] + steps[:, None] * np.concatenate([-multiples[::-1], multiples])
        found = np.empty(moved.shape)
        places = list(zip(indices.tolist(), entries.tolist(), moved.tolist(), strict=True))
        some = max(1, MOST_NUMBERS // (2 * count * self._flat_weights.size))
        with self.function.recording():
            for start in range(0, len(places), some):
                part = places[start : start + some]
                found[start : start + some] = self._along(numbers, part).reshape(-1, 2 * count)
        with np.errstate(all="ignore"):
            realised = moved[:, count:] - moved[:, count - 1 :: -1]
            central = (found[:, count:] - found[:, count - 1 :: -1]) / realised
        values = np.empty((len(found), 2 * count + 1))
        values[:, :count], values[:, count], values[:, count + 1 :] = (
            found[:, :count], centre, found[:, count:],
        )  # fmt: skip
        return central, values

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


def _sizes(numbers: Vector) -> tuple[float, Vector]:
    """Return the size of a typical entry of an array, and of each, if it is not smaller."""
    typical = math.sqrt((numbers * numbers).mean()) or 1.0
    return typical, np.maximum(np.abs(numbers), typical)


def _steps(sizes: Vector, share: float) -> Vector:
    """Return a share of each size, to the nearest power of two."""
    steps: Vector = UNEVEN * share * 2.0 ** np.rint(np.log2(sizes))
    return steps


def _require(certain: bool) -> None:
    if not certain:
        raise _InDoubtError
