"""What a check spends: evaluations and time, shown by a bar, within limits."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastbp.runtime.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastbp.runtime.checkpoint import Checkpoint
    from fastbp.runtime.progress import Advance

__all__ = ["Account", "Stopped"]


class Stopped(Exception):  # noqa: N818 - no error: there is a report of what was done before
    """No more evaluations: a limit is reached, or the user wants to stop.

    Parameters
    ----------
    reason : str
        As it stands in the report.
    interrupt : KeyboardInterrupt, optional
        What the user sent.
    """

    def __init__(self, reason: str, interrupt: KeyboardInterrupt | None = None) -> None:
        super().__init__(reason)
        self.reason, self.interrupt = reason, interrupt


class Account:
    """Counts what is spent, shows it, and says when it is enough.

    Parameters
    ----------
    progress : bool or None
        As for `progress_bar`.
    seconds, evaluations : float
        The limits; infinite where there are none.
    holds_interrupts : bool
        Whether Ctrl-C closes the account, and is raised when there is a report of what was done.
    checkpoint : Checkpoint, optional
        Values that are known already.

    Attributes
    ----------
    spent : int
        Evaluations.
    stopped : Stopped or None
        Why no more are made.
    """

    def __init__(
        self,
        progress: bool | None = False,
        *,
        seconds: float = math.inf,
        evaluations: float = math.inf,
        holds_interrupts: bool = False,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.holds_interrupts = holds_interrupts
        self.seconds, self.evaluations = seconds, evaluations
        self.spent = 0
        self.stopped: Stopped | None = None
        self.started = time.monotonic()
        self._bar = progress_bar(progress, None, "evaluations")
        self._advance: Advance | None = None

    @property
    def is_limited(self) -> bool:
        """Tell whether there is any limit."""
        return self.seconds < math.inf or self.evaluations < math.inf

    @property
    def elapsed(self) -> float:
        """Return the time since the check began, in seconds."""
        return time.monotonic() - self.started

    @property
    def seconds_left(self) -> float:
        """Return the time that is left."""
        return self.seconds - self.elapsed

    @property
    def evaluations_left(self) -> float:
        """Return how many evaluations are left."""
        return self.evaluations - self.spent

    def __enter__(self) -> Account:
        """Show the bar."""
        self._advance = self._bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """Take the bar away, and save what was computed."""
        self._advance = None
        self._bar.__exit__(*error)  # type: ignore[arg-type]
        if self.checkpoint is not None:
            self.checkpoint.save()

    def expect(self, evaluations: float) -> None:
        """Say how many evaluations are still to come, as far as is known now."""
        if self._advance is not None:
            self._advance.expect(self.spent + math.ceil(evaluations))

    def spend(self, count: int) -> None:
        """Count evaluations that were made."""
        self.spent += count
        if self._advance is not None:
            self._advance(count)

    def require(self, seconds: float, count: int = 1) -> int:
        """Return how many of some evaluations may be made; raise `Stopped` if none.

        Parameters
        ----------
        seconds : float
            The time that they would all take.
        count : int
            How many there are.
        """
        if self.stopped is None and seconds > self.seconds_left:
            self.stop(Stopped(f"the budget of {self.seconds:g} s is spent"))
        if self.stopped is None and self.evaluations_left < 1:
            self.stop(self._all_spent())
        if self.stopped is not None:
            raise self.stopped
        return int(min(count, self.evaluations_left))

    def require_all(self, seconds: float, count: int) -> None:
        """Raise `Stopped` unless all of some evaluations may be made; `seconds` is for all."""
        if self.require(seconds, count) < count:
            self.stop(self._all_spent())
            assert self.stopped is not None
            raise self.stopped

    def _all_spent(self) -> Stopped:
        return Stopped(f"max_evaluations = {self.evaluations:g} are spent")

    @contextmanager
    def until_stopped(self) -> Iterator[None]:
        """End a block where the account is closed, or closes: what was done before is there."""
        try:
            yield
        except Stopped:
            pass
        except KeyboardInterrupt as interrupt:  # between two evaluations
            self.interrupted(interrupt)

    @contextmanager
    def narrowed(self, seconds: float, evaluations: float) -> Iterator[None]:
        """Let no more than so much be spent within.

        Parameters
        ----------
        seconds, evaluations : float
            From now on.
        """
        limits = self.seconds, self.evaluations
        self.seconds = min(self.seconds, self.elapsed + seconds)
        self.evaluations = min(self.evaluations, self.spent + evaluations)
        try:
            yield
        finally:
            self.seconds, self.evaluations = limits

    def reopened(self) -> bool:
        """Tell whether evaluations may be made again, after what was saved is there."""
        if self.stopped is not None and self.stopped.interrupt is None:
            self.stopped = None
        return self.stopped is None

    def interrupted(self, interrupt: KeyboardInterrupt) -> Stopped:
        """Close the account after Ctrl-C, or raise it at once where nobody holds it."""
        if not self.holds_interrupts:
            raise interrupt
        self.stopped = Stopped("interrupted", interrupt)
        return self.stopped

    def stop(self, stopped: Stopped) -> None:
        """Make no more evaluations from here on."""
        if self.stopped is None:
            self.stopped = stopped
