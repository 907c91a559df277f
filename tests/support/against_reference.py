"""Loss and gradients of a problem, compared with the reference."""

from __future__ import annotations

import numpy as np
import reference
from support.rounding import forward_bounds, gradient_bounds, loss_bound, unit_roundoff
from support.strategies import Problem


def rounding_of(problem: Problem) -> float:
    """That of the library and that of the reference."""
    return unit_roundoff(problem.dtype) + unit_roundoff(np.float64)


def assert_equals_reference(problem: Problem) -> None:
    """Loss and all gradients within the computed rounding of two correct evaluations."""
    oracle, net, unit = problem.reference(), problem.network(), rounding_of(problem)
    bound, bound_inputs, _ = gradient_bounds(oracle, problem.x, problem.y, unit)
    loss, gradients = net.loss_and_gradients(problem.x, problem.y)
    expected_loss, expected = reference.loss_and_gradients(oracle, problem.x, problem.y)
    f, _, error_f, _ = forward_bounds(oracle, problem.x, unit)
    assert abs(loss - expected_loss) <= loss_bound(oracle, f, error_f, problem.y, unit)
    assert gradients.flat.dtype == problem.dtype
    assert gradients.flat.shape == expected.flat.shape
    assert np.all(np.abs(gradients.flat - expected.flat) <= bound)
    assert gradients.inputs.shape == problem.x.shape
    difference = reference.as_columns(oracle.layout, gradients.inputs - expected.inputs)
    assert np.all(np.abs(difference) <= bound_inputs)
