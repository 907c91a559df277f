"""The oracle itself: the golden numbers, and its own gradient against its own loop."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from support import golden as numbers
from support.rounding import gradient_bounds, replay_bounds
from support.strategies import Problem, problems

pytestmark = pytest.mark.small


def test_golden_numbers(golden):
    weights, biases, x, y = golden
    net = reference.Reference(weights, biases)
    f, _ = reference.forward(net, x)
    loss, gradients = reference.loss_and_gradients(net, x, y)
    assert float(f[-1][0, 0]) == numbers.GOLDEN_OUTPUT
    assert loss == numbers.GOLDEN_LOSS
    for d_bias, expected in zip(gradients.biases, numbers.GOLDEN_D_BIASES, strict=True):
        np.testing.assert_allclose(d_bias.ravel(), expected, rtol=0, atol=6e-13)
    norms = [f"{np.linalg.norm(d_weight):.12g}" for d_weight in gradients.weights]
    assert [float(n) for n in norms] == [float(n) for n in numbers.GOLDEN_NORMS]
    assert [int((v > 0).sum()) for v in f[:-1]] == numbers.GOLDEN_ACTIVE_UNITS
    assert net.flat.size == 187


@settings(max_examples=15)
@given(problems(values=("normal",), max_size=7, max_batch=4))
def test_gradient_is_the_limit_of_the_loop(problem: Problem):
    net = problem.reference()
    quotients, kinks = reference.finite_differences(net, problem.x, problem.y)
    _, gradients = reference.loss_and_gradients(net, problem.x, problem.y)
    bounds, doubts = replay_bounds(net, problem.x, problem.y, scheme="central", delta=1e-6)
    error, *_ = gradient_bounds(net, problem.x, problem.y, 2.0**-53)
    judged = ~kinks & ~doubts
    # A central difference of a smooth piece is off by delta**2 / 6 times the third derivative.
    truncation = 1e-9 * (1 + np.abs(gradients.flat))
    allowed = bounds + error + truncation
    assert np.all(np.abs(quotients - gradients.flat)[judged] <= allowed[judged])
