"""Options and tolerances that all checks of a function share."""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, get_type_hints

import numpy as np

from fastbp.errors import OptionError
from fastbp.function.backends.choose import require_evaluation
from fastbp.function.derivatives.entry_slopes import is_spread
from fastbp.runtime.account import Account
from fastbp.runtime.checkpoint import Checkpoint
from fastbp.runtime.progress import require_progress_option
from fastbp.runtime.validation import (
    require_bool,
    require_choice,
    require_integer,
    require_number,
    require_path,
    require_seed,
    require_tolerances,
)
from fastbp.typing import Vector
from fastbp.verdict.tolerance import Tolerance, default_tolerance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = [
    "CheckOptions",
    "Options",
    "checked_options",
    "function_tolerance",
    "matrix_tolerance",
    "takes_check_options",
    "underflow",
]

AnyCheck = TypeVar("AnyCheck", bound="Callable[..., Any]")


# What a correct gradient in float64 may be off by: of the entry, and, where terms cancel, of the
# largest entry of its array. Some thousand roundings.
RTOL, CANCELLATION = 2.0**-40, 2.0**-44


# One in float32 may also lose digits of its own by cancellation, up to this part of the largest.
MOST_NOISE = 2.0**-7
# And what is below its smallest normal number becomes 0, or loses digits; so it does in float64.
UNDERFLOW_SINGLE = float(np.finfo(np.float32).smallest_normal)
UNDERFLOW = float(np.finfo(np.float64).smallest_normal)


@dataclass(frozen=True, slots=True)
class Options:
    """How to check: `CheckOptions`, validated, with a seed."""

    method: str
    rtol: float | None
    atol: float | None
    noise: float
    budget: float | None
    max_evaluations: int | None
    checkpoint: Any
    most: int
    seed: int
    entries: Any
    bounds: Any
    scale: Any
    vectorized: bool
    workers: Any
    progress: bool | None

    @property
    def tolerance(self) -> Tolerance | None:
        """The user's tolerance; None for ours."""
        return Tolerance.of(self.rtol, self.atol)

    @property
    def seconds_for_every(self) -> float:
        """What "auto" may spend on *every*, where *probe* would be cheaper."""
        return SECONDS_FOR_EVERY if self.budget is None else self.budget

    def account(self) -> Account:
        """Return an account with the limits of these options."""
        return Account(
            self.progress,
            seconds=np.inf if self.budget is None else self.budget,
            evaluations=np.inf if self.max_evaluations is None else self.max_evaluations,
            holds_interrupts=True,
            checkpoint=self.checkpoint,
        )

    def method_for(
        self, seconds: float, evaluations: float = 0.0, cheaper: bool = True
    ) -> tuple[str, list[str]]:
        """Return the method where *every* would take so long, and a note if that was decisive.

        Parameters
        ----------
        seconds, evaluations : float
            What *every* would take.
        cheaper : bool
            Whether *probe* would take less.
        """
        if self.method != "auto" or not cheaper:
            return "every" if self.method == "auto" else self.method, []
        most = np.inf if self.max_evaluations is None else self.max_evaluations
        if seconds <= self.seconds_for_every and evaluations <= most:
            return "every", []
        would = f"auto chose probe: every entry would take about {seconds:.3g} s"
        would += f" and {evaluations:,.0f} evaluations" if evaluations else ""
        if seconds > self.seconds_for_every:
            return "probe", [f"{would}, the budget is {self.seconds_for_every:g} s"]
        return "probe", [f"{would}, max_evaluations is {most:,}"]


def underflow(dtype: np.dtype[Any]) -> float:
    """Return what derivatives of a precision may be off by where they become 0."""
    return UNDERFLOW_SINGLE if dtype.itemsize == 4 else UNDERFLOW


def function_tolerance(
    options: Options,
    given: NDArray[Any],
    dtype: np.dtype[Any],
    numerical: Vector,
    noise: float = 0.0,
    base: NDArray[np.floating] | None = None,
) -> Tolerance:
    """Return what a correct gradient of that precision may be off by.

    `noise` is how far the given one may be off by itself: in float32, how far it is from the same
    function's in float64, and by how much it differs from call to call where noise is allowed;
    `base` the argument, where its entries may be of very different sizes.
    """
    if options.tolerance is not None:
        return options.tolerance.with_noise(noise if options.noise else 0.0)
    largest = _largest_that_cancels(numerical, base)
    if given.dtype.itemsize == 4 or dtype.itemsize == 4:
        usual = default_tolerance(np.dtype(np.float32), np.array([largest]))
        own_noise = min(2 * noise, MOST_NOISE * largest)
        return Tolerance(usual.rtol, usual.atol + own_noise + UNDERFLOW_SINGLE)
    return Tolerance(RTOL, CANCELLATION * largest + noise + UNDERFLOW)


def matrix_tolerance(
    options: Options, given: NDArray[Any], dtype: np.dtype[Any], noise: float
) -> tuple[Tolerance, float]:
    """Return what entries of a correct matrix may be off by, and what more where terms cancel.

    The second is a share of the largest entry beside which they stand.
    """
    if options.tolerance is not None:
        return options.tolerance.with_noise(noise), 0.0
    unit = function_tolerance(options, given, dtype, np.ones(1))
    return Tolerance(unit.rtol, underflow(dtype) + noise), unit.atol


def _largest_that_cancels(numerical: Vector, base: NDArray[np.floating] | None) -> float:
    """Return the largest derivative; where entries are far apart, the one that each may have.

    Terms that cancel are then as large as derivative times entry, and what that leaves of the
    derivative by the largest entry is the least.
    """
    finite = np.isfinite(numerical)
    sizes = np.abs(numerical[finite])
    if base is None or sizes.size == 0 or not is_spread(base):
        return float(np.max(sizes, initial=0.0))
    entries = np.abs(base[finite])
    entries = np.where(np.isfinite(entries), entries, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.max(sizes * entries, initial=0.0) / np.max(entries))


METHODS = ("auto", "every", "probe")
SECONDS_FOR_EVERY = 10.0


class CheckOptions(TypedDict, total=False):
    """Options of all checks of functions.

    method : {"auto", "every", "probe"}
        "every": a central difference for every entry, more where there is doubt, and a second
        measurement for every entry that is about to fail. "probe": derivatives along random
        directions of all arrays together, then bisection to the wrong arrays and entries. "auto":
        every, if that takes no longer than the budget, else the cheaper of the two.
    rtol, atol : float, optional
        An entry passes when ``|given - numerical| <= error_bar + atol + rtol * |numerical|``. If
        one of the two is given, the other is 0. The default allows for the rounding of a gradient
        in the precision of the given one.
    noise : float
        By how much two calls with the same argument may differ, of `f` (each of its outputs) and of
        the given function (each of its entries): threads that add up in another order, sampling.
        What they differ by more than that, and than rounding, is a finding. The error bars follow
        from the noise that is measured, whatever is allowed here.
    budget : float
        Seconds that the check may take: what does not fit is left out, and the rows say so. "auto"
        chooses *every* if that fits, by an estimate. None, the default, limits nothing, but "auto"
        spends no more than 10 seconds on *every* where *probe* would be cheaper.
    max_evaluations : int
        How often f may be called, in the same way, but for two calls at the point, which are always
        made. None: no limit.
    checkpoint : str or path
        A file in which `check_gradient` keeps the values of f: called again with the same arguments
        it goes on where it was interrupted or killed, with the same result. It is written once a
        second, as a whole; it stays at the end. The file of another check is an error, and so is
        that of another function, of which one value for each array is computed again.
    most : int
        *probe* stops after so many wrong entries of an array; the report then says "at least".
    seed : int, optional
        Of the random directions. None draws one; the report says which.
    entries : str, sequence of str, int, or nesting of bool, optional
        Which entries are differenced and judged; all by default. Names of arrays as the report
        writes them, or their last parts (``layer1.weight``), with ``*`` and ``?`` for what varies,
        or names of single entries (``w[0, 3]``); a number of entries, drawn with the seed; a mask,
        or masks in the structure of `at`.
    bounds, scale, vectorized, workers, progress
        As in `numerical_gradient`.
    """

    method: str
    rtol: float | None
    atol: float | None
    noise: float
    budget: float | None
    max_evaluations: int | None
    checkpoint: Any
    most: int
    seed: int | None
    entries: Any
    bounds: Any
    scale: Any
    vectorized: bool
    workers: Any
    progress: bool | None


DEFAULTS = CheckOptions(
    method="auto", rtol=None, atol=None, noise=0.0, budget=None, max_evaluations=None,
    checkpoint=None, most=10, seed=None, entries=None, bounds=None, scale=None,
    vectorized=False, workers=None, progress=None,
)  # fmt: skip


def takes_check_options(check: AnyCheck) -> AnyCheck:
    """Show the options of `CheckOptions` in the signature and the docstring of a check.

    They stand once, above: in the source the check has ``**options`` only, in both places.
    """
    signature = inspect.signature(check)
    types = get_type_hints(CheckOptions)
    own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
    shared = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=types[name]
        )
        for name, default in DEFAULTS.items()
    ]
    vars(check)["__signature__"] = signature.replace(parameters=[*own, *shared])
    if check.__doc__ and CheckOptions.__doc__:  # not under python -OO
        described = CheckOptions.__doc__.split("\n\n", 1)[1].rstrip()
        check.__doc__ = check.__doc__.replace("    **options\n", f"{described}\n", 1)
    return check


def checked_options(given: CheckOptions, *, keeps_values: bool = False) -> Options:
    """Validate the options of a check; what is not given gets its default.

    `keeps_values` says whether it has a checkpoint: without a seed, that of the file counts then.
    """
    for name in given:
        if name not in DEFAULTS:
            raise OptionError(f"{name} is no option: there are {', '.join(DEFAULTS)}.")
    options = DEFAULTS | given
    require_choice(options["method"], "method", METHODS)
    require_tolerances(options["rtol"], options["atol"])
    require_number(options["noise"], "noise", 0.0, np.inf, "a finite number of at least 0")
    if options["budget"] is not None:
        require_number(options["budget"], "budget", 0.0, np.inf, "a finite number of at least 0")
    if options["max_evaluations"] is not None:
        require_integer(options["max_evaluations"], "max_evaluations", 1)
    require_integer(options["most"], "most", 1)
    require_bool(options["vectorized"], "vectorized")
    require_evaluation(options["workers"], options["vectorized"])
    require_progress_option(options["progress"])
    checkpoint, seed = options["checkpoint"], options["seed"]
    if checkpoint is not None:
        if not keeps_values:
            raise OptionError("checkpoint is an option of check_gradient alone.")
        if not isinstance(checkpoint, str | os.PathLike):
            raise OptionError(f"checkpoint must be a path, not {checkpoint!r}.")
        checkpoint = Checkpoint(require_path(checkpoint, "checkpoint"))
        seed = int(checkpoint.problem["seed"]) if checkpoint.problem and seed is None else seed
    validated: dict[str, Any] = {
        **options, "checkpoint": checkpoint, "seed": require_seed(seed)
    }  # fmt: skip
    return Options(**validated)
