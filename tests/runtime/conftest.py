"""Fixtures of this folder."""

from __future__ import annotations

import pytest

import fastbp


@pytest.fixture
def threads():
    """Set the number of threads; the old one comes back."""
    before = fastbp.get_num_threads()
    yield fastbp.set_num_threads
    fastbp.set_num_threads(before)
