"""Two products that must be those of one matrix and its transpose."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastbp.function.checks.matrices.product_pairs import unequal_entry
from fastbp.verdict.tolerance import agreement_of_sums

AGREEMENT = agreement_of_sums(single=False)

pytestmark = pytest.mark.small


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 1000))
def test_the_entry_in_which_two_matrices_differ_is_found(
    rows: int, columns: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, columns))
    other = matrix.copy()

    def search() -> tuple[int, int, float, float] | None:
        return unequal_entry(
            lambda v: matrix @ v, lambda u: other.T @ u, matrix.shape,
            np.random.default_rng(seed), AGREEMENT,
        )  # fmt: skip

    assert search() is None
    row, column = int(rng.integers(rows)), int(rng.integers(columns))
    other[row, column] += 1e-3
    assert search() == (row, column, matrix[row, column], other[row, column])


def test_noise_that_is_allowed_is_no_difference() -> None:
    rng = np.random.default_rng(0)
    matrix = np.eye(4)

    def noisy(v: np.ndarray) -> np.ndarray:
        return matrix @ v + 1e-6 * rng.normal(size=4)

    found = unequal_entry(noisy, noisy, (4, 4), np.random.default_rng(1), AGREEMENT, 1e-5)
    assert found is None
    assert unequal_entry(noisy, noisy, (4, 4), np.random.default_rng(1), AGREEMENT) is not None


def test_a_product_that_is_nan_differs() -> None:
    matrix = np.eye(3)
    broken = matrix.copy()
    broken[1, 1] = np.nan
    found = unequal_entry(
        lambda v: matrix @ v, lambda u: broken @ u, (3, 3), np.random.default_rng(0), AGREEMENT
    )
    assert found is not None
