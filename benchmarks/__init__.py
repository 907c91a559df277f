"""Benchmarks of fastbp: ``asv run`` over its history, ``python -m benchmarks.peers`` beside others.

asv reuses its environments, and a disk cache of numba keyed by the installed path could carry
machine code from one commit to the next: every commit gets a cache of its own, chosen here,
before anything imports numba.
"""

from __future__ import annotations

import os
from pathlib import Path

if "ASV_COMMIT" in os.environ:
    os.environ["NUMBA_CACHE_DIR"] = str(
        Path(__file__).resolve().parent.parent / ".asv" / "numba" / os.environ["ASV_COMMIT"]
    )
