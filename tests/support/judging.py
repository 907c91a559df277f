"""Gradients to judge."""

from __future__ import annotations

import numpy as np

from fastbp.verdict.arrays import judge_array
from fastbp.verdict.tolerance import Tolerance

TIGHT = Tolerance(rtol=1e-6, atol=0.0)
BAR = 1e-9


def gradient(size: int = 40, seed: int = 0) -> np.ndarray:
    """Numbers from 1 to 2 of either sign: none is near the noise."""
    rng = np.random.default_rng(seed)
    return rng.uniform(1, 2, size) * rng.choice([-1.0, 1.0], size)


def judge(given, numerical, error_bar=BAR, tolerance=TIGHT, **options):
    return judge_array(given, numerical, error_bar, tolerance, **options)
