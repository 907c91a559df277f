"""How far a climb along a line goes, and what it takes for a kink: evaluations counted."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp.function.derivatives.line_slopes import measure_lines

pytestmark = pytest.mark.small

UNIT = 2.0**-53


def measured(f, shared_noise=0.0):
    """Slopes of f at 0 along one line, and the steps that were taken."""
    steps = []

    def evaluate(_, displacements):
        steps.append(np.abs(displacements))
        return displacements, f(displacements)

    lines = measure_lines(
        evaluate, f(np.zeros(1)), np.array([2.0**-24]), np.array([2.0**-3]), UNIT, shared_noise,
        size=np.ones(1),
    )  # fmt: skip
    return lines, np.concatenate(steps)


def taken(f):
    """The longest step, as a power of two."""
    return int(np.log2(measured(f)[1].max()))


def test_noise_that_is_known_is_in_the_bar():
    """A line is measured with its longest step, 2**-4, over which noise is divided."""
    for known in (1e-9, 1e-6):
        lines, _ = measured(lambda t: 1.0 + 3.0 * t, known)
        assert lines.noise.tolist() == [known]
        assert lines.error_bar[0] == pytest.approx(6 * known * 16 * (1 + 4 / 2), rel=1e-3)


def test_a_straight_line_is_climbed_to_the_end():
    lines, steps = measured(lambda t: 1.0 + 3.0 * t)
    assert np.log2(steps).max() == -4  # 4 * 2**-24 times powers of 4, up to 2**-3
    assert lines.slope[0] == pytest.approx(3.0, abs=1e-14)
    assert not lines.kink[0]


@pytest.mark.parametrize(("third", "longest"), [(1e-3, -8), (1.0, -12), (1e3, -16), (1e6, -18)])
def test_a_climb_ends_where_two_changes_are_64_times_their_noise(third, longest):
    """The slope of t + c t**3 changes by 15 c h**2 from h to 4 h; its noise is 6 n / h."""
    noise = 0.6 * UNIT  # of values near 1

    def bends(step):  # of a step and the one before: both beyond
        changes = 15 * third * np.array([step / 16, step / 4]) ** 2
        return np.all(changes > 64 * 6 * noise / np.array([step / 4, step]))

    step = 2.0**-22
    while 4 * step <= 2.0**-3 and not bends(step):
        step *= 4
    assert step == 2.0**longest
    assert taken(lambda t: 1.0 + t + third * t**3) == longest


@pytest.mark.parametrize(("power", "kink"), [(1.0, True), (1.6, True), (1.8, False), (1.95, False)])
def test_a_bend_that_shrinks_with_the_step_is_no_kink(power, kink):
    """Of |t|**p two bends leave (4 - 4**(p - 1)) / 3 of the shorter: more than half is a kink."""
    assert ((4 - 4 ** (power - 1)) / 3 > 0.5) == kink
    lines, _ = measured(lambda t: 1.0 + np.abs(t) ** power)
    assert lines.kink[0] == kink
