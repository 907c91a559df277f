"""A progress bar on stderr, for what takes long enough to be worth one.

A terminal gets a bar that moves, a notebook one output that changes, a log one line at the end.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from fastbp.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from types import TracebackType

__all__ = [
    "Advance",
    "compilation_line",
    "outer_progress_bar",
    "progress_bar",
    "require_progress_option",
    "said_while_compiling",
]

PATIENCE_SECONDS = 1.0
# A notebook gets a message over the network for each change of its output.
NOTEBOOK_SECONDS = 0.5
SPEED_SECONDS = 600.0
BAR_WIDTH = 40
COMPILING = "compiling kernels, once for this machine"


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
    if not _is_shown(progress):
        return _NoBar(progress)
    begun = _begun.get()
    if begun is not None:
        _begun.set(None)
        return begun.continued(total, description)
    surface: type[_Surface] = _NotebookOutput if _is_notebook() else _StderrBar
    if progress is None:
        return _Bar(total, description, surface, patience=PATIENCE_SECONDS, stays=False)
    return _Bar(total, description, surface, patience=0.0, stays=True)


@contextlib.contextmanager
def outer_progress_bar(progress: bool | None, description: str) -> Iterator[Advance]:
    """Show the bar of a check from here on, before it is known what the check will take.

    The first `progress_bar` within, if it is shown, goes on with this bar.

    Examples
    --------
    >>> with outer_progress_bar(False, "evaluations") as advance:
    ...     advance(1)
    """
    with progress_bar(progress, None, description) as advance:
        token = _begun.set(advance if isinstance(advance, _Bar) else None)
        try:
            yield advance
        finally:
            _begun.reset(token)


def _is_shown(progress: bool | None) -> bool:
    """Tell whether there is anything to see, now or after a while."""
    if progress is None:
        return _stderr_is_terminal() or _is_notebook()
    return progress


# The bar that was begun before the one of a check, which goes on with it.
_begun: ContextVar[_Bar | None] = ContextVar("begun", default=None)

# The bars of the checks that are running, the latest last. Checks may run, and end, in several
# threads at once: each use of the list is a single operation.
_running: list[_Bar | _NoBar] = []


def _no_longer_running(bar: _Bar | _NoBar) -> None:
    with contextlib.suppress(ValueError):  # it was interrupted before it was entered
        _running.remove(bar)


def said_while_compiling(progress: bool | None) -> AbstractContextManager[object]:
    """Let the option `progress` of a check decide, within, whether a compilation is announced."""
    return _NoBar(progress)


def compilation_line() -> AbstractContextManager[object]:
    """Return a context manager that says, after a second, that kernels are being compiled.

    Where a bar is shown, it is the bar that says so; else a line by itself, where the option
    `progress` of the check that runs, or its default, would show a bar.
    """
    latest = next(iter(_running[-1:]), None)
    if isinstance(latest, _Bar):
        return latest.compiling()
    progress = None if latest is None else latest.progress
    if not _is_shown(progress):
        return contextlib.nullcontext()
    surface: type[_Surface] = _NotebookLine if _is_notebook() else _StderrLine
    return _Bar(
        None, COMPILING, surface, patience=PATIENCE_SECONDS, stays=progress is True, is_line=True
    )


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

    def __init__(self, progress: bool | None) -> None:
        self.progress = progress

    def __enter__(self) -> _NoBar:
        _running.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _no_longer_running(self)

    def __call__(self, steps: int) -> None:
        """Take no notice of the progress."""

    def expect(self, total: int) -> None:
        """Expect nothing."""


class _Surface(Protocol):
    """Where a bar is drawn."""

    def __init__(self, description: str, *, stays: bool) -> None: ...

    def describe(self, description: str) -> None:
        """Say otherwise what is being done."""

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
        is_line: bool = False,
    ) -> None:
        self._is_line = is_line
        self._total, self._done = total, 0
        self._description, self._surface = description, surface
        self._patience, self._stays = patience, stays
        self._lock = threading.Lock()
        self._shown: _Surface | None = None
        self._timer: threading.Timer | None = None
        self._ended = False

    def __enter__(self) -> _Bar:
        if not self._is_line:
            _running.append(self)
        if self._patience == 0:
            self._show()
        else:  # not at the next step: that may take a minute
            self._timer = threading.Timer(self._patience, self._show)
            self._timer.daemon = True
            with contextlib.suppress(RuntimeError):  # the system has no more threads: no bar
                self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._is_line:
            _no_longer_running(self)
        self._end()

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            if self._shown is not None and not self._ended:
                self._shown.stop(self._done, self._total)
            self._ended = True

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

    @contextlib.contextmanager
    def continued(self, total: int | None, description: str) -> Iterator[_Bar]:
        """Count anew, for something else, within; the bar ends with it."""
        with self._lock:
            self._done, self._total = 0, total
            self._update()
        self._describe(description)
        try:
            yield self
        finally:
            self._end()

    @contextlib.contextmanager
    def compiling(self) -> Iterator[None]:
        """Describe what is being done as a compilation, within."""
        description = self._description
        self._describe(f"{description}, {COMPILING}")
        try:
            yield
        finally:
            self._describe(description)

    def _describe(self, description: str) -> None:
        with self._lock:
            self._description = description
            if self._shown is not None and not self._ended:
                self._shown.describe(description)

    def _update(self) -> None:
        if self._shown is not None and not self._ended:
            self._shown.update(self._done, self._total)

    def _show(self) -> None:
        with self._lock:
            if self._ended:
                return
            self._shown = self._surface(self._description, stays=self._stays)
            self._update()


class _StderrBar:
    """A bar of rich: it moves on a terminal, and is one line at the end elsewhere."""

    is_line = False  # without a bar: there is nothing to count

    def __init__(self, description: str, *, stays: bool) -> None:
        # Imported here, so that importing fastbp stays cheap.
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns: list[ProgressColumn] = [TimeElapsedColumn()]
        if not self.is_line:
            columns = [
                BarColumn(),
                TaskProgressColumn(),
                MofNCompleteColumn(),
                # Over so long the speed is taken: over the default of 30 s, a function of a
                # minute would have no time left to show.
                TimeRemainingColumn(elapsed_when_finished=True),
            ]
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            *columns,
            speed_estimate_period=SPEED_SECONDS,
            # With FORCE_COLOR in the environment rich takes everything for a terminal, and would
            # write a line into a log for each step.
            console=Console(stderr=True, force_jupyter=False, force_terminal=_stderr_is_terminal()),
            transient=not stays,
        )
        self._task = self._bar.add_task(description, total=None)
        self._bar.start()

    def describe(self, description: str) -> None:
        self._bar.update(self._task, description=description)

    def update(self, done: int, total: int | None) -> None:
        self._bar.update(self._task, completed=done, total=total)

    def stop(self, done: int, total: int | None) -> None:
        self.update(done, total)
        self._bar.stop()


class _StderrLine(_StderrBar):
    """What is being done, and for how long."""

    is_line = True


class _NotebookOutput:
    """One output of a notebook, which changes."""

    def __init__(self, description: str, *, stays: bool) -> None:
        display = importlib.import_module("IPython.display").display
        self._description, self._stays = description, stays
        self._started = self._last = time.monotonic()
        self._output: Any = display(_plain(f"{description} ..."), raw=True, display_id=True)

    def describe(self, description: str) -> None:
        self._description = description
        self._output.update(_plain(f"{description} ..."), raw=True)

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


class _NotebookLine(_NotebookOutput):
    """What was being done, and for how long."""

    def _line(self, *_: object) -> str:
        return f"{self._description}  {time.monotonic() - self._started:.0f} s"


def _plain(text: str) -> dict[str, str]:
    return {"text/plain": text}
