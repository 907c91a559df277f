"""What check_gradient refuses, with the argument named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.gradient_checks import square

import fastbp
from fastbp.errors import DTypeError, EvaluationError, OptionError, ShapeError

pytestmark = pytest.mark.small


@pytest.mark.parametrize(
    ("gradient", "error", "message"),
    [
        (None, ShapeError, "gradient must be a function or have the structure of x"),
        ("text", DTypeError, "gradient must be an array of floats, not str."),
        ([np.ones(3)], ShapeError, r"there is none for x; there is no parameter for gradient\[0\]"),
    ],
)
def test_bad_gradients(gradient: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fastbp.check_gradient(square, gradient, np.ones(3))


def test_a_gradient_function_that_raises() -> None:
    with pytest.raises(EvaluationError, match="gradient raised KeyError at the point"):
        fastbp.check_gradient(square, lambda _: {}["k"], np.ones(3))


def test_a_direction_that_raises_is_named() -> None:
    def f(x: np.ndarray) -> float:
        if np.any(x != 1):
            raise RuntimeError("diverged")
        return 1.0

    with pytest.raises(EvaluationError, match=r"with x moved by .* at random: diverged"):
        fastbp.check_gradient(f, np.ones(3), np.ones(3), method="probe")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "all"}, r"method must be one of 'auto', 'every', 'probe', not 'all'."),
        ({"rtol": -1}, "rtol must be None or a finite number of at least 0"),
        ({"atol": "x"}, "atol must be None or a finite number"),
        ({"budget": np.inf}, "budget must be a finite number of at least 0"),
        ({"most": 0}, "most must be an integer of at least 1, not 0."),
        ({"seed": -1}, "seed must be an integer of at least 0, not -1."),
        ({"vectorized": "yes"}, "vectorized must be True or False, not 'yes'."),
        ({"workers": 0}, "workers must be None, a number of processes, or -1"),
        ({"workers": 1.5}, "workers must be None, a number of processes, or -1"),
        ({"workers": 2, "vectorized": True}, "workers and vectorized exclude each other"),
        ({"progress": 1}, "progress must be None, True or False, not 1."),
    ],
)
def test_senseless_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        fastbp.check_gradient(square, np.ones(2), np.ones(2), **options)


@pytest.mark.parametrize(
    ("check", "arguments", "name"),
    [
        ("check_gradient", (3, np.sin), "f"),
        ("numerical_gradient", (3,), "f"),
        ("taylor_test", (3, np.sin), "f"),
        ("check_vjp", (3, np.multiply), "f"),
        ("check_vjp", (np.sin, np.ones(2)), "vjp"),
        ("check_jvp", (np.sin, None), "jvp"),
        ("check_jacobian", (3, np.eye(2)), "f"),
        ("check_hessian", (np.ones(2), np.eye(2)), "gradient"),
        ("check_hvp", (np.ones(2), np.multiply), "gradient"),
        ("check_hvp", (np.sin, np.eye(2)), "hvp"),
    ],
)
def test_what_cannot_be_called_is_refused_before_anything_is(
    check: str, arguments: Any, name: str
) -> None:
    with pytest.raises(DTypeError, match=rf"^{name} must be callable, not"):
        getattr(fastbp, check)(*arguments, np.ones(2))
