"""The Taylor test: by which power of the step the remainder of a linear model falls.

If g is the gradient of f, f(x + h v) - f(x) - h <g, v> falls as h², else as h. For each halving of
h, log2 of what it falls by is 2.00 or 1.00: no tolerance is in it. Where the rates of a few steps
do not settle, the slope along v is measured as every check does, with an error bar: that tells
wrong gradients from noise and kinks.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.errors import ShapeError
from fastbp.function.checks.matrices.given_matrix import Sides, read_matrix
from fastbp.function.containers.given_gradient import given_leaves, leaves_of
from fastbp.function.containers.point import SINGLE_UNIT, Point, argument_name, make_point
from fastbp.function.derivatives.entry_slopes import measure_entries, typical
from fastbp.function.derivatives.noise.evaluation_noise import ROUNDING
from fastbp.function.domain import domain_of
from fastbp.function.evaluation import Function
from fastbp.function.methods.directions import random_direction
from fastbp.function.methods.options import CANCELLATION, RTOL
from fastbp.function.structured.substitution import Substitution
from fastbp.report.taylor import TaylorTest
from fastbp.report.wording.digits import told_apart
from fastbp.runtime.account import Account
from fastbp.runtime.floating_point import own_errstate
from fastbp.runtime.progress import require_progress_option
from fastbp.runtime.validation import require_callable, require_number, require_seed
from fastbp.verdict.rows import unusable_reason
from fastbp.verdict.tolerance import RTOL_FLOAT32, Tolerance, allowed_difference

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastbp.function.checks.matrices.given_matrix import GivenMatrix
    from fastbp.function.containers.given_gradient import GivenLeaves
    from fastbp.function.derivatives.lines import Lines
    from fastbp.typing import Vector

__all__ = ["taylor_test"]

AT_THE_POINT, STEPS = 2, 6
# The exponents of the steps, relative to the size of what moves: of those that are tried at first,
# and of all. In float32 shorter ones show nothing but noise.
FIRST, FIRST_SINGLE = -8, -4
LONGEST, SHORTEST, SHORTEST_SINGLE = -3, -20, -11
# A remainder that is so many times the noise gives a rate to within 0.05.
CLEAR = 32.0
# Rates have settled when two of them are as close to the right one, or above it, and to each other;
# the second number is for those of a gradient that is known to be right along the direction.
SETTLED, SETTLED_IF_RIGHT = 0.1, 0.2


@own_errstate
def taylor_test(
    f: Callable[[Any], Any],
    gradient: Any,
    at: Any,
    *,
    hessian: Any = None,
    direction: Any = None,
    noise: float = 0.0,
    bounds: Any = None,
    scale: Any = None,
    seed: int | None = None,
    progress: bool | None = None,
) -> TaylorTest:
    """Test a gradient by the rates at which Taylor remainders fall.

    Parameters
    ----------
    f : callable
        ``f(at)`` returns a number. It gets a copy of `at`, in float64 if it takes that.
    gradient : callable or nesting
        ``gradient(at)``, or its value at `at`, as in `check_gradient`.
    at : array, float, or nesting of lists, tuples, dicts, named tuples and dataclasses of these
        Where; of float64 or float32, and structured points as in `check_gradient`.
    hessian : array, sparse array, LinearOperator, nesting of arrays, or callable, optional
        As in `check_hessian`: the remainder of the quadratic model is tested too, which falls as
        h³.
    direction : nesting of the structure of `at`, optional
        v; by default a random one that moves every entry by about the size of its array,
        probabilities of `simplex` by their own. By the coordinates where `at` holds structured
        points.
    noise : float
        By how much two values of `f` at the same point, and two results of `gradient`, may differ.
    bounds, scale
        As in `numerical_gradient`.
    seed : int, optional
        Of the random direction. None draws one; the result says which.
    progress : bool, optional
        As in `numerical_gradient`.

    Returns
    -------
    TaylorTest
        With a verdict; ``print`` shows the table, ``plot`` draws it.

    Raises
    ------
    DTypeError, ShapeError, EvaluationError, OptionError
        As in `check_gradient`.

    Notes
    -----
    Two evaluations of `f` at the point and six beside it, of steps that are halved. The gradient
    has passed when the last two rates that noise does not spoil are 2.00 (at least 1.9, and within
    0.1 of each other; more where f has no curvature along v). Otherwise all steps from 2**-3 to
    2**-20 of the size of what moves are evaluated, and the slope along v is measured with an error
    bar, some 24 evaluations: the gradient fails if <g, v> is not that slope, and the test is
    inconclusive if it is, but the rates do not settle before noise spoils them. A Hessian fails
    where the rates of its remainder settle at 2.00.

    One direction tests all entries at once and names none: an error of <g, v> below ``detectable``
    may be missed, and `check_gradient` says in which entries a gradient is wrong.

    The test is that of dolfin-adjoint (Farrell, Ham, Funke & Rognes, SIAM J. Sci. Comput. 35,
    2013).

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> def rosenbrock(x):
    ...     return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
    >>> def gradient(x):
    ...     inner = x[1] - x[0] ** 2
    ...     return np.array([-400 * inner * x[0] - 2 * (1 - x[0]), 200 * inner])
    >>> result = fastbp.taylor_test(rosenbrock, gradient, np.array([-1.2, 1.0]), seed=0)
    >>> result.verdict, result.evaluations, result.rates[1].round(1)
    ('passed', 8, array([2., 2., 2., 2., 2.]))
    >>> fastbp.taylor_test(rosenbrock, lambda x: 1.01 * gradient(x), np.array([-1.2, 1.0])).verdict
    'failed'
    """
    started = time.perf_counter()
    require_callable(f, "f")
    require_number(noise, "noise", 0.0, np.inf, "a finite number of at least 0")
    require_progress_option(progress)
    drawn = require_seed(seed)
    name = argument_name(f)
    places = Substitution(at)
    point = make_point(places.function(f), places.coordinates, name)
    lengths = places.lengths(point)
    line = _Line(places.function(f), point, direction, bounds, scale, drawn, lengths)
    with Account(progress) as account:
        account.expect(AT_THE_POINT + STEPS)
        function = Function(line, Point(0.0, "h"), "f", account=account)
        function.allow_noise(noise)
        given = places.with_bars(
            given_leaves(places.derivative(gradient), point, noise=noise), point
        )
        matrix = None
        if hessian is not None:
            places.require_plain("taylor_test with a hessian")
            matrix = read_matrix(hessian, "hessian", _sides(point), point, noise)
        test = _Test(function, line, given, matrix)
        verdict, reason = test.verdict()
    return TaylorTest(
        verdict=verdict, reason=reason, steps=test.steps, remainders=test.remainders,
        rates=test.rates, slope=test.slope, noise=test.noise, detectable=test.detectable,
        function=f"{getattr(f, '__name__', type(f).__name__)}({name})",
        dtype=point.precision,
        seed=drawn if direction is None else None, evaluations=function.evaluations,
        seconds=time.perf_counter() - started,
        notes=(*places.notes(name), *function.notes),
    )  # fmt: skip


def _sides(point: Point) -> Sides:
    paths = [name.removeprefix(point.name) for name in point.container.names]
    return Sides(paths, paths, point.container.shapes, point.container.shapes)


class _Line:
    """f along a line through the point: ``line(h)`` is f(x + h v), NaN beyond the bounds.

    Attributes
    ----------
    direction : list of ndarray
        v, for the real numbers of each leaf.
    size : float
        The h that moves what moves by its own size, a power of two.
    changed : list of str
        The leaves that f has changed.
    """

    def __init__(
        self,
        f: Callable[[Any], Any],
        point: Point,
        direction: Any,
        bounds: Any,
        scale: Any,
        seed: int,
        lengths: dict[int, Vector],
    ) -> None:
        self.f, self.point, self.lengths = point.evaluated_by(f), point, lengths
        self.domain = domain_of(point, bounds, scale)
        self.changed: list[str] = []
        self.size = 1.0
        if direction is None:
            self.direction = self._random(np.random.default_rng(seed))
        else:
            self.direction = _directions(direction, point)
            self.size = self._size()

    def _random(self, rng: np.random.Generator) -> list[NDArray[np.floating]]:
        directions = []
        for leaf, base in enumerate(self.point.base):
            sizes = self._sizes(leaf)
            moved = np.where(np.isfinite(base), sizes, 0.0).astype(base.dtype)
            along = self.domain.inward(leaf, base, moved * random_direction(rng, base))
            directions.append(along.astype(base.dtype))
        return directions

    def _sizes(self, leaf: int) -> Any:
        lengths = self.domain.scale(leaf)
        if lengths is not None:
            return lengths
        return self.lengths.get(leaf, typical(self.point.base[leaf]))

    def _size(self) -> float:
        """Return the size of a direction that somebody gave: nothing moves further than it is."""
        with np.errstate(divide="ignore"):
            ratios = [
                np.min(self._sizes(leaf) / np.abs(along), initial=np.inf)
                for leaf, along in enumerate(self.direction)
            ]
        return float(np.exp2(np.floor(np.log2(min(ratios)))))

    def __call__(self, h: float) -> Any:
        own = self.point.copy()  # which f may keep, or change
        beyond = False
        places = enumerate(zip(own.flat, own.base, self.direction, strict=True))
        for leaf, (numbers, base, along) in places:
            with np.errstate(all="ignore"):
                numbers[:] = base + numbers.dtype.type(h) * along
            beyond |= not self.domain.holds(leaf, numbers, slice(None)).all()
        if beyond:
            return np.nan
        value = self.f(own.argument)
        if h == 0:
            self.changed = own.changed()
        single = own.single and isinstance(value, float)
        return np.float32(value) if single else value

    def slope(self, given: GivenLeaves) -> tuple[float, float]:
        """Return <g, v>, and the sum of the sizes of its terms."""
        terms = [
            np.where(along != 0, array.reshape(-1).astype(np.float64), 0.0) * along
            for array, along in zip(given.arrays, self.direction, strict=True)
            if array is not None and array.size == along.size and array.dtype.kind == "f"
        ]
        with np.errstate(all="ignore"):
            return sum(float(np.sum(some)) for some in terms), sum(
                float(np.sum(np.abs(some))) for some in terms
            )


def _directions(direction: Any, point: Point) -> list[NDArray[np.floating]]:
    given = leaves_of(direction, point, "direction")
    found = []
    for array, name, shape, base in zip(
        given.arrays, point.container.names, point.container.shapes, point.base, strict=True
    ):
        if array is None or array.shape != shape or array.dtype.kind not in "fiu":
            came = "nothing" if array is None else f"{array.dtype} of shape {array.shape}"
            raise ShapeError(
                f"direction must be of real numbers of shape {shape} for {name}, not {came}."
            )
        if not np.isfinite(array).all():
            raise ShapeError(f"direction must be finite, but it is not for {name}.")
        found.append(array.reshape(-1).astype(base.dtype))
    if not any(array.any() for array in found):
        raise ShapeError("direction must not be 0.")
    return found


class _Test:
    """The remainders for some steps, and what follows from them.

    Attributes
    ----------
    steps : ndarray of float64, shape (k,)
        From long to short.
    values : ndarray of float64, shape (k,)
        f there.
    slope, noise : float
        <g, v>, and the standard deviation of the noise of f.
    curvature : float or None
        <v, H v>; None without a Hessian.
    """

    def __init__(
        self, function: Function, line: _Line, given: GivenLeaves, hessian: GivenMatrix | None
    ) -> None:
        self.function, self.line, self.given, self.hessian = function, line, given, hessian
        self.curvature: float | None = None
        if hessian is not None:
            v = np.concatenate([along.astype(np.float64) for along in line.direction])
            self.curvature = float(np.sum(v * hessian.times(v)))
        self.single = function.unit == SINGLE_UNIT
        self.slope, self.terms = line.slope(given)
        self.steps, self.values = np.empty(0), np.empty(0)
        first = FIRST_SINGLE if self.single else FIRST
        self._evaluate(range(first, first - STEPS, -1))
        finite = np.abs(self.values[np.isfinite(self.values)])
        largest = max(abs(function.value), float(np.max(finite, initial=0.0)))
        self.noise = ROUNDING * function.unit * largest

    def _evaluate(self, exponents: range) -> None:
        """Evaluate f after more steps, and put all into order."""
        steps = self.line.size * np.exp2(np.array(exponents, dtype=np.float64))
        steps = np.setdiff1d(steps, self.steps)
        values = self.function.with_entries(0, np.zeros(steps.size, dtype=np.int64), steps)
        every = np.concatenate([self.steps, steps])
        order = np.argsort(-every)
        self.steps = every[order]
        self.values = np.concatenate([self.values, values])[order]

    @property
    def remainders(self) -> list[Vector]:
        """What is left of the change of f without a model, with a linear and a quadratic one."""
        with np.errstate(all="ignore"):
            change = self.values - self.function.value
            linear = change - self.steps * self.slope
            left = [np.abs(change), np.abs(linear)]
            if self.curvature is not None:
                left.append(np.abs(linear - self.steps**2 * self.curvature / 2))
            return left

    def clear(self, order: int) -> NDArray[np.bool_]:
        """Tell which remainders are far above the noise, which also rounds h <g, v>."""
        noise = self.noise + ROUNDING * self.function.unit * np.abs(self.steps) * self.terms
        remainder = self.remainders[order]
        return np.isfinite(remainder) & (remainder >= CLEAR * noise)

    @property
    def rates(self) -> list[Vector]:
        """By which power of the step each remainder falls; NaN where noise spoils that."""
        return [self._rates(order) for order in range(len(self.remainders))]

    def _rates(self, order: int) -> Vector:
        clear, remainder = self.clear(order), self.remainders[order]
        known = clear[:-1] & clear[1:]
        with np.errstate(all="ignore"):
            rates = np.log2(remainder[:-1] / remainder[1:]) / np.log2(
                self.steps[:-1] / self.steps[1:]
            )
        found: Vector = np.where(known, rates, np.nan)
        return found

    def _known_rates(self, order: int) -> Vector:
        rates = self._rates(order)
        return rates[np.isfinite(rates)]

    def settled(self, order: int) -> bool:
        """Tell whether the last two rates that are known are what they should be, or above."""
        return bool(self._settled_pairs(order, SETTLED)[-1:].any())

    def _settled_pairs(self, order: int, near: float) -> NDArray[np.bool_]:
        rates = self._known_rates(order)
        lower = np.minimum(rates[:-1], rates[1:])
        settled: NDArray[np.bool_] = (lower >= order + 1 - near) & (np.abs(np.diff(rates)) <= near)
        return settled

    @property
    def linear(self) -> bool:
        """Tell whether f changes along v, and no remainder of a linear model is left of that."""
        finite = np.isfinite(self.values)
        return bool(finite.all() and self.clear(0)[0] and not self.clear(1).any())

    @property
    def detectable(self) -> float:
        """The error of <g, v> that would have spoilt the last remainder that is known."""
        clear, remainder = self.clear(1), self.remainders[1]
        if clear.any():
            last = int(np.flatnonzero(clear)[-1])
            return float(remainder[last] / self.steps[last])
        if self.linear:
            return float(CLEAR * self.noise / self.steps[0])
        return float("inf")

    def verdict(self) -> tuple[Any, str]:
        """Return the verdict, and why."""
        broken = self._misbehaviour()
        if broken:
            return "failed", broken
        if not np.isfinite(self.function.value):
            return "inconclusive", f"f is {self.function.value} at the point"
        verdict, reason = "passed", self._why_passed()
        if not (self.settled(1) or self.linear):
            verdict, reason = self._by_slope()
        if verdict == "passed" and self.curvature is not None:
            return self._of_quadratic_model()
        return verdict, reason

    def _of_quadratic_model(self) -> tuple[str, str]:
        """Judge the Hessian, of a gradient that has passed."""
        if not self.settled(2):
            self._evaluate(range(LONGEST, FIRST_SINGLE if self.single else FIRST, -1))
        rates = self._known_rates(2)
        if not self.clear(2).any():
            return "passed", "nothing is left of the quadratic model, but rounding"
        if self._settled_pairs(2, SETTLED_IF_RIGHT).any():
            return "passed", self._falls(2, "quadratic")
        if rates.size >= 2 and np.all(np.abs(rates[-2:] - 2) <= SETTLED):
            return "failed", (
                f"the remainder of the quadratic model falls as h^{rates[-1]:.2f}: <v, H v> = "
                f"{self.curvature:.9g} is not the second derivative along v"
            )
        return "inconclusive", "the rates of the quadratic model do not settle"

    def _why_passed(self) -> str:
        if not self.settled(1):
            return "f is linear along v, and <g, v> is its slope"
        return self._falls(1, "linear")

    def _falls(self, order: int, model: str) -> str:
        rates = np.sort(self._known_rates(order))
        return f"the remainder of the {model} model falls as h^{rates[rates.size // 2]:.2f}"

    def _misbehaviour(self) -> str:
        """Say what f or the gradient does that it should not; empty if nothing."""
        if self.line.changed:
            return f"f changed its argument: {', '.join(self.line.changed)}"
        if self.function.findings:
            return self.function.findings[0]
        if self.given.findings:
            return self.given.findings[0]
        if self.hessian is not None and self.hessian.findings:
            return self.hessian.findings[0]
        point = self.line.point
        if self.given.extra:
            return f"{', '.join(self.given.extra)} is not in the argument"
        for array, name, shape in zip(
            self.given.arrays, point.container.names, point.container.shapes, strict=True
        ):
            reason = "is not given" if array is None else unusable_reason(array, shape)
            if not reason and array is not None and not np.isfinite(array).all():
                reason = "is not finite"
            if reason:
                return f"the gradient by {name} {reason}"
        return ""

    def _by_slope(self) -> tuple[Any, str]:
        """Look at all steps, and measure the slope along v as every check does."""
        lines = measure_entries(self.function, 0, np.array([0]))
        slope, bar, hull = (float(one[0]) for one in (lines.slope, lines.error_bar, lines.hull))
        self.noise = max(self.noise, float(np.nan_to_num(lines.noise[0])))
        shortest = SHORTEST_SINGLE if self.single else SHORTEST
        self._evaluate(range(LONGEST, shortest - 1, -1))
        settled, linear = self._settled_pairs(1, SETTLED_IF_RIGHT).any(), self.linear
        self._keep_what_is_clear()
        if not np.isfinite(bar):
            return "inconclusive", "f has no finite slope along v, or is not finite there"
        allowed = self._allowed(slope, bar, hull)
        if abs(self.slope - slope) > allowed:
            one, other = told_apart(self.slope, slope)
            return "failed", f"<g, v> is {one}, but the slope of f along v is {other} +- {bar:.2g}"
        if settled or linear:
            return "passed", self._why_passed()
        return "inconclusive", self._why_not_settled(lines, bar)

    def _allowed(self, slope: float, bar: float, hull: float) -> float:
        single = self.given.dtype.itemsize == 4 or any(
            array is not None and array.dtype == np.float32 for array in self.given.arrays
        )
        rounding = (RTOL_FLOAT32 if single else RTOL + CANCELLATION) * self.terms
        own = sum(
            noise * float(np.sum(np.abs(self.line.direction[leaf])))
            for leaf, noise in self.given.noise.items()
        )
        return allowed_difference(slope, bar, Tolerance(0.0, rounding + own), hull)

    def _why_not_settled(self, lines: Lines, bar: float) -> str:
        if lines.kink[0]:
            left, right = told_apart(float(lines.left[0]), float(lines.right[0]), 6)
            return (
                f"f has a kink at the point: its slopes along v are {left} and {right}, and <g, v> "
                f"lies between"
            )
        if max(abs(self.slope), abs(float(lines.slope[0]))) <= bar:
            return "f does not change along v by more than its noise: nothing was tested"
        agrees = f"<g, v> is the slope of f along v, to within {bar:.2g}"
        if np.count_nonzero(self.clear(1)) <= 3:
            return f"{agrees}, but noise spoils the rates before they settle"
        return f"{agrees}, but the rates do not settle: f is not smooth along v"

    def _keep_what_is_clear(self) -> None:
        """Keep the last steps with a remainder above the noise; the first ones if there is none."""
        clear = np.flatnonzero(self.clear(1))
        stop = max(STEPS, int(clear[-1]) + 1 if clear.size else 0)
        kept = slice(stop - STEPS, stop)
        self.steps, self.values = self.steps[kept], self.values[kept]
