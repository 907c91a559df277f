"""Functions of several arguments, and those that return their value and their gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastbp

pytestmark = pytest.mark.small

W, B = np.arange(6.0).reshape(2, 3), np.array([0.5, -1.0])


def f(weight: Any, bias: Any, power: int = 2) -> Any:
    return ((weight.sum(1) + bias) ** power).sum()


def gradient(weight: Any, bias: Any, power: int = 2) -> Any:
    slope = power * (weight.sum(1) + bias) ** (power - 1)
    return slope[:, np.newaxis] * np.ones_like(weight), slope


class TestUnpack:
    def test_arguments_are_called_as_the_function_calls_them(self) -> None:
        report = fastbp.check_gradient(f, gradient, (W, B), unpack=True)
        assert report.verdict == "passed"
        assert [row.name for row in report.arrays] == ["weight", "bias"]
        assert report.function == "gradient of f(weight, bias)"

    def test_a_wrong_entry_is_named_so(self) -> None:
        def wrong(weight: Any, bias: Any) -> Any:
            by_weight, by_bias = gradient(weight, bias)
            by_bias[1] += 0.5
            return by_weight, by_bias

        report = fastbp.check_gradient(f, wrong, (W, B), unpack=True)
        assert [failure.where for failure in report.failures] == ["bias[1]"]

    def test_integers_are_held_fixed_by_name(self) -> None:
        report = fastbp.check_gradient(f, gradient, (W, B, 3), unpack=True)
        assert report.verdict == "passed"
        assert report.notes[0] == "power is held fixed: int has no derivative"

    def test_a_dict_gives_arguments_by_name(self) -> None:
        def by_name(**at: Any) -> Any:
            return dict(zip(("weight", "bias"), gradient(**at), strict=True))

        report = fastbp.check_gradient(f, by_name, {"bias": B, "weight": W}, unpack=True)
        assert report.verdict == "passed"
        assert [row.name for row in report.arrays] == ["bias", "weight"]

    def test_more_arguments_than_names_are_counted(self) -> None:
        report = fastbp.check_gradient(
            lambda *parts: sum(part.sum() for part in parts),
            lambda *parts: tuple(np.ones_like(part) for part in parts), (W, B), unpack=True,
        )  # fmt: skip
        assert [row.name for row in report.arrays] == ["args[0]", "args[1]"]

    def test_products_get_their_vector_last(self) -> None:
        def outputs(weight: Any, bias: Any) -> Any:
            return weight.sum(1) * bias

        def vjp(weight: Any, bias: Any, w: Any) -> Any:
            return np.outer(w * bias, np.ones(3)), w * weight.sum(1)

        def jvp(weight: Any, bias: Any, v: Any) -> Any:
            return v[0].sum(1) * bias + weight.sum(1) * v[1]

        assert fastbp.check_vjp(outputs, vjp, (W, B), jvp=jvp, unpack=True)
        report = fastbp.check_jvp(outputs, jvp, (W, B), unpack=True)
        assert [row.name for row in report.arrays] == ["output by weight", "output by bias"]

    def test_the_numerical_gradient_is_a_tuple_like_the_arguments(self) -> None:
        found = fastbp.numerical_gradient(f, (W, B), unpack=True)
        for one, other in zip(found.value, gradient(W, B), strict=True):
            assert one == pytest.approx(other)

    def test_what_is_no_tuple_is_refused(self) -> None:
        with pytest.raises(fastbp.DTypeError, match="at must be a tuple of arguments, or a dict"):
            fastbp.check_gradient(f, gradient, W, unpack=True)
        with pytest.raises(fastbp.OptionError, match="unpack must be True or False, not 1"):
            fastbp.check_gradient(f, gradient, (W, B), unpack=1)  # type: ignore[arg-type]


class TestValueAndGradient:
    @staticmethod
    def both(x: Any) -> Any:
        return np.sum(x**3), 3 * x**2

    def test_true_takes_the_gradient_that_f_returns(self) -> None:
        assert fastbp.check_gradient(self.both, True, B)

    def test_a_wrong_one_is_found(self) -> None:
        report = fastbp.check_gradient(lambda x: (np.sum(x**3), 2 * x**2), True, B)
        assert (report.verdict, report.wrong) == ("failed", 2)

    def test_with_several_arguments(self) -> None:
        report = fastbp.check_gradient(
            lambda weight, bias: (f(weight, bias), gradient(weight, bias)), True, (W, B),
            unpack=True,
        )  # fmt: skip
        assert report.verdict == "passed"

    def test_a_function_of_one_result_is_refused(self) -> None:
        with pytest.raises(fastbp.ShapeError, match=r"f must return .value, gradient. where gradi"):
            fastbp.check_gradient(lambda x: np.sum(x**3), True, B)
