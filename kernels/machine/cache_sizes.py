"""How large the caches of this machine are: what blocking and streaming go by.

They decide where numbers stand while they are computed, never which bits come out.
"""

from __future__ import annotations

import mmap
from pathlib import Path

_ASSUMED = {1: 32 * 2**10, 2: 512 * 2**10, 3: 8 * 2**20}  # what most machines have at least
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


def _told_by_linux(folder: Path) -> dict[int, int]:
    """Bytes of each level that holds data, where Linux describes them."""
    sizes = {}
    for cache in sorted(folder.glob("index*")):
        try:
            kind, level, size = (
                (cache / name).read_text().strip() for name in ("type", "level", "size")
            )
            if kind != "Instruction":
                sizes[int(level)] = int(size[:-1]) * _UNITS[size[-1]]
        except (OSError, ValueError, LookupError):
            continue
    return sizes


_SIZES = _ASSUMED | _told_by_linux(Path("/sys/devices/system/cpu/cpu0/cache"))
L1_BYTES, L2_BYTES = _SIZES[1], _SIZES[2]
LAST_LEVEL_BYTES = max(_SIZES.values())
# A way of an L1 cache is as large as a page: lines so far apart fall on the same set.
WAY_BYTES = mmap.PAGESIZE
LINE_BYTES = 64  # of one line, on every processor of today that has vectors
