"""Workers that end with the process that started them, also where that is killed.

Nobody tells a worker that its parent is gone: SIGTERM runs no code of the parent, and the pipes
stay open, because the workers hold both ends of them. This module imports the standard library
alone, so that a worker comes by here before anything that takes time.
"""

from __future__ import annotations

import os
import sys
import threading
import time

__all__ = ["end_with_parent"]

SECONDS_BETWEEN_LOOKS = 0.5

_watched: set[int] = set()


def end_with_parent(parent: int) -> None:
    """Run in a worker: end it as soon as the process that started it is gone.

    Parameters
    ----------
    parent : int
        The process that started this one.
    """
    if parent in _watched or sys.platform == "win32":  # where a parent's number stays what it was
        return
    _watched.add(parent)
    if os.getppid() != parent:
        os._exit(1)
    threading.Thread(target=_end_when_alone, args=(parent,), daemon=True).start()


def _end_when_alone(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os._exit(1)
