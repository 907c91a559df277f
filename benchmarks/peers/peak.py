"""Peak memory of one call within a process that goes on: all of it, whoever asked for it.

tracemalloc sees what Python and NumPy ask for, not the kernels' scratch and not torch. Linux
keeps the largest resident size that a process has had, and forgets it on request.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
FORGET_PEAK = "5"


def peak_bytes(call: Callable[[], object]) -> float:
    """Return by how much the resident memory grew at most; NaN where the system cannot tell."""
    gc.collect()
    _return_free_memory()
    try:
        FORGET.write_text(FORGET_PEAK)
        before = _status("VmRSS")
    except (OSError, KeyError):
        return float("nan")
    call()
    return max(0.0, _status("VmHWM") - before)


def _status(field: str) -> float:
    lines = STATUS.read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return 1024.0 * int(values[field].split()[0])


def _return_free_memory() -> None:
    """Give back what the C library keeps, or a call would seem to need nothing new."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
