"""Which steps of f are a part of it, and which are what few digits leave."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp.function.derivatives.line_slopes import _are_meant
from fastbp.function.derivatives.noise.hidden_noise import HiddenNoise

pytestmark = pytest.mark.small


def meant(heights: list[float], floor: float = 0.0, value: float = 1.0) -> list[bool]:
    """Tell of steps of some heights, half as wide as what moves is large."""
    noise = np.array(heights)
    hidden = HiddenNoise(np.where(noise > 0, 0.5, 0.0), noise, noise, np.ones(noise.size))
    everywhere = np.ones(noise.size)
    found: list[bool] = _are_meant(
        hidden, everywhere, value * everywhere, floor * everywhere
    ).tolist()
    return found


def test_low_steps_of_one_height_are_rounding() -> None:
    assert meant([1e-3, 1e-3]) == [False, False]
    assert meant([1e-3, 0.0, 16e-3], value=10.0) == [False, False, False]


def test_high_steps_or_of_different_heights_may_be_meant() -> None:
    assert meant([1e-2, 1e-2]) == [True, True]
    assert meant([1e-3, 0.0, 17e-3], value=10.0) == [True, False, True]


def test_a_single_line_is_judged_by_the_noise_that_others_have_shown() -> None:
    assert meant([1e-3]) == [False]
    assert meant([1e-3], floor=1e-3 / 255) == [False]
    assert meant([1e-3], floor=1e-3 / 257) == [True]
    assert meant([1e-3, 1e-3], floor=1e-3 / 257) == [False, False]
