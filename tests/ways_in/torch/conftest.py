"""Fixtures of the tests of fastbp.torch."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    pytest.importorskip("torch").manual_seed(20240722)
