"""Checking the gradient of any function: every entry, or by random directions."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastbp.backends import check_workers, make_function
from fastbp.evaluation import argument_name, make_point
from fastbp.given_function import GivenLeaves, given_leaves
from fastbp.locate import locate_wrong_entries
from fastbp.numeric import measure_everything
from fastbp.progress import check_progress_option, progress_bar
from fastbp.report import ArrayReport, Failure, Report
from fastbp.rows import Numerical, judged_row, unusable_reason, worst_of_all
from fastbp.slopes import cheap_slopes, measure_again, survey_leaf
from fastbp.validate import require_bool, require_choice, require_integer, require_number
from fastbp.verdict import (
    Tolerance,
    allowed_difference,
    check_verdict,
    default_tolerance,
    wrong_entries,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastbp.evaluation import Function
    from fastbp.lines import Lines
    from fastbp.locate import Located

    Vector: TypeAlias = NDArray[np.float64]

__all__ = ["FunctionCheck", "Options", "check_gradient", "check_scalar"]

METHODS = ("auto", "every", "probe")
DIRECTIONS = 3
# What a correct gradient in float64 may be off by: of the entry, and, where terms cancel, of the
# largest entry of its array. Some thousand roundings.
RTOL, CANCELLATION = 2.0**-40, 2.0**-44
# One in float32 may also lose digits of its own by cancellation, up to this part of the largest.
MOST_NOISE = 2.0**-7
# Errors of single entries have random signs, so that along a direction they add like noise.
DIRECTION_SIGMAS = 4.0
CORNERS_NOTED = 5
# Wrong entries beyond these, the ones nearest to passing, are measured again by one difference.
MOST_AGAIN = 256


@dataclass(frozen=True, slots=True)
class Options:
    """How to check: the validated keyword arguments of the public functions."""

    method: str
    rtol: float | None
    atol: float | None
    budget: float
    most: int
    seed: int
    vectorized: bool
    workers: int | None
    progress: bool | None

    @property
    def tolerance(self) -> Tolerance | None:
        """The user's tolerance; None for ours."""
        if self.rtol is None and self.atol is None:
            return None
        return Tolerance(self.rtol or 0.0, self.atol or 0.0)


@dataclass(frozen=True, slots=True)
class FunctionCheck:
    """What a check of one scalar function found."""

    rows: tuple[ArrayReport, ...]
    others: tuple[ArrayReport, ...]
    failures: tuple[tuple[Failure, ...], ...]
    method: str
    evaluations: int
    notes: tuple[str, ...]
    at_least: bool


def check_gradient(
    f: Callable[[Any], Any],
    gradient: Any,
    at: Any,
    *,
    method: str = "auto",
    rtol: float | None = None,
    atol: float | None = None,
    budget: float = 10.0,
    most: int = 10,
    seed: int | None = None,
    vectorized: bool = False,
    workers: int | None = None,
    progress: bool | None = None,
) -> Report:
    """Check the gradient of a scalar function.

    Parameters
    ----------
    f : callable
        ``f(at)`` returns a number. It gets a copy of `at`, in float64 if it takes that, else in
        its own precision.
    gradient : callable or nesting
        ``gradient(at)``, or its value at `at`: in the structure of `at`, with arrays of the same
        shapes. A function is called twice, on fresh copies.
    at : array, float, or nesting of lists, tuples, dicts, named tuples and dataclasses of these
        Where; of float64 or float32.
    method : {"auto", "every", "probe"}
        "every": a central difference for every entry, more where there is doubt, and a second
        measurement for every entry that is about to fail. "probe": derivatives along random
        directions of each array, then bisection to the wrong entries. "auto": every, if that
        takes no longer than the budget, else probe.
    rtol, atol : float, optional
        An entry passes when ``|given - numerical| <= error_bar + atol + rtol * |numerical|``. If
        one of the two is given, the other is 0. The default allows for the rounding of a gradient
        in the precision of the given one.
    budget : float
        Seconds that "auto" may spend on *every*, estimated from the first evaluation.
    most : int
        *probe* stops after so many wrong entries of an array; the report then says "at least".
    seed : int, optional
        Of the random directions. None draws one; the report says which.
    vectorized, workers, progress
        As in `numerical_gradient`.

    Returns
    -------
    Report
        A verdict for every array and for the whole, the wrong entries, and how large an error
        would have been seen. It also fails, with a row of its own, where `f` or `gradient`
        changes its argument, or returns something else when it is called again.

    Raises
    ------
    DTypeError, ShapeError
        If `at` holds no floats or something else; if `f` does not return one real number; if
        `gradient` is neither callable nor of the structure of `at`.
    EvaluationError
        If `f` or `gradient` raises: the message says with which entry changed.
    OptionError
        If an option is unknown or senseless.

    Notes
    -----
    *every* takes 2 evaluations of f for each entry, *probe* some 30 for each array and
    2 log2(n) + 50 for each wrong entry. At a corner (|x| at 0) the derivative of a black box is
    whatever lies between its left and right slope.

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> def loss(params):
    ...     return np.sum((params["weight"] @ params["x"]) ** 2)
    >>> def gradient(params):
    ...     residual = 2 * params["weight"] @ params["x"]
    ...     return {"weight": np.outer(residual, params["x"]), "x": residual @ params["weight"]}
    >>> at = {"weight": np.arange(6.0).reshape(2, 3), "x": np.array([1.0, -2.0, 0.5])}
    >>> fastbp.check_gradient(loss, gradient, at).verdict
    'passed'
    >>> wrong = gradient(at)
    >>> wrong["weight"][1, 2] += 0.01
    >>> report = fastbp.check_gradient(loss, wrong, at)
    >>> report.verdict, report.failures[0].where
    ('failed', "params['weight'][1, 2]")
    """
    started = time.perf_counter()
    options = checked_options(method, rtol, atol, budget, most, seed, vectorized, workers, progress)
    name = argument_name(f)
    point = make_point(f, at, name, vectorized=vectorized is True)
    function = make_function(f, point, "f", vectorized=options.vectorized, workers=options.workers)
    with function:
        found = check_scalar(function, given_leaves(gradient, point), options)
    title = f"gradient of {getattr(f, '__name__', type(f).__name__)}({name})"
    return report_of([found], title, point.base, options, started)


def checked_options(
    method: str,
    rtol: float | None,
    atol: float | None,
    budget: float,
    most: int,
    seed: int | None,
    vectorized: bool,
    workers: int | None,
    progress: bool | None,
) -> Options:
    """Validate the keyword arguments that all checks of functions share."""
    require_choice(method, "method", METHODS)
    expected = "None or a finite number of at least 0"
    for value, name in ((rtol, "rtol"), (atol, "atol")):
        if value is not None:
            require_number(value, name, 0.0, np.inf, expected)
    require_number(budget, "budget", 0.0, np.inf, "a finite number of at least 0")
    require_integer(most, "most", 1)
    require_bool(vectorized, "vectorized")
    check_workers(workers, vectorized)
    check_progress_option(progress)
    if seed is None:
        seed = int(np.random.default_rng().integers(2**32))
    require_integer(seed, "seed", 0)
    return Options(method, rtol, atol, budget, most, seed, vectorized, workers, progress)


def check_scalar(function: Function, given: GivenLeaves, options: Options) -> FunctionCheck:
    """Check a gradient of a scalar function at a point, by whichever method fits."""
    entries = sum(numbers.size for numbers in function.point.base)
    method, notes = options.method, []
    if method == "auto":
        seconds = 2 * entries * function.seconds / function.hands
        method = "every" if seconds <= options.budget else "probe"
        if method == "probe":
            notes.append(
                f"auto chose probe: every entry would take about {seconds:.0f} s, "
                f"the budget is {options.budget:g} s"
            )
    measure = _every if method == "every" else _probe
    rows, failures, more, at_least = measure(function, given, options)
    function.close()
    return FunctionCheck(
        rows=tuple(rows),
        others=tuple(_finding_rows(function, given)),
        failures=tuple(failures),
        method=method,
        evaluations=function.evaluations,
        notes=(*notes, *more, *function.notes),
        at_least=at_least,
    )


def _finding_rows(function: Function, given: GivenLeaves) -> list[ArrayReport]:
    findings = [("f", reason) for reason in function.findings]
    findings += [("gradient", reason) for reason in given.findings]
    findings += [(name, "is not in the argument") for name in given.extra]
    return [bare_row(name, (), 0, "failed", reason) for name, reason in findings]


def bare_row(
    name: str, shape: tuple[int, ...], entries: int, verdict: Any, reason: str
) -> ArrayReport:
    """Return a row without any comparison: all entries are wrong if it failed."""
    return ArrayReport(
        name=name,
        shape=shape,
        entries=entries,
        wrong=entries if verdict == "failed" else 0,
        zero=0,
        kinks=0,
        worst=None,
        factor=None,
        residual=None,
        detectable=np.inf if entries else 0.0,
        verdict=verdict,
        reason=reason,
    )


def function_tolerance(
    options: Options,
    given: NDArray[Any],
    dtype: np.dtype[Any],
    numerical: Vector,
    noise: float = 0.0,
) -> Tolerance:
    """Return what a correct gradient of that precision may be off by.

    `noise` is how far the given one, in float32, is from the same function's in float64.
    """
    if options.tolerance is not None:
        return options.tolerance
    finite = np.abs(numerical[np.isfinite(numerical)])
    largest = float(np.max(finite, initial=0.0))
    if given.dtype.itemsize == 4 or dtype.itemsize == 4:
        usual = default_tolerance(np.dtype(np.float32), numerical)
        return Tolerance(usual.rtol, usual.atol + min(2 * noise, MOST_NOISE * largest))
    return Tolerance(RTOL, CANCELLATION * largest)


def _every(
    function: Function, given: GivenLeaves, options: Options
) -> tuple[list[ArrayReport], list[tuple[Failure, ...]], list[str], bool]:
    """Measure every entry, and those about to fail again."""
    rows, failures, corners = [], [], []
    for leaf, lines in enumerate(measure_everything(function, options.progress)):
        array = given.arrays[leaf]
        name, shape = function.point.row_names[leaf], function.point.row_shapes[leaf]
        if array is None or unusable_reason(array, shape):
            reason = unusable_reason(array, shape) if array is not None else "is not given"
            rows.append(bare_row(name, shape, lines.slope.size, "failed", reason))
            continue
        flat = array.reshape(-1)
        tolerance = function_tolerance(
            options, array, given.dtype, lines.slope, given.noise.get(leaf, 0.0)
        )
        lines = _measured_again(function, leaf, flat, lines, tolerance)
        row, wrong = judged_row(array, _numerical(name, shape, lines), given.dtype, tolerance)
        rows.append(_explained_row(row, function, lines))
        failures.append(wrong)
        corners += _corner_notes(function, leaf, lines)
    return rows, failures, _shortened(corners), False


def _numerical(name: str, shape: tuple[int, ...], lines: Lines) -> Numerical:
    judged_all = np.zeros(lines.slope.size, dtype=bool)
    return Numerical(name, shape, lines.slope, lines.error_bar, judged_all, hull=lines.hull)


def _explained_row(row: ArrayReport, function: Function, lines: Lines) -> ArrayReport:
    """Count the corners, and say why there is no derivative where f itself is not finite."""
    reason = row.reason
    if not np.isfinite(function.value):
        reason = f"f is {function.value} at the point"
    elif row.verdict == "inconclusive" and not np.isfinite(lines.error_bar).all():
        missing = int(np.count_nonzero(~np.isfinite(lines.error_bar)))
        reason = (
            f"{missing} of {row.entries} entries without a finite derivative: f is not finite "
            f"beside the point, or its noise is not"
        )
    return replace(row, kinks=int(np.count_nonzero(lines.corner)), reason=reason)


def _corner_notes(function: Function, leaf: int, lines: Lines) -> list[str]:
    return [
        f"{function.point.entry_name(leaf, entry)} is on a corner: slopes "
        f"{lines.left[entry]:.6g} and {lines.right[entry]:.6g}, what lies between passes"
        for entry in np.flatnonzero(lines.corner).tolist()
    ]


def _shortened(notes: list[str]) -> list[str]:
    more = len(notes) - CORNERS_NOTED
    return notes if more <= 0 else [*notes[:CORNERS_NOTED], f"{more} more entries on corners"]


def _measured_again(
    function: Function, leaf: int, given: NDArray[Any], lines: Lines, tolerance: Tolerance
) -> Lines:
    """Measure the entries about to fail once more, with other steps.

    Thoroughly those that are nearest to passing; of very many, the rest by one more central
    difference, and thoroughly where that does not confirm the first one.
    """
    wrong = wrong_entries(given, lines.slope, lines.error_bar, tolerance, hull=lines.hull)
    wrong &= np.isfinite(given)
    indices = np.flatnonzero(wrong)
    if indices.size == 0:
        return lines
    allowed = allowed_difference(
        lines.slope[indices], lines.error_bar[indices], tolerance, lines.hull[indices]
    )
    excess = np.abs(given[indices] - lines.slope[indices]) / allowed
    nearest = np.sort(indices[np.argsort(excess, kind="stable")[:MOST_AGAIN]])
    others = np.setdiff1d(indices, nearest)
    if others.size:
        unconfirmed = _unconfirmed(function, leaf, others, lines)
        nearest = np.sort(np.concatenate([nearest, others[unconfirmed]]))
    where = np.zeros(lines.slope.size, dtype=bool)
    where[nearest] = True
    return lines.replaced(where, measure_again(function, leaf, nearest, lines.only(where)))


def _unconfirmed(
    function: Function, leaf: int, indices: NDArray[np.int64], lines: Lines
) -> NDArray[np.bool_]:
    """Tell where one more difference, with half the step, does not agree with the first one."""
    where = np.zeros(lines.slope.size, dtype=bool)
    where[indices] = True
    known = np.isfinite(lines.third)
    survey = survey_leaf(function, leaf, np.flatnonzero(known), lines.only(known))
    again, doubtful = cheap_slopes(function, leaf, indices, replace(survey, step=survey.step / 2))
    former = lines.only(where)
    apart = np.abs(again.slope - former.slope)
    return doubtful | ~(apart <= again.error_bar + former.error_bar + former.hull)


def _probe(
    function: Function, given: GivenLeaves, options: Options
) -> tuple[list[ArrayReport], list[tuple[Failure, ...]], list[str], bool]:
    """Compare along random directions of each array, and find the entries that are wrong."""
    rows: list[ArrayReport] = []
    failures: list[tuple[Failure, ...]] = []
    at_least = False
    rng = np.random.default_rng(options.seed)
    with progress_bar(options.progress, len(given.arrays), "directions") as advance:
        for leaf in range(len(given.arrays)):
            row, wrong, complete = _probed_row(function, leaf, given, options, rng)
            rows.append(row)
            failures.append(wrong)
            at_least |= not complete
            advance(1)
    largest = max((row.detectable for row in rows if row.entries), default=0.0)
    notes = [
        f"{DIRECTIONS} random directions of each array, seed {options.seed}: a single error below "
        f"{largest:.2g} may be missed, and errors that cancel along all of them"
    ]
    return rows, failures, notes, at_least


def _probed_row(
    function: Function,
    leaf: int,
    given: GivenLeaves,
    options: Options,
    rng: np.random.Generator,
) -> tuple[ArrayReport, tuple[Failure, ...], bool]:
    """Return the row of one array, its wrong entries, and whether these are all."""
    name, shape = function.point.row_names[leaf], function.point.row_shapes[leaf]
    size, array = function.point.base[leaf].size, given.arrays[leaf]
    reason = "is not given" if array is None else unusable_reason(array, shape)
    if array is None or reason:
        return bare_row(name, shape, size, "failed", reason), (), True
    if size == 0:
        return bare_row(name, shape, 0, "untested", "has no entries"), (), True
    if not np.isfinite(function.value):
        reason = f"f is {function.value} at the point"
        return bare_row(name, shape, size, "inconclusive", reason), (), True
    flat = array.reshape(-1).astype(np.float64)
    if not np.isfinite(flat).all():
        return _not_finite_row(name, shape, flat)
    tolerance = function_tolerance(options, array, given.dtype, flat, given.noise.get(leaf, 0.0))
    located = locate_wrong_entries(
        function,
        leaf,
        flat,
        tolerance,
        _allowance(flat, tolerance, systematic=options.tolerance is not None),
        rng,
        DIRECTIONS,
        options.most,
    )
    wrong = _located_failures(name, shape, flat, located, tolerance)
    complete = located.complete and len(wrong) < options.most
    return _located_row(name, shape, flat, located, wrong, complete), wrong, complete


def _allowance(
    given: Vector, tolerance: Tolerance, *, systematic: bool
) -> Callable[[NDArray[np.floating], slice], float]:
    """Return by how much the sum along a direction may be off, if each entry may.

    Rounding errors add like noise; what the user allows may have one sign everywhere.
    """

    def allowance(direction: NDArray[np.floating], part: slice) -> float:
        single = np.abs(direction[part]) * (tolerance.atol + tolerance.rtol * np.abs(given[part]))
        if systematic:
            return float(np.sum(single))
        return DIRECTION_SIGMAS * float(np.sqrt(np.sum(single**2)))

    return allowance


def _not_finite_row(
    name: str, shape: tuple[int, ...], given: Vector
) -> tuple[ArrayReport, tuple[Failure, ...], bool]:
    places = np.flatnonzero(~np.isfinite(given))
    wrong = tuple(
        Failure(name, _index(place, shape), float(given[place]), np.nan, np.inf, np.inf, np.inf)
        for place in places[:10].tolist()
    )
    reason = f"{places.size} of {given.size} entries are not finite"
    row = bare_row(name, shape, given.size, "failed", reason)
    return replace(row, wrong=places.size, worst=wrong[0]), wrong, False


def _index(place: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(place, shape))


def _located_failures(
    name: str, shape: tuple[int, ...], given: Vector, located: Located, tolerance: Tolerance
) -> tuple[Failure, ...]:
    wrong = []
    for place, line in zip(located.indices, located.lines, strict=True):
        allowed = allowed_difference(line.slope, line.error_bar, tolerance, line.hull)
        wrong.append(
            Failure(
                name,
                _index(place, shape),
                float(given[place]),
                float(line.slope[0]),
                abs(float(given[place] - line.slope[0])),
                float(line.error_bar[0]),
                float(allowed[0]),
            )
        )
    return tuple(sorted(wrong, key=lambda failure: -failure.error))


def _located_row(
    name: str,
    shape: tuple[int, ...],
    given: Vector,
    located: Located,
    wrong: tuple[Failure, ...],
    complete: bool,
) -> ArrayReport:
    verdict, reason = _probe_verdict(given, located, len(wrong), complete)
    factor, residual = _common_factor(located)
    row = bare_row(name, shape, given.size, verdict, reason)
    return replace(
        row,
        wrong=len(wrong),
        zero=0 if given.any() else given.size,
        worst=wrong[0] if wrong else None,
        factor=factor if verdict == "failed" else None,
        residual=residual if verdict == "failed" else None,
        detectable=located.detectable,
    )


def _probe_verdict(given: Vector, located: Located, wrong: int, complete: bool) -> tuple[Any, str]:
    slopes, said = np.array(located.slopes), np.array(located.given)
    allowed = np.array(located.allowed)
    if wrong:
        at_least = "" if complete else "at least "
        verb = "is" if wrong == 1 else "are"
        entries = "entry" if given.size == 1 else "entries"
        return "failed", f"{at_least}{wrong} of {given.size} {entries} {verb} wrong"
    if not located.complete:
        worst = int(np.argmax(np.abs(said - slopes) / allowed))
        return "failed", (
            f"along a random direction the derivative is {slopes[worst]:.6g} and not "
            f"{said[worst]:.6g}; no single entry stands out"
        )
    if located.undecided:
        return "inconclusive", (
            "entries are on corners: along a random direction what lies between is not known"
        )
    if not np.isfinite(allowed).all():
        return "inconclusive", "f is not finite beside the point, or its noise is not"
    if not given.any() and np.all(np.abs(slopes) <= allowed):
        return "untested", "zero on both sides along every direction"
    if np.all(np.maximum(np.abs(slopes), np.abs(said)) <= allowed):
        return "inconclusive", "the noise of the differences is larger than every derivative"
    return "passed", ""


def _common_factor(located: Located) -> tuple[float | None, float | None]:
    """Return k where the given gradient is k times the numerical one along every direction."""
    slopes, said = np.array(located.slopes), np.array(located.given)
    square = float(slopes @ slopes)
    if square == 0 or not np.isfinite(square) or not said.any():
        return None, None
    factor = float(said @ slopes) / square
    residual = float(np.linalg.norm(said - factor * slopes) / np.linalg.norm(said))
    return factor, residual


def report_of(
    checks: list[FunctionCheck],
    title: str,
    base: list[NDArray[np.floating]],
    options: Options,
    started: float,
) -> Report:
    """Put checks together to a report."""
    rows = [row for check in checks for row in check.rows]
    others = [row for check in checks for row in check.others]
    notes = [note for check in checks for note in check.notes]
    return Report(
        verdict=check_verdict([row.verdict for row in rows], [row.verdict for row in others]),
        arrays=(*rows, *others),
        failures=worst_of_all([wrong for check in checks for wrong in check.failures]),
        sizes=(),
        batch=0,
        dtype=", ".join(sorted({str(numbers.dtype) for numbers in base})),
        layout="",
        method=checks[0].method,
        scheme="central",
        delta=0.0,
        rtol=options.rtol,
        atol=options.atol,
        evaluations=sum(check.evaluations for check in checks),
        seconds=time.perf_counter() - started,
        function=title,
        at_least=any(check.at_least for check in checks),
        notes=tuple(notes),
    )
