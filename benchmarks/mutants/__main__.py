"""``python -m benchmarks.mutants``: do the tests notice when the verdict's code is changed?

Each mutant has one small change: a number 100 times larger, the opposite comparison, a term left
out. It is run against the quick tests of the changed function, in plain Python. What no test
notices is printed, and is either a gap in the tests or a change that makes no difference;
``harmless.py`` lists those of the second kind with the reason. A later run goes on where the last
one stopped, and repeats what an edit of code or tests may have changed.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .operators import Mutant

ROOT = Path(__file__).resolve().parent.parent.parent


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", help="those that contain this text; all by default")
    parser.add_argument(
        "--processes", type=int, default=2, help="at a time; %(default)s by default"
    )
    parser.add_argument("--minutes", type=float, default=1e6, help="stop after so many")
    parser.add_argument(
        "--slowest", type=float, default=1.0, help="seconds of a test; %(default)s by default"
    )
    parser.add_argument(
        "--budget", type=float, default=5.0, help="seconds for a mutant; %(default)s by default"
    )
    parser.add_argument(
        "--sample", type=int, help="at most so many of each module, drawn with a fixed seed"
    )
    parser.add_argument("--by-hand", action="store_true", help="only those listed in by_hand.py")
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "mutants.jsonl")
    parser.add_argument("--tests", nargs="*", help="files and folders; all that judge by default")
    return parser.parse_args(arguments)


def drawn(mutants: Iterable[Mutant], most: int | None) -> list[Mutant]:
    """Return a sample of mutants in their order: the same for the same list."""
    found = list(mutants)
    if most is None or len(found) <= most:
        return found
    return [found[place] for place in sorted(random.Random(0).sample(range(len(found)), most))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the mutants; return 1 if one survived that is not known to be harmless."""
    options = parse_arguments(arguments)
    os.chdir(ROOT)
    # The sources as they are installed, not the folders that lie here.
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != ROOT]
    import pytest

    from .by_hand import BY_HAND, by_hand
    from .harmless import reason_for
    from .operators import mutants_of
    from .targets import TARGETS
    from .trial import Trial

    listed = dict.fromkeys([*TARGETS, *(name for name, *_ in BY_HAND)])
    names = [n for n in listed if not options.modules or any(p in n for p in options.modules)]
    modules = {name: importlib.import_module(name) for name in names}
    mutants, judges = [], set()
    for name, module in modules.items():
        source = Path(module.__file__ or "").read_text()
        for mutant, tests in by_hand(name, source):
            mutants.append(mutant)
            judges.add(tests)
        if name in TARGETS and not options.by_hand:
            mutants += drawn(mutants_of(name, source), options.sample)
            judges |= {*TARGETS[name]}
    options.results.parent.mkdir(exist_ok=True)
    trial = Trial(
        modules, mutants, options.results, options.processes, options.slowest, options.budget,
        time.monotonic() + 60 * options.minutes,
    )  # fmt: skip
    judges = options.tests or sorted(judges)
    chosen = [
        "-o",
        "addopts=--import-mode=importlib",
        "-p",
        "no:terminal",
        "-p",
        "no:cacheprovider",
        "-m",
        "small and not long",
        *judges,
    ]
    code = pytest.main(chosen, plugins=[trial])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        return int(code)
    alive = 0
    print(f"{'module':55} {'mutants':>8} {'noticed':>8} {'harmless':>9} {'alive':>6}")
    survivors = []
    for name in names:
        own = [outcome for outcome in trial.outcomes.values() if outcome.module == name]
        if not own:
            continue
        left = [outcome for outcome in own if not outcome.noticed_by]
        open_ones = [outcome for outcome in left if not reason_for(outcome.name)]
        survivors += open_ones
        alive += len(open_ones)
        print(
            f"{name:55} {len(own):8} {len(own) - len(left):8} "
            f"{len(left) - len(open_ones):9} {len(open_ones):6}"
        )
    for outcome in survivors:
        print(
            f"{outcome.module}:{outcome.line}: {outcome.name.partition(': ')[2]}  "
            f"[{outcome.tests} tests]"
        )
    judged = sum(
        not reason_for(outcome.name) or bool(outcome.noticed_by)
        for outcome in trial.outcomes.values()
    )
    if judged:
        print(f"{judged - alive} of {judged} noticed: {1 - alive / judged:.1%}")
    if trial.unfinished:
        print(f"{trial.unfinished} not tried yet: run the same command again")
    return 1 if alive else 0


if __name__ == "__main__":
    # Kernels as plain Python, and no thread that a fork would lose.
    os.environ.update(NUMBA_DISABLE_JIT="1", OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")
    sys.exit(main())
