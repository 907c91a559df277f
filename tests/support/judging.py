"""Gradients to judge."""

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace

import numpy as np

from fastbp.verdict.rows import Numerical, judged_row
from fastbp.verdict.tolerance import Tolerance

TIGHT = Tolerance(rtol=1e-6, atol=0.0)
BAR = 1e-9


def gradient(size: int = 40, seed: int = 0) -> np.ndarray:
    """Numbers from 1 to 2 of either sign: none is near the noise."""
    rng = np.random.default_rng(seed)
    return rng.uniform(1, 2, size) * rng.choice([-1.0, 1.0], size)


def judge(given, numerical, error_bar=BAR, tolerance=TIGHT, *, hull=0.0, kinks=None, noise=None):
    """Judge a flat array: the fields of its row, but worst and failures as flat places."""
    known = None if noise is None else lambda: noise
    beside = Numerical("a", numerical.shape, numerical, error_bar, hull, kinks, known)
    row, failures = judged_row(given, beside, np.dtype(np.float64), tolerance)
    found = SimpleNamespace(**{field.name: getattr(row, field.name) for field in fields(row)})
    found.worst = None if row.worst is None else row.worst.index[0]
    found.failures = [failure.index[0] for failure in failures]
    return found
