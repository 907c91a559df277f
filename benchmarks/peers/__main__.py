"""``python -m benchmarks.peers``: the same work in fastbp, NumPy, torch and JAX, in one run.

What the machine can do at most is measured in the same run, before and after. Peers that are
not installed are named and left out.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

SECTIONS = (
    "products", "backprop", "apart", "memory", "check", "replay", "growth", "functions",
    "second-order", "operators",
)  # fmt: skip
AXES = ("width", "depth", "batch", "threads")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=SECTIONS, help="this section alone; may be repeated"
    )
    parser.add_argument(
        "--axis", action="append", choices=AXES, help="of growth, this one alone; may be repeated"
    )
    parser.add_argument(
        "--network", action="append", metavar="NAME", help="this one alone, such as 784-512^5-10"
    )
    parser.add_argument("--dtype", action="append", choices=("float64", "float32"))
    parser.add_argument("--threads", type=int, help="of every peer; all cores by default")
    parser.add_argument("--rounds", type=int, default=11, help="%(default)s by default")
    parser.add_argument(
        "--quick", action="store_true", help="one round, to see that all works: no figure holds"
    )
    parser.add_argument(
        "--readme", type=Path, metavar="FILE",
        help="measure the times that the README gives, write them there, and nothing else",
    )  # fmt: skip
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the Markdown there too")
    chosen = parser.parse_args(arguments)
    chosen.only = chosen.only or SECTIONS
    chosen.rounds = 1 if chosen.quick else chosen.rounds
    if chosen.rounds < 1:
        parser.error(f"--rounds must be at least 1, not {chosen.rounds}.")
    cores = _usable_cores()
    chosen.threads = len(cores) if chosen.threads is None else chosen.threads
    if not 1 <= chosen.threads <= len(cores):
        parser.error(f"--threads must be in 1..{len(cores)}, not {chosen.threads}.")
    return chosen


def limit_everybody_to(threads: int) -> None:
    """Give every library that many threads: most read it once, when they are imported.

    XLA has no such setting: it counts the cores that the process may use.
    """
    for library in ("FASTBP", "OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM"):
        os.environ[f"{library}_NUM_THREADS"] = str(threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, _usable_cores()[:threads])


def _usable_cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _hide_source_folder() -> None:
    """Take the working directory off the path: the installed fastbp is to be measured."""
    root = Path(__file__).resolve().parents[2]
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != root]


def main(arguments: Sequence[str] | None = None) -> None:
    """Limit the threads, and only then import what reads the limit."""
    _hide_source_folder()
    chosen = parse_arguments(arguments)
    limit_everybody_to(chosen.threads)

    if chosen.readme is not None:
        from .readme import write_block

        print(write_block(chosen.readme, chosen.threads))
        return
    from .comparison import pages

    shown = []
    for page in pages(chosen):
        print(page, flush=True)
        shown.append(page)
    if chosen.write is not None:
        chosen.write.write_text("\n".join(shown), encoding="utf-8")


if __name__ == "__main__":
    main()
