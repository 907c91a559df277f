"""Jumps of a function at known places: how high they are, and what is none."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp.function.derivatives.noise.distant_jumps import (
    SLOPE_BEYOND,
    _continued,
    find_distant_jumps,
)

pytestmark = pytest.mark.small

JUMP = 2.0**-12
UNIT = 2.0**-53
# Two places that no grid has.
NEAR, FAR = 0.13, -0.27


def found_in(f, noise=0.0):
    """What is found, and after how many evaluations."""
    counted = []

    def along(steps):
        counted.extend(steps.tolist())
        return np.array([f(t) for t in steps.tolist()])

    jumps = find_distant_jumps(along, f(0.0), noise, UNIT)
    return jumps, len(counted)


def steps(*heights, places=(NEAR, FAR), slope=5.0):
    """Return 1 and a step of each height at each place, behind which f rises so much faster."""
    return lambda t: (
        1.0
        + sum(h * (1 + slope * (t - p)) * (t > p) for h, p in zip(heights, places, strict=False))
    )


@pytest.mark.parametrize("smooth", [np.zeros_like, np.sin, np.expm1])
def test_two_jumps_are_found_in_the_first_grid(smooth):
    """16 halvings for each and 12 values beside it, and 24 halvings more of the higher one."""
    jumps, evaluations = found_in(lambda t: steps(JUMP, -2 * JUMP)(t) + smooth(t))
    assert jumps.height == pytest.approx(2 * JUMP, rel=1e-6)
    assert jumps.distance == pytest.approx(NEAR, abs=0.025 * 2.0**-16)
    assert evaluations == 40 + 2 * 28 + 24


@pytest.mark.parametrize("f", [np.exp, np.sin, np.log1p, np.ones_like])
def test_what_is_smooth_does_not_jump(f):
    """Finer grids have a quarter of their values from others."""
    assert found_in(f) == (None, 40 + 30 + 30)


@pytest.mark.parametrize("power", [0.4, 0.75, 1.0])
def test_kinks_and_cusps_are_no_jumps(power):
    jumps, evaluations = found_in(lambda t: 1 + sum(abs(t - p) ** power for p in (NEAR, FAR)))
    assert jumps is None
    assert evaluations <= 190 + 12 * 6


@pytest.mark.parametrize("width", [2.0**-8, 2.0**-20, 2.0**-30])
def test_a_steep_rise_is_no_jump(width):
    def f(t):
        return 1 + JUMP * (np.tanh((t - NEAR) / width) + np.tanh((t - FAR) / width))

    assert found_in(f)[0] is None


@pytest.mark.parametrize(("share", "counts"), [(0.99, True), (1.01, False)])
def test_a_jump_alone_is_a_feature_of_f_from_a_2048th_on(share, counts):
    jumps, _ = found_in(steps(-share * 2.0**-11))
    assert (jumps is not None) == counts


@pytest.mark.parametrize(("share", "counts"), [(0.99, True), (1.02, False)])
def test_two_jumps_are_features_of_f_from_a_256th_on(share, counts):
    height = share * 2.0**-8
    jumps, _ = found_in(steps(-height, -height))
    assert (jumps is not None) == counts


def test_one_jump_in_two_grids_is_one():
    jumps, evaluations = found_in(steps(2.0**-12, places=(0.05,)))
    assert jumps.height == pytest.approx(2.0**-12, rel=1e-3)
    assert evaluations == 100 + 28 + 24
    assert found_in(steps(2.0**-10, places=(0.05,)))[0] is None


@pytest.mark.parametrize(("slope", "counts"), [(0.0, False), (0.05, False), (0.1, True)])
def test_a_number_that_is_added_on_one_side_is_a_feature_of_f(slope, counts):
    """The slopes are apart by a 512th of the jump, for a spacing of a 40th, or more."""
    f = steps(JUMP, -JUMP, slope=slope)
    assert (found_in(f)[0] is not None) == counts
    assert (found_in(lambda t: f(t) + np.sin(2 * t))[0] is not None) == counts


def test_noise_may_hide_another_slope():
    f = steps(JUMP, -JUMP, slope=0.0)
    assert found_in(f, JUMP / 4096 / 513)[0] is None
    assert found_in(f, JUMP / 4096 / 500)[0] is not None


@pytest.mark.parametrize(("times", "found"), [(40, False), (60, True)])
def test_a_jump_is_so_many_times_the_noise(times, found):
    noise = 2.0**-30
    jumps, _ = found_in(steps(times * noise, times * noise), noise)
    assert (jumps is not None) == found


@pytest.mark.parametrize("width", [0.1, 0.01, 7e-4, 3e-4])
def test_jumps_at_any_distance(width):
    jumps, evaluations = found_in(lambda t: 1.0 + JUMP * np.mod(t / width + 0.37, 1.0) ** 2)
    assert jumps.height == pytest.approx(JUMP, rel=1e-3)
    assert jumps.distance <= 4 * width
    assert evaluations <= 190 + 12 * 28 + 24


@pytest.mark.parametrize("beyond", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_no_jump(beyond):
    jumps, _ = found_in(lambda t: steps(JUMP, JUMP)(t) if t < 0.32 else beyond)
    assert jumps.height == pytest.approx(JUMP, rel=1e-3)
    assert found_in(lambda t: np.exp(t) if t < 0.1 else beyond)[0] is None
    assert found_in(lambda t: 1.0 if abs(t) < 1e-9 else beyond)[0] is None


def test_a_polynomial_of_degree_five_goes_on_as_it_is():
    values = np.array([float(t) ** 5 - 3 * float(t) ** 2 for t in range(-5, 1)])
    for beyond in (0.0, 0.25, 1.0):
        assert _continued(values, beyond) == pytest.approx(beyond**5 - 3 * beyond**2, abs=1e-9)
    assert SLOPE_BEYOND @ values == pytest.approx(5 - 6)
