"""Groups of columns that share no row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from fastbp.function.checks.matrices.colouring import grouped_columns

pytestmark = pytest.mark.small


@given(st.integers(0, 12), st.integers(0, 12), st.floats(0, 1), st.integers(0, 1000))
def test_columns_of_a_group_share_no_row_and_each_is_in_one(
    rows: int, columns: int, density: float, seed: int
) -> None:
    filled = np.random.default_rng(seed).random((rows, columns)) < density
    matrix = sparse.csc_array(filled.astype(float))
    groups = grouped_columns(matrix.indices, matrix.indptr, range(columns))
    assert sorted(column for group in groups for column in group.tolist()) == [*range(columns)]
    for group in groups:
        assert filled[:, group].sum(axis=1).max(initial=0) <= 1


def test_a_dense_row_keeps_all_columns_apart() -> None:
    matrix = sparse.csc_array(np.eye(5))
    assert len(grouped_columns(matrix.indices, matrix.indptr, range(5))) == 1
    dense = np.eye(5)
    dense[2] = 1.0
    matrix = sparse.csc_array(dense)
    assert len(grouped_columns(matrix.indices, matrix.indptr, range(5))) == 5


def test_columns_of_one_leaf_are_grouped_alone() -> None:
    matrix = sparse.csc_array(np.eye(6))
    groups = grouped_columns(matrix.indices, matrix.indptr, range(2, 4))
    assert [group.tolist() for group in groups] == [[2, 3]]
