"""Loss and gradients: the golden numbers, the reference on all shapes, and the bits."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from hypothesis import assume, given
from support import golden as numbers
from support.against_reference import assert_equals_reference, rounding_of
from support.rounding import gradient_bounds
from support.strategies import LAYOUTS, Problem, make_problem, problems

import fastbp
from fastbp.errors import NonFiniteError


def rounding_decides_a_mask(problem: Problem) -> bool:
    return gradient_bounds(
        problem.reference(), problem.x, problem.y, rounding_of(problem)
    ).masks_in_doubt


# ---- golden numbers ----


@pytest.mark.small
def test_golden_numbers(golden):
    weights, biases, x, y = golden
    net = fastbp.Network(weights, biases)
    result = net.forward(x)
    # The last digit known, the fifteenth, is one of rounding: a unit of it is 5 units of the float.
    assert abs(float(result.output[0, 0]) - numbers.GOLDEN_OUTPUT) < 1e-15
    assert f"{float(result.output[0, 0]):.3f}" == "1.907"
    loss, gradients = net.loss_and_gradients(x, y)
    assert f"{loss:.13f}" == f"{numbers.GOLDEN_LOSS:.13f}"
    for d_bias, expected in zip(gradients.biases, numbers.GOLDEN_D_BIASES, strict=True):
        assert [f"{v + 0.0:.12f}" for v in d_bias.ravel()] == [f"{v:.12f}" for v in expected]
    first = [f"{v + 0.0:.8f}" for v in gradients.weights[0].ravel()]
    assert first == [f"{v:.8f}" for v in numbers.GOLDEN_D_FIRST_WEIGHTS]
    last = [f"{v + 0.0:.12f}" for v in gradients.weights[-1].ravel()]
    assert last == [f"{v:.12f}" for v in numbers.GOLDEN_D_LAST_WEIGHTS]
    for d_weight, printed in zip(gradients.weights, numbers.GOLDEN_NORMS, strict=True):
        places = len(printed.split(".")[1])
        assert f"{np.linalg.norm(d_weight):.{places}f}" == printed
    active = [int((f > 0).sum()) for f in result.preactivations[:-1]]
    assert active == numbers.GOLDEN_ACTIVE_UNITS
    smallest = min(float(np.abs(f).min()) for f in result.preactivations[:-1])
    assert f"{smallest:.3f}" == "0.602"


# ---- against the reference ----


@pytest.mark.small
@given(problems(max_size=9, max_batch=5))
def test_small_problems_equal_the_reference(problem: Problem):
    assume(not rounding_decides_a_mask(problem))
    assert_equals_reference(problem)


@given(problems())
def test_problems_around_the_tile_sizes_equal_the_reference(problem: Problem):
    assume(not rounding_decides_a_mask(problem))
    assert_equals_reference(problem)


@pytest.mark.long
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("sizes", "batch"),
    [
        ([784, 128, 10], 1),
        ([784, 129, 10], 65),
        ([1, 1000, 1], 7),
        ([1000, 1, 1000], 3),
        ([257, 255, 256, 3], 130),
        ([3, 2], 2049),
        ([64, 512, 512, 10], 64),
    ],
    ids=str,
)
def test_large_and_odd_shapes_equal_the_reference(sizes, batch, dtype):
    problem = make_problem(sizes, batch, dtype=dtype)
    if rounding_decides_a_mask(problem):
        # So it is in a large float32 net, whatever the seed. Small weights and large biases
        # leave no doubt: each unit is far on or far off.
        for weight, bias in zip(problem.weights, problem.biases, strict=True):
            weight *= 0.05
            bias += np.where(bias > 0, 20, -20).astype(dtype)
    assert not rounding_decides_a_mask(problem)
    assert_equals_reference(problem)


@pytest.mark.small
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("relu_at_zero", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_integers_give_the_very_same_bits(layout, relu_at_zero, dtype):
    """Small integers are summed exactly in every order; many pre-activations are exactly 0."""
    for seed in range(8):
        problem = make_problem(
            [3, 5, 7, 4, 2], 9, seed=seed, dtype=dtype, layout=layout, values="integers",
            relu_at_zero=relu_at_zero, scale=0.5, weight_decay=0.25,
        )  # fmt: skip
        oracle = problem.reference()
        f, _ = reference.forward(oracle, problem.x)
        assert any(np.any(v == 0) for v in f[:-1])
        loss, gradients = problem.network().loss_and_gradients(problem.x, problem.y)
        expected_loss, expected = reference.loss_and_gradients(oracle, problem.x, problem.y)
        assert loss == expected_loss
        np.testing.assert_array_equal(gradients.flat, expected.flat)
        np.testing.assert_array_equal(gradients.inputs, expected.inputs)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "sizes",
    [[130, 129, 257, 3], [3, 2050, 5, 2], [2050, 130, 1], [1, 300, 2049, 1]],
    ids=str,
)
def test_one_sample_through_wide_layers_equals_the_reference(sizes, layout, dtype):
    """Over 128 rows there are several partial sums, over 2048 columns several pieces of each."""
    problem = make_problem([*sizes], 1, layout=layout, dtype=dtype, weight_decay=0.25)
    for weight, bias in zip(problem.weights, problem.biases, strict=True):
        weight *= 0.05
        bias += np.where(bias > 0, 20, -20).astype(dtype)  # each unit is far on or far off
    f, _ = reference.forward(problem.reference(), problem.x)
    assert all(np.any(v < 0) for v in f[:-1] if v.size > 9)
    assert all(np.any(v > 0) for v in f[:-1] if v.size > 9)
    assert not rounding_decides_a_mask(problem)
    assert_equals_reference(problem)


@pytest.mark.small
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_nan_behind_a_unit_that_is_off_is_noticed(layout, batch):
    """Although its row adds nothing: in every layout and batch alike."""
    problem = make_problem([3, 4, 2], batch, layout=layout)
    net = problem.network()
    net.biases[0][...] = -100.0
    net.weights[1][...] = np.nan
    with pytest.raises(NonFiniteError, match=r"weights\[1\]"):
        net.loss_and_gradients(problem.x, problem.y)
