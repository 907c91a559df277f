"""Sizes of the caches as Linux tells them, and what holds where nothing tells them."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastbp.kernels.machine import cache_sizes as caches

pytestmark = pytest.mark.small


def describe(folder: Path, index: int, **files: str) -> None:
    cache = folder / f"index{index}"
    cache.mkdir()
    for name, text in files.items():
        (cache / name).write_text(f"{text}\n")


def test_caches_that_hold_data_are_read(tmp_path):
    describe(tmp_path, 0, type="Data", level="1", size="48K")
    describe(tmp_path, 1, type="Instruction", level="1", size="32K")
    describe(tmp_path, 2, type="Unified", level="2", size="1M")
    describe(tmp_path, 3, type="Unified", level="3", size="2G")
    assert caches._told_by_linux(tmp_path) == {1: 48 * 2**10, 2: 2**20, 3: 2**31}


def test_where_nothing_is_told_nothing_is_known(tmp_path):
    assert caches._told_by_linux(tmp_path / "missing") == {}
    assert caches._told_by_linux(tmp_path) == {}


@pytest.mark.parametrize("size", ["", "K", "48", "48T", "many K"])
def test_a_size_that_makes_no_sense_is_passed_over(tmp_path, size):
    describe(tmp_path, 0, type="Data", level="1", size=size)
    describe(tmp_path, 1, type="Unified", level="2", size="512K")
    assert caches._told_by_linux(tmp_path) == {2: 512 * 2**10}


def test_a_description_with_a_file_missing_is_passed_over(tmp_path):
    describe(tmp_path, 0, type="Data", size="48K")
    describe(tmp_path, 1, type="Unified", level="deep", size="512K")
    assert caches._told_by_linux(tmp_path) == {}


def test_what_is_known_here_makes_sense():
    assert 0 < caches.L1_BYTES <= caches.L2_BYTES <= caches.LAST_LEVEL_BYTES
    assert caches.WAY_BYTES % 1024 == 0
