"""A progress bar on stderr, for what takes long enough to be worth one."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

from fastbp.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import TracebackType

    from rich.progress import Progress, TaskID

__all__ = ["progress_bar", "require_progress_option"]

PATIENCE_SECONDS = 1.0


def progress_bar(
    progress: bool | None, total: int, description: str
) -> AbstractContextManager[Callable[[int], None]]:
    """Return a context manager that gives a function to report progress with.

    Parameters
    ----------
    progress : bool or None
        None: a bar on stderr if that is a terminal, once the work has run for over a second;
        it is wiped away at the end. True: always; where stderr is no terminal, one line at the
        end. False: never.
    total : int
        How many steps there are.
    description : str
        What is being done, in a word or two.

    Returns
    -------
    context manager
        Entering it gives a function ``advance(n)``; it may be called from any thread.

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
    if progress is False or (progress is None and not _stderr_is_terminal()):
        return _NoBar()
    if progress is None:
        return _Bar(total, description, patience=PATIENCE_SECONDS, stays=False)
    return _Bar(total, description, patience=0.0, stays=True)


def require_progress_option(progress: object) -> None:
    """Raise `OptionError` unless `progress` is None, True or False."""
    if progress is not None and not isinstance(progress, bool):
        raise OptionError(f"progress must be None, True or False, not {progress!r}.")


def _stderr_is_terminal() -> bool:
    """Tell whether there is a stderr (a windowed Python has none) and it is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


class _NoBar:
    """Counts nothing and shows nothing."""

    def __enter__(self) -> Callable[[int], None]:
        return _ignore

    def __exit__(self, *_: object) -> None:
        return None


def _ignore(_steps: int) -> None:
    """Take no notice of the progress."""


class _Bar:
    """A rich progress bar that appears at the first step after `patience` seconds."""

    def __init__(self, total: int, description: str, *, patience: float, stays: bool) -> None:
        self._total = total
        self._description = description
        self._patience = patience
        self._stays = stays
        self._done = 0
        self._lock = threading.Lock()
        self._shown: tuple[Progress, TaskID] | None = None

    def __enter__(self) -> Callable[[int], None]:
        self._start = time.monotonic()
        if self._patience == 0:
            self._show()
        return self._advance

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            if self._shown is not None:
                self._shown[0].stop()

    def _advance(self, steps: int) -> None:
        with self._lock:
            self._done += steps
            if self._shown is None and time.monotonic() - self._start > self._patience:
                self._show()
            if self._shown is not None:
                bar, task = self._shown
                bar.update(task, completed=self._done)

    def _show(self) -> None:
        bar = _rich_progress(stays=self._stays)
        task = bar.add_task(self._description, total=self._total, completed=self._done)
        bar.start()
        self._shown = (bar, task)


def _rich_progress(*, stays: bool) -> Progress:
    """Build the bar; rich is imported here, so that importing fastbp stays cheap."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        # A notebook's stderr is no terminal; without this rich would ask for ipywidgets there.
        console=Console(stderr=True, force_jupyter=False),
        transient=not stays,
    )
