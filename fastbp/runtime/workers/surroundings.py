"""What a function of the user finds around it: NumPy's errors and Python's warnings.

A worker has settings of its own, and shows its warnings where nobody looks. So a job takes the
settings of whoever called the check along, and what a function warns of comes back with the values.
"""

from __future__ import annotations

import threading
import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np

from fastbp.runtime.floating_point import callers_errstate, callers_geterr

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Shown", "Surroundings", "Warned", "surroundings_here"]

MOST_WARNINGS = 100  # different ones, of one task

# Kind, text, file and line; the kind pickled, since it may be a class that only the user knows.
Warned = tuple[bytes, str, str, int]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The settings of whoever called the check.

    Attributes
    ----------
    errors : dict
        As of ``np.geterr()``.
    filters : bytes
        ``warnings.filters``, pickled; empty where they cannot be sent, or are those of the process.
    """

    errors: dict[str, Any]
    filters: bytes = b""

    @contextmanager
    def around(self) -> Iterator[list[Warned]]:
        """Restore the settings, and collect what is warned of.

        Where another thread could warn too, which Python's filters do not tell apart, warnings stay
        where they are.
        """
        warned: list[Warned] = []
        # A process that was forked during another check has the settings of that one's caller.
        with callers_errstate(), np.errstate(**self.errors):
            if not self.filters or threading.current_thread() is not threading.main_thread():
                yield warned
                return
            with warnings.catch_warnings(record=True) as caught:
                with suppress(Exception):  # a kind of warning that this process cannot import
                    warnings.filters[:] = cloudpickle.loads(self.filters)  # type: ignore[index]
                yield warned
            warned += _different(caught or [])


def surroundings_here(*, sent: bool) -> Surroundings:
    """Return the settings of whoever called the check; `sent` to other processes."""
    filters = b""
    if sent:
        with suppress(Exception):
            filters = cloudpickle.dumps(list(warnings.filters))
    return Surroundings(callers_geterr(), filters)


def _different(caught: list[warnings.WarningMessage]) -> list[Warned]:
    found: dict[Warned, None] = {}
    for one in caught:
        if len(found) >= MOST_WARNINGS:
            break
        kind: type[Warning] = one.category
        try:
            pickled = cloudpickle.dumps(kind)
        except Exception:
            pickled = cloudpickle.dumps(UserWarning)
        found[pickled, str(one.message), one.filename, one.lineno] = None
    return list(found)


@dataclass(slots=True)
class Shown:
    """The warnings of workers that were shown here: each once in a check."""

    known: set[Warned] = field(default_factory=set)

    def show(self, warned: Iterable[Warned]) -> None:
        """Show what was not shown before; the filters have been asked in the worker."""
        for one in warned:
            if one in self.known:
                continue
            self.known.add(one)
            kind, text, filename, line = one
            warning = _made(kind, text)
            warnings.showwarning(warning, type(warning), filename, line)


def _made(kind: bytes, text: str) -> Warning:
    """Return a warning of a kind; one of the user where that takes other arguments."""
    with suppress(Exception):
        made: Warning = cloudpickle.loads(kind)(text)
        return made
    return UserWarning(text)
