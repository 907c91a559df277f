"""Which operand of a product stays in the nearest cache."""

from __future__ import annotations

import pytest
from fastbp.kernels.machine import product_order
from fastbp.kernels.machine.product_order import ENVIRONMENT, panel_stays

pytestmark = pytest.mark.small


def test_a_panel_stays_where_it_leaves_a_quarter_of_the_cache(monkeypatch):
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    monkeypatch.setattr(product_order, "L1_BYTES", 48 * 2**10)
    assert panel_stays(32 * 2**10)
    assert panel_stays(36 * 2**10)
    assert not panel_stays(36 * 2**10 + 1)


@pytest.mark.parametrize(("name", "expected"), [("panel", True), ("strip", False)])
def test_the_environment_decides_where_it_is_set(monkeypatch, name, expected):
    monkeypatch.setenv(ENVIRONMENT, name)
    for size in (1, 2**30):
        assert panel_stays(size) is expected


def test_another_value_in_the_environment_is_refused(monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, "row")
    with pytest.raises(
        ImportError, match=r"FASTBP_PRODUCT_ORDER must be 'panel' or 'strip', not 'row'\."
    ):
        panel_stays(1)
