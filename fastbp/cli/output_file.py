"""A file that a command writes: whether it can is known before the work begins."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

__all__ = ["written_to"]


@contextlib.contextmanager
def written_to(target: str | None) -> Iterator[Callable[[str], object]]:
    """Yield what writes a text to a file; a file that cannot be written is known before.

    A file that is there keeps what it holds until there is something to write, and one that was
    made for nothing is removed.
    """
    if target is None or target == "-":
        yield len if target is None else sys.stdout.write
        return
    is_new = not os.path.exists(target)
    with open(target, "a", encoding="utf-8") as file:
        written = []

        def write(text: str) -> None:
            file.truncate(0)
            file.write(text)
            written.append(text)

        yield write
    if is_new and not written:
        os.remove(target)
