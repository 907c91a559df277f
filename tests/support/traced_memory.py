"""What NumPy and Python hold while kernels run on several threads."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import fastbp


@contextmanager
def traced_memory() -> Iterator[Callable[[], int]]:
    """Trace allocations; what is yielded returns the bytes held at the worst moment so far.

    Tracing stops once the helper threads have ended. Kernels ask Python for their scratch memory
    without its lock, and Python may crash where that meets the end of tracing
    (https://github.com/python/cpython/issues/128679, mended in 3.12.9 and 3.13.2).
    """
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1]
    finally:
        helpers = [thread for thread in threading.enumerate() if thread.name == "fastbp"]
        fastbp.set_num_threads(fastbp.get_num_threads())  # a new team: the helpers of this one end
        for helper in helpers:
            helper.join()
        tracemalloc.stop()
