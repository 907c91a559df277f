"""The numerical gradient of any function, with an error bar for each entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.function.backends.choose import make_function
from fastbp.function.containers.calls import Unpacked, member_names
from fastbp.function.containers.chosen_entries import chosen_entries
from fastbp.function.containers.point import argument_name, make_point
from fastbp.function.derivatives.entry_slopes import (
    MOST_SAMPLES,
    expected_evaluations,
    measure_leaf,
    measure_where_steps_hid,
    wide_if_digits_are_few,
)
from fastbp.function.derivatives.lines import Lines
from fastbp.function.derivatives.second_slopes import measure_again
from fastbp.function.derivatives.smooth_slopes import Smoothness
from fastbp.function.domain import domain_of
from fastbp.function.structured.substitution import Substitution
from fastbp.runtime.account import Account, Stopped
from fastbp.runtime.floating_point import own_errstate
from fastbp.runtime.progress import require_progress_option
from fastbp.runtime.validation import require_bool, require_callable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastbp.function.evaluation import Function

__all__ = ["NumericalGradient", "measure_everything", "numerical_gradient"]

# So many thorough measurements are made in all before the leaves get fewer than they could use.
SAMPLES_IN_ALL = 64
# One entry in so many tells how smooth and noisy f is; no more than some are needed for all.
ENTRIES_PER_TABLE, MOST_TABLES = 8, 4
# Evaluations of such a table, and of a thorough second measurement.
TABLE, THOROUGH = 10, 14


@dataclass(frozen=True, slots=True, eq=False)
class NumericalGradient:
    """A numerical gradient; every attribute but the last two has the structure of the argument.

    Attributes
    ----------
    value : nesting of float64
        The derivative by each entry; NaN where there is none.
    error_bar : nesting of float64
        How far off it may be: an estimate with a margin, infinite where there is none. At a
        kink, that of `left` and `right`.
    left, right : nesting of float64
        The slopes on both sides of a kink at the point; both are `value` where there is none,
        and `value` is their mean where there is one.
    kinks : list of str
        The entries on a kink, as one writes them in Python.
    evaluations : int
        How often the function was called.

    Examples
    --------
    >>> import fastbp
    >>> found = fastbp.numerical_gradient(abs, 0.0)
    >>> found.kinks, round(float(found.left), 6), round(float(found.right), 6)
    (['x'], -1.0, 1.0)
    """

    value: Any
    error_bar: Any
    left: Any
    right: Any
    kinks: list[str]
    evaluations: int


@own_errstate
def numerical_gradient(
    f: Callable[[Any], Any],
    at: Any,
    *,
    unpack: bool = False,
    thorough: bool = False,
    bounds: Any = None,
    scale: Any = None,
    vectorized: bool = False,
    workers: Any = None,
    entries: Any = None,
    progress: bool | None = None,
) -> NumericalGradient:
    """Difference a scalar function by every entry of its argument.

    Parameters
    ----------
    f : callable
        ``f(at)`` returns a number. It gets a copy of `at`, in float64 if it takes that.
    at : array, float, or nesting of lists, tuples, dicts, named tuples and dataclasses of these
        Where; of float64 or float32. Also tensors, arrays of JAX and sparse arrays,
        and classes registered with JAX or optree. Integers and booleans beside floats are held
        fixed.
    unpack : bool
        `at` is a tuple of arguments, or a dict by name: ``f(*at)`` is called, or ``f(**at)``.
    thorough : bool
        Measure every entry twice, the second time by at least ten evaluations, in place of two
        or four for all entries that look harmless.
    bounds : (lower, upper), optional
        f is not evaluated beyond: numbers, None for no bound, or nestings of the structure of
        `at`; or an object with the attributes lb and ub, as ``scipy.optimize.Bounds``.
    scale : float or nesting of the structure of `at`, optional
        Over which length f varies, for who knows better: by default the steps follow from the
        size of each entry and from f.
    vectorized : bool
        f takes many points at once: each leaf has one more axis, the first, and f returns one
        number for each point.
    workers : int, concurrent.futures.Executor or callable, optional
        How many processes evaluate f (it must be possible to pickle it; -1: one per processor);
        inside ``joblib.parallel_config("dask")`` the workers of the Dask cluster do. Or who does:
        any executor (of the standard library, loky, MPI, ``Client.get_executor()``; threads share
        f without pickling it), or a callable that maps as ``map`` does, such as ``pool.map``.
        Needs joblib.
    entries : str, sequence of str, int, or nesting of bool, optional
        By which entries f is differenced; by all by default. As in the checks, but that a number of
        random entries always draws the same ones. The others are NaN, with infinite error bars.
    progress : bool, optional
        None: a progress bar if stderr is a terminal and it takes over a second. True, False:
        always, never.

    Returns
    -------
    NumericalGradient

    Raises
    ------
    DTypeError, ShapeError
        If `at` holds no floats, or something else; if `f` does not return one real number.
    EvaluationError
        If `f` raises; the message names the entry that was changed.
    OptionError
        If an option is senseless.

    Notes
    -----
    Two evaluations for each entry of a large array, four for those of small ones, some ten for
    each of up to four by which the function gets known, and some 24 for each one in doubt; memory
    of a few float64 for each entry. The noise of f is estimated after
    Moré & Wild (2011), the step follows from it and from the curvature; where f is smooth one
    step of Richardson's extrapolation is used, where it has a kink left and right slopes are
    told apart. See `fastbp.function.derivatives.line_slopes`.

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> point = {"scale": 2.0, "x": np.array([1.0, 0.0])}
    >>> found = fastbp.numerical_gradient(lambda p: p["scale"] * np.abs(p["x"]).sum(), point)
    >>> round(found.value["scale"], 9), found.value["x"].round(9)
    (1.0, array([2., 0.]))
    >>> found.kinks, found.left["x"].round(5), found.right["x"].round(5)
    (["p['x'][1]"], array([ 2., -2.]), array([2., 2.]))
    >>> bool(found.error_bar["scale"] < 1e-9)
    True
    """
    require_callable(f, "f")
    require_progress_option(progress)
    require_bool(thorough, "thorough")
    require_bool(unpack, "unpack")
    members = member_names(f, at) if unpack else {}
    name = ", ".join(members.values()) if unpack else argument_name(f)
    places = Substitution(at)
    places.require_one_by_one(vectorized)
    f = places.function(Unpacked(f) if unpack else f)
    point = make_point(f, places.coordinates, name, vectorized=vectorized is True, members=members)
    chosen = chosen_entries(entries, point, 0)
    with Account(progress) as account:
        function = make_function(
            f, point, "f", vectorized=vectorized, workers=workers, account=account
        )
        function.domain, function.chosen = domain_of(point, bounds, scale), chosen
        account.expect(_expected(function, thorough))
        with function:
            leaves = [lines for lines, _ in measure_everything(function)]
            if thorough:
                leaves = [_measured_twice(function, *one) for one in enumerate(leaves)]
    return _in_structure(function, leaves)


def _expected(function: Function, thorough: bool) -> float:
    """Return how many evaluations a numerical gradient takes, about."""
    sizes = [base.size for base in function.point.base]
    if function.chosen is not None:
        sizes = [int(np.count_nonzero(mask)) for mask in function.chosen.masks]
    evaluations = TABLE * min(MOST_TABLES, max(1, sum(sizes) // ENTRIES_PER_TABLE))
    evaluations += sum(expected_evaluations(size, _sparing(sizes)) for size in sizes)
    return evaluations + thorough * THOROUGH * sum(sizes)


def _sparing(sizes: list[int]) -> float:
    """Return the share of the usual samples that each leaf gets."""
    return min(1.0, SAMPLES_IN_ALL / (MOST_SAMPLES * max(1, len(sizes))))


def measure_everything(function: Function) -> Iterator[tuple[Lines, bool]]:
    """Measure every real number of every leaf; raise `Stopped` behind those that were begun.

    Yields
    ------
    lines : Lines
    complete : bool
        Not for the leaf at which the account was closed: some of its entries are unknown.
    """
    sizes = [numbers.size for numbers in function.point.base]
    sparing = _sparing(sizes)
    count = sum(sizes) if function.chosen is None else function.chosen.count
    smoothness = Smoothness(wanted=min(MOST_TABLES, max(1, count // ENTRIES_PER_TABLE)))
    leaves: list[Lines] = []
    complete = 0
    stopped: Stopped | None = None
    try:
        for leaf, size in enumerate(sizes):  # those that are done stay, whatever comes
            leaves.append(Lines.unknown(size))
            measure_leaf(function, leaf, smoothness, sparing, leaves[-1])
            complete += 1
        leaves = [measure_where_steps_hid(function, *one) for one in enumerate(leaves)]
        leaves = [wide_if_digits_are_few(function, *one) for one in enumerate(leaves)]
    except Stopped as some:
        stopped = some
    for leaf, lines in enumerate(leaves):
        yield lines, leaf < complete
    if stopped is not None:
        raise stopped


def _measured_twice(function: Function, leaf: int, lines: Lines) -> Lines:
    if function.chosen is None:
        return measure_again(function, leaf, np.arange(lines.slope.size), lines)
    some = np.flatnonzero(function.chosen.masks[leaf])
    return lines.replaced(some, measure_again(function, leaf, some, lines.only(some)))


def _in_structure(function: Function, leaves: list[Lines]) -> NumericalGradient:
    container, point = function.point.container, function.point

    def nested(name: str) -> Any:
        arrays = [
            getattr(lines, name).reshape(shape)
            for lines, shape in zip(leaves, container.shapes, strict=True)
        ]
        return container.of_results([array if array.shape else float(array) for array in arrays])

    kinks = [
        point.entry_name(leaf, entry)
        for leaf, lines in enumerate(leaves)
        for entry in lines.kink.nonzero()[0].tolist()
    ]
    return NumericalGradient(
        nested("slope"), nested("error_bar"), nested("left"), nested("right"),
        kinks, function.evaluations,
    )  # fmt: skip
