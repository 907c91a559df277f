"""A progress bar on stderr, for what takes long enough to be worth one.

A terminal gets a bar that moves, a notebook one output that changes, a log one line at the end.
"""

from __future__ import annotations

import importlib
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from fastbp.errors import OptionError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import TracebackType

__all__ = ["Advance", "progress_bar", "require_progress_option"]

PATIENCE_SECONDS = 1.0
# A notebook gets a message over the network for each change of its output.
NOTEBOOK_SECONDS = 0.5
SPEED_SECONDS = 600.0
BAR_WIDTH = 40


class Advance(Protocol):
    """Reports progress; may be called from any thread."""

    def __call__(self, steps: int) -> None:
        """Say that so many steps are done."""

    def expect(self, total: int) -> None:
        """Say how many there will be, as far as is known now."""


def progress_bar(
    progress: bool | None, total: int | None, description: str
) -> AbstractContextManager[Advance]:
    """Return a context manager that gives a function to report progress with.

    Parameters
    ----------
    progress : bool or None
        None: a bar if stderr is a terminal, or in a notebook, once the work has run for over a
        second; on a terminal it is wiped away at the end. True: always; where stderr is neither,
        one line at the end. False: never.
    total : int or None
        How many steps there are; None where that is not known yet.
    description : str
        What is being done, in a word or two.

    Returns
    -------
    context manager
        Entering it gives a function ``advance(n)``; it may be called from any thread, and
        ``advance.expect(total)`` says how many steps there will be.

    Raises
    ------
    OptionError
        If `progress` is neither None nor a bool.

    Examples
    --------
    >>> with progress_bar(False, 10, "counting") as advance:
    ...     advance(10)
    """
    require_progress_option(progress)
    notebook = progress is not False and _is_notebook()
    if progress is False or (progress is None and not (_stderr_is_terminal() or notebook)):
        return _NoBar()
    surface: type[_Surface] = _NotebookOutput if notebook else _StderrBar
    if progress is None:
        return _Bar(total, description, surface, patience=PATIENCE_SECONDS, stays=False)
    return _Bar(total, description, surface, patience=0.0, stays=True)


def require_progress_option(progress: object) -> None:
    """Raise `OptionError` unless `progress` is None, True or False."""
    if progress is not None and not isinstance(progress, bool):
        raise OptionError(f"progress must be None, True or False, not {progress!r}.")


def _stderr_is_terminal() -> bool:
    """Tell whether there is a stderr (a windowed Python has none) and it is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


def _is_notebook() -> bool:
    """Tell whether this runs in a kernel of Jupyter, whose outputs can be changed."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


class _NoBar:
    """Counts nothing and shows nothing."""

    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __call__(self, steps: int) -> None:
        """Take no notice of the progress."""

    def expect(self, total: int) -> None:
        """Expect nothing."""


class _Surface(Protocol):
    """Where a bar is drawn."""

    def __init__(self, description: str, *, stays: bool) -> None: ...

    def update(self, done: int, total: int | None) -> None:
        """Show how far it is."""

    def stop(self, done: int, total: int | None) -> None:
        """Show the end."""


class _Bar:
    """A bar that appears `patience` seconds after it was entered, whatever goes on by then."""

    def __init__(
        self,
        total: int | None,
        description: str,
        surface: type[_Surface],
        *,
        patience: float,
        stays: bool,
    ) -> None:
        self._total, self._done = total, 0
        self._description, self._surface = description, surface
        self._patience, self._stays = patience, stays
        self._lock = threading.Lock()
        self._shown: _Surface | None = None
        self._timer: threading.Timer | None = None
        self._ended = False

    def __enter__(self) -> _Bar:
        if self._patience == 0:
            self._show()
        else:  # not at the next step: that may take a minute
            self._timer = threading.Timer(self._patience, self._show)
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            self._ended = True
            if self._shown is not None:
                self._shown.stop(self._done, self._total)

    def __call__(self, steps: int) -> None:
        with self._lock:
            self._done += steps
            if self._total is not None:
                self._total = max(self._total, self._done)
            self._update()

    def expect(self, total: int) -> None:
        """Say how many steps there will be, as far as is known now."""
        with self._lock:
            self._total = max(total, self._done)
            self._update()

    def _update(self) -> None:
        if self._shown is not None:
            self._shown.update(self._done, self._total)

    def _show(self) -> None:
        with self._lock:
            if self._ended:
                return
            self._shown = self._surface(self._description, stays=self._stays)
            self._update()


class _StderrBar:
    """A bar of rich: it moves on a terminal, and is one line at the end elsewhere."""

    def __init__(self, description: str, *, stays: bool) -> None:
        # Imported here, so that importing fastbp stays cheap.
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            # Over so long the speed is taken: over the default of 30 s, a function of a minute
            # would have no time left to show.
            TimeRemainingColumn(elapsed_when_finished=True),
            speed_estimate_period=SPEED_SECONDS,
            # With FORCE_COLOR in the environment rich takes everything for a terminal, and would
            # write a line into a log for each step.
            console=Console(stderr=True, force_jupyter=False, force_terminal=_stderr_is_terminal()),
            transient=not stays,
        )
        self._task = self._bar.add_task(description, total=None)
        self._bar.start()

    def update(self, done: int, total: int | None) -> None:
        self._bar.update(self._task, completed=done, total=total)

    def stop(self, done: int, total: int | None) -> None:
        self.update(done, total)
        self._bar.stop()


class _NotebookOutput:
    """One output of a notebook, which changes."""

    def __init__(self, description: str, *, stays: bool) -> None:
        display = importlib.import_module("IPython.display").display
        self._description, self._stays = description, stays
        self._started = self._last = time.monotonic()
        self._output: Any = display(_plain(f"{description} ..."), raw=True, display_id=True)

    def update(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if now - self._last >= NOTEBOOK_SECONDS:
            self._last = now
            self._output.update(_plain(self._line(done, total)), raw=True)

    def stop(self, done: int, total: int | None) -> None:
        self._output.update(_plain(self._line(done, total)), raw=True)

    def _line(self, done: int, total: int | None) -> str:
        seconds = time.monotonic() - self._started
        if total is None or done == 0:
            return f"{self._description} {done}/?  {seconds:.0f} s"
        left = seconds * (total - done) / done
        filled = BAR_WIDTH * done // max(total, 1)
        bar = "#" * filled + "." * (BAR_WIDTH - filled)
        return f"{self._description} [{bar}] {done}/{total}  {seconds:.0f} s, {left:.0f} s left"


def _plain(text: str) -> dict[str, str]:
    return {"text/plain": text}
