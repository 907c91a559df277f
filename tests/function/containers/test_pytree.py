"""Containers: registered classes, lists of numbers, leaves without a derivative or an entry."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optree
import pytest
import torch

import fastbp

pytestmark = pytest.mark.small

AT = np.array([1.0, 2.0, 3.0])


@jax.tree_util.register_pytree_node_class
class Registered:
    def __init__(self, w: Any, power: int = 2) -> None:
        self.w, self.power = w, power

    def tree_flatten(self) -> Any:
        return (self.w,), self.power

    @classmethod
    def tree_unflatten(cls, power: int, children: Any) -> Registered:
        return cls(*children, power)


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Layer:
    w: Any
    activation: str = dataclasses.field(metadata={"static": True}, default="tanh")


@optree.register_pytree_node_class(namespace="fastbp tests")
class Elsewhere:
    def __init__(self, w: Any) -> None:
        self.w = w

    def tree_flatten(self) -> Any:
        return (self.w,), None, ("w",)

    @classmethod
    def tree_unflatten(cls, _: Any, children: Any) -> Elsewhere:
        return cls(*children)


@dataclasses.dataclass
class Plain:
    w: Any
    b: float


class Named(NamedTuple):
    w: Any
    b: float


def squares(x: Any) -> Any:
    return (x**2).sum()


def loss(p: Any) -> Any:
    return squares(p.w) * p.b


class TestRegisteredClasses:
    def test_a_class_of_jax_is_taken_apart_and_put_together(self) -> None:
        def f(p: Registered) -> Any:
            return (p.w**p.power).sum()

        right = fastbp.check_gradient(f, lambda p: Registered(2 * p.w), Registered(AT))
        assert right.verdict == "passed"
        wrong = fastbp.check_gradient(f, lambda p: Registered(2.1 * p.w), Registered(AT))
        assert {failure.where for failure in wrong.failures} == {"p.w[0]", "p.w[1]", "p.w[2]"}

    def test_fields_of_jax_that_are_static_are_no_leaves(self) -> None:
        def f(layer: Layer) -> Any:
            return getattr(jnp, layer.activation)(layer.w).sum()

        assert fastbp.check_gradient(f, jax.grad(f), Layer(jnp.asarray(AT)))

    def test_a_class_of_jax_may_be_a_result(self) -> None:
        at = np.array([0.5, 1.5])
        assert fastbp.check_vjp(lambda x: Registered(x**2), lambda x, w: 2 * x * w.w, at)
        report = fastbp.check_jvp(
            lambda x: Registered(x**2), lambda x, v: Registered(2.1 * x * v), at
        )
        assert [row.name for row in report.arrays] == ["output.w by x"]
        assert report.verdict == "failed"

    @pytest.mark.parametrize("kind", [Plain, Named])
    def test_dataclasses_and_named_tuples_may_hold_tensors(self, kind: Any) -> None:
        at = kind(torch.tensor(AT), 2.0)
        report = fastbp.check_gradient(loss, lambda p: kind(2 * p.b * p.w, float(squares(p.w))), at)
        assert report.verdict == "passed"
        assert [row.name for row in report.arrays] == ["p.w", "p.b"]

    def test_what_is_registered_nowhere_is_refused(self) -> None:
        with pytest.raises(fastbp.DTypeError, match="p must be an array or a float, not Elsewhere"):
            fastbp.check_gradient(loss, loss, Elsewhere(AT))


class TestListsOfNumbers:
    @staticmethod
    def f(x: Any) -> Any:
        return x[0] ** 2 + x[1] * x[2]

    @pytest.mark.parametrize(
        "at", [[1.0, 2.0, 3.0], [1, 2.0, 3.0], AT], ids=["list", "int", "array"]
    )
    @pytest.mark.parametrize("kind", [list, np.array], ids=["a list", "an array"])
    def test_a_list_is_as_good_as_a_vector(self, at: Any, kind: Any) -> None:
        right = fastbp.check_gradient(self.f, lambda x: kind([2 * x[0], x[2], x[1]]), at)
        assert right.verdict == "passed"
        wrong = fastbp.check_gradient(self.f, lambda x: kind([2 * x[0], x[1], x[1]]), at)
        assert [failure.where for failure in wrong.failures] == ["x[1]"]

    def test_integers_of_python_are_exact_numbers(self) -> None:
        assert fastbp.check_gradient(self.f, [2, 3, 2], [1.0, 2.0, 3.0])
        assert fastbp.check_gradient(lambda x: 2 * x, lambda _: 2, 1.5)

    def test_a_nested_list_is_as_good_as_a_matrix(self) -> None:
        at = np.arange(6.0).reshape(2, 3)
        assert fastbp.check_gradient(squares, lambda x: (2 * x).tolist(), at)

    @pytest.mark.parametrize("length", [2, 4])
    def test_a_vector_of_another_length_is_a_finding(self, length: int) -> None:
        report = fastbp.check_gradient(self.f, lambda _: np.ones(length), [1.0, 2.0, 3.0])
        assert report.verdict == "failed"
        with pytest.raises(fastbp.ShapeError, match="there is none for x"):
            fastbp.check_gradient(squares, [1.0] * length, AT)


class TestLeavesWithoutADerivative:
    at = {"n": 3, "w": AT, "which": np.array([True, False, True])}  # noqa: RUF012

    @staticmethod
    def f(p: Any) -> Any:
        assert type(p["n"]) is int
        assert p["which"].dtype == bool
        return (p["w"][p["which"]] ** p["n"]).sum()

    @staticmethod
    def slope(p: Any) -> Any:
        return p["which"] * p["n"] * p["w"] ** (p["n"] - 1)

    @pytest.mark.parametrize(
        "nothing",
        [None, 0, np.zeros((), jax.dtypes.float0), 0.0],
        ids=["None", "0", "float0", "0.0"],
    )
    def test_they_are_held_fixed_and_the_report_says_so(self, nothing: Any) -> None:
        report = fastbp.check_gradient(
            self.f, lambda p: {"n": nothing, "w": self.slope(p), "which": None}, self.at
        )
        assert report.verdict == "passed"
        assert report.notes[:2] == (
            "p['n'] is held fixed: int has no derivative",
            "p['which'] is held fixed: bool has no derivative",
        )

    def test_they_may_be_missing_from_the_gradient(self) -> None:
        assert fastbp.check_gradient(self.f, lambda p: {"w": self.slope(p)}, self.at)

    def test_a_derivative_by_one_is_a_finding(self) -> None:
        report = fastbp.check_gradient(self.f, lambda p: {"n": 1.0, "w": self.slope(p)}, self.at)
        assert report.verdict == "failed"
        assert report.arrays[-1].reason == "p['n'] has no derivative, but is given one"

    def test_the_value_itself_is_no_derivative(self) -> None:
        report = fastbp.check_gradient(self.f, lambda p: p | {"w": self.slope(p)}, self.at)
        assert report.verdict == "passed"

    def test_the_numerical_gradient_is_nan_there(self) -> None:
        found = fastbp.numerical_gradient(self.f, self.at)
        assert np.isnan(found.value["n"])
        assert np.isnan(found.value["which"]).all()
        assert found.value["w"] == pytest.approx([3.0, 0.0, 27.0])

    def test_the_users_own_are_not_changed(self) -> None:
        def f(p: Any) -> Any:
            p["which"][:] = False
            return squares(p["w"])

        at = {"w": AT, "which": np.array([True, False, True])}
        fastbp.check_gradient(f, lambda p: {"w": 2 * p["w"]}, at)
        assert at["which"].tolist() == [True, False, True]

    def test_products_leave_them_out(self) -> None:
        at = {"index": torch.tensor([0, 2]), "table": torch.arange(4.0)}
        report = fastbp.check_vjp(
            lambda p: p["table"][p["index"]] ** 2,
            lambda p, w: {"table": torch.zeros(4).index_add(
                0, p["index"], (2 * w * p["table"][p["index"]]).float())},
            at,
        )  # fmt: skip
        assert report.verdict == "passed"
        assert "p['index'] is held fixed: int64 has no derivative" in report.notes

    def test_results_may_have_them_beside_floats(self) -> None:
        def f(x: Any) -> Any:
            return {"largest": np.argmax(x), "y": x**2}

        assert fastbp.check_vjp(f, lambda x, w: 2 * x * w["y"], AT)
        assert fastbp.check_jvp(f, lambda x, v: {"y": 2 * x * v}, AT)

    def test_bounds_are_those_of_the_others(self) -> None:
        low, high = {**self.at, "w": AT - 1, "n": 0}, {**self.at, "w": AT + 1, "n": 9}
        report = fastbp.check_gradient(
            self.f, lambda p: {"w": self.slope(p)}, self.at, bounds=(low, high)
        )
        assert report.verdict == "passed"


class TestNothing:
    at = {"none": np.zeros((0, 2)), "w": AT}  # noqa: RUF012

    @pytest.mark.parametrize("method", ["every", "probe"])
    def test_an_empty_leaf_beside_others_is_untested(self, method: str) -> None:
        report = fastbp.check_gradient(
            lambda p: squares(p["w"]), lambda p: {"none": p["none"], "w": 2 * p["w"]}, self.at,
            method=method,
        )  # fmt: skip
        assert [row.verdict for row in report.arrays] == ["untested", "passed"]

    def test_an_empty_leaf_of_another_shape_is_a_finding(self) -> None:
        report = fastbp.check_gradient(
            lambda p: squares(p["w"]), lambda p: {"none": p["none"].T, "w": 2 * p["w"]}, self.at
        )
        assert report.arrays[0].reason == "must have shape (0, 2), not (2, 0)"

    @pytest.mark.parametrize("method", ["every", "probe"])
    def test_products_pass_beside_empty_leaves(self, method: str) -> None:
        def vjp(p: Any, w: Any) -> Any:
            return {"none": p["none"], "w": 2 * p["w"] * w[1]}

        def jvp(p: Any, v: Any) -> Any:
            return v["w"][:0], 2 * p["w"] * v["w"]

        def f(p: Any) -> Any:
            return p["w"][:0], p["w"] ** 2

        assert fastbp.check_vjp(f, vjp, self.at, jvp=jvp, method=method)
        assert fastbp.check_jvp(f, jvp, self.at, vjp=vjp, method=method)

    def test_an_empty_result_alone_tests_nothing(self) -> None:
        report = fastbp.check_vjp(lambda x: x[:0], lambda x, _: 0 * x, AT)
        assert report.verdict == "vacuous"


def test_a_result_of_one_entry_is_a_number() -> None:
    ones = np.ones((3, 1))
    assert fastbp.check_gradient(lambda x: x @ ones, lambda _: np.ones(3), AT)
    assert fastbp.check_gradient(
        lambda x: jnp.asarray(x) @ ones, lambda _: np.ones(3), jnp.asarray(AT)
    )


class TestWordsBesideFloats:
    def test_they_are_held_fixed(self) -> None:
        @dataclasses.dataclass
        class Layer:
            weight: np.ndarray
            activation: str

        def gradient(layer: Layer) -> Layer:
            return dataclasses.replace(layer, weight=np.cos(layer.weight))

        layer = Layer(np.array([0.5, -1.0]), "sine")
        functions = {"sine": np.sin}
        report = fastbp.check_gradient(
            lambda layer: np.sum(functions[layer.activation](layer.weight)), gradient, layer
        )
        assert report.verdict == "passed"
        assert "layer.activation is held fixed: str has no derivative" in report.notes

    def test_alone_they_are_no_argument(self) -> None:
        with pytest.raises(fastbp.DTypeError, match="not str"):
            fastbp.numerical_gradient(len, {"name": "w"})
