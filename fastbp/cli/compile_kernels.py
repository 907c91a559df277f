"""``fastbp compile``: the kernels of network checks, compiled ahead: for images and CI."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

__all__ = ["add_compile"]

NOT_KEPT = 1


def add_compile(commands: Any) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "compile",
        help="compile the kernels ahead, for images and CI",
        description="Compile the kernels of networks in float64 and float32, and keep them where "
        "later processes find them: in the folder that NUMBA_CACHE_DIR names, else beside the "
        "package or in the user's cache. They fit this processor, fastbp and numba only.",
        epilog="Exit codes: 0 kept, 1 no folder can keep them.",
    )
    parser.set_defaults(run=run_compile)


def run_compile(_: argparse.Namespace) -> int:
    """Call every kernel once in every type; say how long that took and where the kernels are."""
    from fastbp.kernels.machine import disk_cache
    from fastbp.runtime.compilation import compiled_entries

    started = time.perf_counter()
    call_every_kernel()
    seconds = time.perf_counter() - started
    compiled = compiled_entries()
    folder = disk_cache.folder()
    said = f"{compiled} kernels compiled" if compiled else "Nothing to compile: all is there"
    print(f"{said}; {seconds:.1f} s.")
    if folder is None:
        print("No folder can keep them; NUMBA_CACHE_DIR names another.")
        return NOT_KEPT
    print(f"Kernels are kept in {folder}")
    return 0


def call_every_kernel() -> None:
    """Run the passes of one sample and of many, and a check by each method."""
    import numpy as np

    from fastbp.network.checks.check_network import check_network
    from fastbp.network.network import Network
    from fastbp.runtime.threads import compile_own_kernels

    compile_own_kernels()
    for dtype in np.float64, np.float32:
        net = Network.random([3, 4, 2], seed=0, dtype=dtype)
        for samples in 1, 3:
            x, y = np.ones((3, samples), dtype), np.zeros((2, samples), dtype)
            net.loss_and_gradients(x, y)
        for method in "certified", "exact", "replay":
            check_network(net, x, y, method=method, seed=0)
