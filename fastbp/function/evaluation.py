"""A user's function at a point and beside it: evaluated, counted, and watched.

The function sees one working copy of its argument, in which entries are changed and put back. It
is in float64, also where the user's arrays are float32, if the function takes that.
"""

from __future__ import annotations

import hashlib
import struct
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.errors import EvaluationError, OptionError
from fastbp.function.by_reference import OwnCopies, references
from fastbp.function.containers.leaf_forms import read_leaf
from fastbp.function.containers.point import DOUBLE_UNIT, SINGLE_UNIT, Point
from fastbp.function.domain import Domain
from fastbp.function.moved_values import (
    Leaves,
    Raised,
    as_floats,
    moved_name,
    moved_results,
    perturbed_values,
    pieces,
    raise_on_both_sides,
    scalar_value,
)
from fastbp.runtime.account import Account
from fastbp.runtime.npz_reader import path_text
from fastbp.runtime.user_code import NOISE_IS_AN_OPTION, agree, calling
from fastbp.typing import Vector

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fastbp.function.containers.chosen_entries import Chosen
    from fastbp.runtime.checkpoint import Checkpoint


__all__ = ["Function"]


# Values of a function in few digits may be off by so many units in their last place.
MOST_ROUNDINGS = 64
# A function that raises on both sides of more entries raises as a rule.
MOST_ERRORS = 3
# Between two looks at the account: a sign of life ten times a second, if f is that fast.
SECONDS_AT_A_TIME, MOST_AT_A_TIME = 0.1, 1 << 15
# So many values are enough to see whether f has few digits.
FIRST_VALUES = 64


class Function:
    """A scalar function at a point.

    Parameters
    ----------
    function : callable
        Takes the argument, returns a number.
    point : Point
        Where.
    name : str
        What the function is called in messages.
    account : Account, optional
        Where every evaluation is counted.

    Attributes
    ----------
    evaluations : int
        How often the function was called.
    seconds : float
        The time that one evaluation takes: the shorter one of two at the point.
    unit : float
        Half the distance from 1 to the next number, of the precision that it computes in.
    value : float
        At the point.
    concurrency : int
        How many evaluations go on at the same time.
    findings, notes : list of str
        What it does that it should not, and what else there is to know.
    raised : Raised
        What it raised beside the point.
    quantum : float
        The standard deviation of the rounding of its values, where it takes steps; 0 before any
        are found.
    jumps : bool
        Whether jumps were found far from the point, where f seems to stop at a tolerance.
    searches : int
        How often they were looked for.
    varies : bool
        Whether any finite value beside the point was another one than that at the point.
    first_values : list of float
        The first finite ones beside the point: they tell how many digits f has.
    domain : Domain
        Where it may be evaluated, and over which length it varies.
    chosen : Chosen or None
        The entries that are differenced; None for all.
    """

    # Whether the evaluations beside the point are put on the account while they are made.
    counts_itself = False

    def __init__(
        self,
        function: Callable[[Any], Any],
        point: Point,
        name: str,
        account: Account | None = None,
    ) -> None:
        self.function, self.point, self.name = function, point, name
        self.account = Account() if account is None else account
        self.evaluations = 0
        self.concurrency = 1
        self.findings: list[str] = []
        self.notes: list[str] = []
        self._restore_always = False
        self._may_keep = True
        self.quantum = 0.0
        self.jumps = False
        self.searches = 0
        self.varies = False
        self.first_values: list[float] = []
        self.raised = Raised()
        self.domain = Domain()
        self.chosen: Chosen | None = None
        self._begin()

    def _begin(self) -> None:
        """Evaluate twice at the point, and see whether argument and value stay what they are."""
        before = references(self.point)
        started = time.perf_counter()
        result = self._call("at the point")
        first = time.perf_counter() - started
        changed = self._changed()
        if changed:
            self.findings.append(f"{self.name} changed its argument: {', '.join(changed)}")
            self._restore_always = True
        self.value = self._second_value = scalar_value(result, self.name)
        single = np.asarray(read_leaf(result, self.name)[0]).dtype == np.float32
        if not isinstance(result, float | int | np.generic):
            self.function = _NumberOfArray(self.function, self.name)
        self.unit = SINGLE_UNIT if single or self.point.single else DOUBLE_UNIT
        del result  # which may be a view of the argument
        self._keeps_its_argument(before)
        started = time.perf_counter()
        second = scalar_value(self._call("at the point"), self.name)
        # The first call may compile f or load what it needs, and any may be held up.
        self.seconds = min(first, time.perf_counter() - started)
        if not agree(self.value, second, self.unit):
            self._second_value = second
            self.findings.append(self._two_values())

    def _two_values(self) -> str:
        second = self._second_value
        values = f"{self.value!r} and {second!r}"
        apart = f", which differ by {abs(self.value - second):.2g}{NOISE_IS_AN_OPTION}"
        return (
            f"{self.name}, called twice at the same point, gave two different results: {values}"
            + (apart if np.isfinite(self.value - second) else "")
        )

    @property
    def is_noisy(self) -> bool:
        """Tell whether two values at the point differ by more than rounding."""
        return abs(self.value - self._second_value) > 0

    def allow_noise(self, noise: float) -> None:
        """Let two values at the point differ by so much: a note, and no finding."""
        apart = abs(self.value - self._second_value)
        if 0.0 < apart <= noise:
            self.findings.remove(self._two_values())
            self.notes.append(
                f"{self.name} is not deterministic: two values at the point differ by {apart:.2g}, "
                f"within the noise of {noise:.2g} that is allowed"
            )

    def _keeps_its_argument(self, before: int) -> bool:
        """Tell whether there are more references to the argument; the next get copies."""
        if references(self.point) <= before or self.findings:
            return False
        self.point.renew()
        self.function = OwnCopies(self.function)
        self._may_keep = False
        return True

    def _watched(self, evaluate: Callable[[], Vector]) -> Vector:
        """Evaluate beside the point; once more if f kept its argument, which was changed then."""
        if not self._may_keep:
            return evaluate()
        self._may_keep = False
        before = references(self.point)
        values = evaluate()
        return evaluate() if self._keeps_its_argument(before) else values

    def _changed(self) -> list[str]:
        """Return which leaves the last call changed."""
        return self.point.changed()

    def _call(self, where: str) -> Any:
        self.evaluations += 1
        if self._restore_always:
            self.point.restore()
        with calling(self.name, where):
            result = self.function(self.point.argument)
        self.account.spend(1)
        return result

    def with_entries(self, leaf: int, indices: NDArray[np.int64], entries: NDArray[Any]) -> Vector:
        """Evaluate as `perturbed` does; NaN beyond the bounds."""
        if self.domain.lower is None:
            return self._perturbed_in_parts(leaf, indices, entries)
        inside = self.domain.holds(leaf, entries, indices)
        values = np.full(len(indices), np.nan)
        if inside.any():
            values[inside] = self._perturbed_in_parts(leaf, indices[inside], entries[inside])
        return values

    def along(
        self, leaf: Leaves, direction: NDArray[Any], steps: Sequence[float], part: slice
    ) -> Vector:
        """Evaluate as `moved` does; NaN beyond the bounds."""
        if self.domain.lower is None:
            return self._moved_in_parts(leaf, direction, steps, part)
        inside = [self._is_inside(leaf, direction[part], step, part) for step in steps]
        values = np.full(len(steps), np.nan)
        values[inside] = self._moved_in_parts(
            leaf,
            direction,
            [step for step, within in zip(steps, inside, strict=True) if within],
            part,
        )
        return values

    def _is_inside(self, leaf: Leaves, direction: NDArray[Any], step: float, part: slice) -> bool:
        for one, own, place in pieces(self.point, leaf, part):
            moved = self.point.base[one][own] + step * direction[place]
            if not self.domain.holds(one, moved, own).all():
                return False
        return True

    def _perturbed_in_parts(
        self, leaf: int, indices: NDArray[np.int64], entries: NDArray[Any]
    ) -> Vector:
        def evaluate(some: Any) -> Vector:
            return self.perturbed(leaf, indices[some], entries[some])

        if self.account.checkpoint is None:
            return self._in_parts(len(indices), evaluate)
        places = zip(indices.tolist(), entries.astype(np.float64).tolist(), strict=True)
        keys = [_key(struct.pack("<qqd", leaf, *place)) for place in places]
        return self._from_checkpoint(self.account.checkpoint, leaf, keys, evaluate)

    def _moved_in_parts(
        self, leaf: Leaves, direction: NDArray[Any], steps: Sequence[float], part: slice
    ) -> Vector:
        def evaluate(some: Any) -> Vector:
            return self.moved(leaf, direction, np.array(steps)[some].tolist(), part)

        if self.account.checkpoint is None:
            return self._in_parts(len(steps), evaluate)
        moving = np.ascontiguousarray(direction[part])
        where = f"{leaf} {moving.dtype} {part.indices(len(direction))}".encode()
        line = _key(where + moving.tobytes())
        keys = [_key(line + struct.pack("<d", step)) for step in steps]
        return self._from_checkpoint(self.account.checkpoint, leaf, keys, evaluate)

    def _from_checkpoint(
        self,
        checkpoint: Checkpoint,
        leaf: Leaves,
        keys: list[bytes],
        evaluate: Callable[[Any], Vector],
    ) -> Vector:
        """Take values from a checkpoint, and evaluate and keep those that are not there.

        With them one is evaluated again that is there.
        """
        known = checkpoint.known(keys)
        again = checkpoint.to_compare(keys, leaf) if "value of f" in checkpoint.problem else None
        values = np.array([np.nan if value is None else value for value in known])
        left = np.array(
            [i for i, value in enumerate(known) if value is None or i == again], dtype=np.int64
        )
        self.evaluations += len(keys) - left.size
        self.account.spend(len(keys) - left.size)

        def evaluate_left(some: slice) -> Vector:
            found = evaluate(left[some])
            places = left[some].tolist()
            for place, value in zip(places, found.tolist(), strict=True):
                self._require_same_value(checkpoint, leaf, known[place], value)
            checkpoint.add([keys[place] for place in places], found.tolist())
            return found

        values[left] = self._in_parts(left.size, evaluate_left)
        self._see(values)
        return values

    def _require_same_value(
        self, checkpoint: Checkpoint, leaf: Leaves, kept: float | None, found: float
    ) -> None:
        """Raise where f gives another value beside the point than the one that was kept.

        Two functions can have the same value, and the same gradient, at the point itself.
        """
        if kept is not None and not agree(kept, found, self.unit):
            raise OptionError(
                f"checkpoint: {path_text(checkpoint.path)} is of another function: with "
                f"{moved_name(self.point, leaf)} moved, {self.name} gives {found!r} where it gave "
                f"{kept!r}."
            )

    def _in_parts(self, count: int, evaluate: Callable[[slice], Vector]) -> Vector:
        """Evaluate some points, a moment's work at a time, and put that on the account."""
        values = np.empty(count)
        start = 0
        while start < count:
            stop = min(count, start + self.at_a_time)
            seconds = self.seconds * (stop - start) / self.concurrency
            stop = start + self.account.require(seconds, stop - start)
            try:
                values[start:stop] = evaluate(slice(start, stop))
            except KeyboardInterrupt as interrupt:
                raise self.account.interrupted(interrupt) from interrupt
            if not self.counts_itself:
                self.account.spend(stop - start)
            start = stop
        self._see(values)
        return values

    def _see(self, values: Vector) -> None:
        if not self.varies:
            self.varies = bool(np.any(np.isfinite(values) & (values != self.value)))
        wanted = FIRST_VALUES - len(self.first_values)
        if wanted > 0:  # as many, however the evaluations are grouped
            self.first_values += values[np.isfinite(values)][:wanted].tolist()

    @property
    def at_a_time(self) -> int:
        """How many evaluations there are between two looks at the account."""
        some = self.concurrency * SECONDS_AT_A_TIME / max(self.seconds, 1e-9)
        return int(min(max(self.concurrency, some), MOST_AT_A_TIME))

    def learn_steps(self, noise: Vector) -> None:
        """Remember how noisy f is where it takes steps: all its values share that."""
        if noise.size:
            smallest = float(np.min(noise))
            self.quantum = min(self.quantum, smallest) if self.quantum else smallest

    def learn_jumps(self, leaf: int, height: float, distance: float) -> None:
        """Remember that f jumps far from the point, when a leaf changes by that part of itself."""
        self.jumps = True
        self.notes.append(
            f"{self.name} jumps by about {height:.1g} where {self.point.row_names[leaf]} is "
            f"changed by about {100 * distance:.1g}%: it seems to stop at a tolerance"
        )

    def note_of_steps(self) -> list[str]:
        """Say that f takes steps, and what that may come from."""
        if self.jumps or not self.quantum or self.is_noisy:  # noise is no step
            return []
        size = self.quantum * np.sqrt(12.0)
        relative = size / abs(self.value) if self.value else np.inf
        guess = next(
            (f": it seems to compute in {dtype.__name__}" for dtype in (np.float32, np.float16)
             if 0.25 <= relative / np.finfo(dtype).eps <= MOST_ROUNDINGS), ""
        )  # fmt: skip
        return [f"f takes steps of about {size:.1g}{guess}"]

    def raise_if_it_raised(self, leaf: int, index: int, step: float) -> None:
        """Raise what f raises on both sides of an entry, if it does: it has no derivative there.

        At the end, with a report of all other entries, where there is one and it is not the rule.
        """
        direction = np.zeros_like(self.point.base[leaf])
        direction[index] = 1
        try:
            self.raise_if_it_raised_along(leaf, direction, step)
        except EvaluationError as error:
            if not self.account.holds_interrupts or len(self.raised.errors) >= MOST_ERRORS:
                raise
            self.raised.errors.append(error)

    def raise_if_it_raised_along(self, leaf: Leaves, direction: NDArray[Any], step: float) -> None:
        """Raise what f raises on both sides of the point along a direction, if it does."""
        if not self.point.changed():  # else that is what is wrong, and would be put right
            raise_on_both_sides(lambda signed: self._moved_or_raised(leaf, direction, signed), step)

    def _moved_or_raised(self, leaf: Leaves, direction: NDArray[Any], step: float) -> None:
        moved_results(self.function, self.point, self.name, leaf, direction, (step,))

    def perturbed(self, leaf: int, indices: NDArray[np.int64], entries: NDArray[Any]) -> Vector:
        """Evaluate with single entries of a leaf replaced, one at a time.

        Parameters
        ----------
        leaf : int
            Which leaf.
        indices : ndarray of int64, shape (n,)
            Which of its real numbers.
        entries : ndarray, shape (n,)
            What stands there instead.

        Returns
        -------
        ndarray of float64, shape (n,)
        """
        self.evaluations += len(indices)
        if self._restore_always:
            return self._perturbed_with_care(leaf, indices, entries)
        if not self._may_keep or np.array_equal(entries, self.point.base[leaf][indices]):
            return self._perturbed_here(leaf, indices, entries)
        return self._watched(lambda: self._perturbed_here(leaf, indices, entries))

    def _perturbed_here(
        self, leaf: int, indices: NDArray[np.int64], entries: NDArray[Any]
    ) -> Vector:
        return perturbed_values(
            self.function, self.point, self.name, leaf, indices, entries, self.raised
        )

    def _perturbed_with_care(
        self, leaf: int, indices: NDArray[np.int64], entries: NDArray[Any]
    ) -> Vector:
        """Restore the whole argument before each call, since the function changes it."""
        values = np.empty(len(indices))
        for place in range(len(indices)):
            self.point.restore()
            some = slice(place, place + 1)
            values[place] = self._perturbed_here(leaf, indices[some], entries[some])[0]
        self.point.restore()
        return values

    def moved(
        self, leaf: Leaves, direction: NDArray[Any], steps: Sequence[float], part: slice
    ) -> Vector:
        """Evaluate with a slice of a leaf moved by ``step * direction``, for each of some steps.

        Parameters
        ----------
        leaf : int or tuple of int
            Which leaf, or which ones together.
        direction : ndarray, shape (n,)
            For each of its real numbers.
        steps : sequence of float, of length m
        part : slice
            What else is not moved.

        Returns
        -------
        ndarray of float64, shape (m,)
        """
        self.evaluations += len(steps)

        def evaluate() -> Vector:
            results = moved_results(
                self.function, self.point, self.name, leaf, direction[part], steps, part,
                restore=self._restore_always, outside=np.nan, raised=self.raised,
            )  # fmt: skip
            return as_floats(results, self.name)

        return self._watched(evaluate) if any(steps) else evaluate()

    def __enter__(self) -> Function:
        """Begin: a context, so that helpers are sent home whatever happens."""
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self.close()

    def close(self) -> None:
        """Look at the end whether the working copy is still what it was."""
        changed = self.point.changed()
        if changed and not self.findings:
            self.findings.append(f"{self.name} changed its argument: {', '.join(changed)}")


def _key(data: bytes) -> bytes:
    """Return what a point is known by in a checkpoint."""
    return hashlib.blake2b(data, digest_size=16).digest()


class _NumberOfArray:
    """A function whose result is an array or tensor: read before its memory may change."""

    def __init__(self, function: Callable[[Any], Any], name: str) -> None:
        self.function, self.name = function, name

    def __call__(self, argument: Any) -> float:
        return scalar_value(self.function(argument), self.name)
