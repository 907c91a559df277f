"""Arguments beyond all measure: an error of ours, at once."""

from __future__ import annotations

import numpy as np
import pytest

import fastbp

pytestmark = pytest.mark.small

HUGE = 10**400
NET = fastbp.Network.random([2, 3, 1])
X, Y = np.ones((2, 4)), np.zeros((1, 4))


def square(x):
    return float(x @ x)


@pytest.mark.parametrize("option", ["rtol", "atol"])
def test_tolerances_beyond_the_largest_float(option: str) -> None:
    with pytest.raises(fastbp.OptionError, match=f"{option} must be .*, not an integer beyond"):
        fastbp.check_network(NET, X, Y, **{option: HUGE})
    with pytest.raises(fastbp.OptionError, match=f"{option} must be .*, not an integer beyond"):
        fastbp.check_gradient(square, np.ones(2), np.ones(2), **{option: HUGE})


@pytest.mark.parametrize("option", ["scale", "weight_decay", "relu_at_zero"])
def test_options_of_a_network_beyond_the_largest_float(option: str) -> None:
    with pytest.raises(fastbp.OptionError, match=f"{option} must be .*, not an integer beyond"):
        fastbp.Network([np.eye(2)], **{option: HUGE})


@pytest.mark.parametrize("directions", [1001, 10**12, HUGE])
def test_more_random_vectors_than_there_is_memory(directions: int) -> None:
    with pytest.raises(fastbp.OptionError, match=r"directions must be at most 1,000\."):
        fastbp.check_network(NET, X, Y, directions=directions)


def nested(depth: int) -> object:
    value: object = np.ones(1)
    for _ in range(depth):
        value = [value]
    return value


def cyclic() -> list[object]:
    value: list[object] = [np.ones(1)]
    value.append(value)
    return value


@pytest.mark.parametrize("value", [nested(10_000), cyclic()], ids=["deep", "cyclic"])
def test_containers_without_an_end(value: object) -> None:
    for check in (
        lambda: fastbp.check_gradient(square, np.ones(2), value),
        lambda: fastbp.check_gradient(square, value, np.ones(2)),
        lambda: fastbp.numerical_gradient(square, value),
    ):
        with pytest.raises(fastbp.DTypeError, match=r"^\w+ is nested too deeply, or holds itself"):
            check()


def test_a_gradient_of_an_integer_beyond_all_floats_is_refused():
    with pytest.raises(fastbp.FastbpError, match=r"gradient\[1\]"):
        fastbp.check_gradient(lambda x: x[0] * x[1], (1.0, HUGE), (1.0, 2.0))
