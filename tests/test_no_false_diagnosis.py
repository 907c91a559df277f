"""A correct gradient is never diagnosed: networks and functions, by every method.

``FASTBP_CORRECT_GRADIENTS=10000 pytest -m long tests/test_no_false_diagnosis.py`` checks more.
"""

from __future__ import annotations

import os
from collections import Counter

import numpy as np
import pytest
import reference
from support.random_functions import kinked_case, smooth_case
from support.strategies import LAYOUTS, LOSSES, make_problem

import fastbp

GRADIENTS = int(os.environ.get("FASTBP_CORRECT_GRADIENTS", "1000"))


def of_network(seed: int, method: str, dtype: type) -> fastbp.Report:
    """Check the reference's gradient of a random network."""
    rng = np.random.default_rng([13, seed])
    sizes = [int(n) for n in rng.integers(1, 9, size=rng.integers(2, 6))]
    problem = make_problem(
        sizes, int(rng.integers(1, 7)), seed=seed, dtype=dtype,
        layout=str(rng.choice(LAYOUTS)), bias=str(rng.choice(["none", "flat", "column"])),
        loss=LOSSES[rng.integers(4)], reduction=str(rng.choice(["sum", "mean", "mean_entries"])),
        scale=float(rng.choice([1.0, 0.5])), weight_decay=float(rng.choice([0.0, 0.01])),
    )  # fmt: skip
    _, truth = reference.loss_and_gradients(problem.reference(), problem.x, problem.y)
    flat = truth.flat.astype(dtype)
    return fastbp.check_network(
        problem.network(), problem.x, problem.y, flat, method=method, seed=seed
    )


def of_function(seed: int, method: str, *, smooth: bool) -> fastbp.Report:
    """Check the gradient of a random function."""
    case = smooth_case(seed) if smooth else kinked_case(seed)
    return fastbp.check_gradient(case.f, case.gradient, case.at, method=method, seed=seed)


CHECKS = {
    "certified, float64": lambda seed: of_network(seed, "certified", np.float64),
    "certified, float32": lambda seed: of_network(seed, "certified", np.float32),
    "exact, float64": lambda seed: of_network(seed, "exact", np.float64),
    "replay, float64": lambda seed: of_network(seed, "replay", np.float64),
    "replay, float32": lambda seed: of_network(seed, "replay", np.float32),
    "every, smooth": lambda seed: of_function(seed, "every", smooth=True),
    "every, with kinks": lambda seed: of_function(seed, "every", smooth=False),
    "probe, smooth": lambda seed: of_function(seed, "probe", smooth=True),
}


@pytest.mark.long
@pytest.mark.parametrize("name", CHECKS)
def test_no_correct_gradient_is_diagnosed(name):
    verdicts: Counter[str] = Counter()
    for seed in range(-(-GRADIENTS // len(CHECKS))):
        report = CHECKS[name](seed)
        assert report.diagnosis == (), f"seed {seed}: {report}"
        assert report.verdict != "failed", f"seed {seed}: {report}"
        verdicts[report.verdict] += 1
    assert verdicts["passed"] >= 0.9 * verdicts.total(), verdicts
