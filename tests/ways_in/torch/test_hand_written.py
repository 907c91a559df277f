"""Mistakes that only a backward pass written by somebody makes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import fastbp  # noqa: E402
import fastbp.torch  # noqa: E402
from fastbp.torch.autodiff.hand_written import findings_where_some_are_fixed  # noqa: E402

X = torch.tensor([0.3, -0.7, 1.1], dtype=torch.float64)
Y = torch.tensor([1.5, 0.4, -2.0], dtype=torch.float64)
ONE_PART = "gives another gradient by {} where none is wanted by {}"


class Product(torch.autograd.Function):
    """x y, with a choice of mistakes."""

    @staticmethod
    def forward(ctx: Any, x: Any, y: Any, mistake: str) -> Any:
        ctx.mistake = mistake
        ctx.save_for_backward(x, y.clone() if mistake == "saved" else y)
        return x * y

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        x, y = ctx.saved_tensors
        by_x, by_y, _ = ctx.needs_input_grad
        alone = ctx.mistake == "alone" and not by_y
        found = (2 if alone else 1) * gradient * y if by_x else None, gradient * x if by_y else None
        if ctx.mistake == "swapped" and not (by_x and by_y):
            found = found[::-1]
        if ctx.mistake == "saved":
            y.data.mul_(2)  # which torch does not notice
        return *found, None


class Layer(torch.nn.Module):
    def __init__(self, mistake: str) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(Y.clone())
        self.mistake = mistake

    def forward(self, x: Any) -> Any:
        return Product.apply(x, self.weight, self.mistake)


def check(mistake: str) -> Any:
    return fastbp.torch.check_function(Product.apply, X, Y, mistake, seed=0)


def test_a_right_one_passes() -> None:
    assert check("").verdict == "passed"
    assert fastbp.torch.check_module(Layer(""), X, seed=0).verdict == "passed"


def test_one_that_changes_what_it_has_saved_fails() -> None:
    row = check("saved").arrays[-1]
    assert (row.name, row.verdict) == ("backward", "failed")
    assert row.reason.startswith("gives another result when the same graph is asked again")


@pytest.mark.parametrize("mistake", ["alone", "swapped"])
def test_one_that_is_wrong_beside_fixed_tensors_fails(mistake: str) -> None:
    report = check(mistake)
    row = report.arrays[-1]
    assert (row.name, row.verdict) == ("backward", "failed")
    assert row.reason in {
        ONE_PART.format("inputs[0]", "inputs[1]"), ONE_PART.format("inputs[1]", "inputs[0]")
    }  # fmt: skip
    assert [other.verdict for other in report.arrays[:-1]] == ["passed", "passed"]


def test_a_layer_that_is_wrong_where_its_weight_is_frozen_fails() -> None:
    layer = Layer("alone")
    report = fastbp.torch.check_module(torch.nn.Sequential(layer, torch.nn.Tanh()), X, seed=0)
    row = report.arrays[0]
    assert (row.name, row.verdict) == ("0: Layer", "failed")
    assert row.reason == ONE_PART.format("input[0]", "weight")
    assert layer.weight.requires_grad


def test_operators_of_torch_are_asked_no_more_than_before() -> None:
    layers = torch.nn.LayerNorm(3), torch.nn.Linear(3, 2)
    report = fastbp.torch.check_module(torch.nn.Sequential(*layers), X[None].float(), seed=0)
    # One backward pass to record, one of each layer alone, one of the whole.
    assert "14 forward passes of layers and 6 backward" in report.notes[0]


def test_a_derivative_inside_needs_all_its_tensors() -> None:
    def forces(x: Any, y: Any) -> Any:
        energy = Product.apply(x, y, "").square().sum()
        return torch.autograd.grad(energy, [x, y], create_graph=True)

    assert fastbp.torch.check_function(forces, X, Y, seed=0).verdict == "passed"


def test_many_names_are_not_all_told() -> None:
    names = list("abcdefgh")
    gradients = [np.ones(1)] * 8
    [finding] = findings_where_some_are_fixed(
        names, gradients, lambda _: [np.zeros(1)] * 8, np.random.default_rng(0)
    )
    assert finding.endswith(", ...")
    assert len(set(finding) & set(", ")) == 2


class Twice(torch.autograd.Function):
    """2 x in both modes."""

    @staticmethod
    def forward(x: Any) -> Any:
        return 2 * x

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(_: Any, gradient: Any) -> Any:
        return 2 * gradient

    @staticmethod
    def jvp(_: Any, tangent: Any) -> Any:
        return 3 * tangent


def test_a_forward_mode_that_nobody_asked_for_is_noted() -> None:
    note = "f has a forward mode of its own: forward_ad=True checks it too"
    report = fastbp.torch.check_function(Twice.apply, X, seed=0)
    assert report.verdict == "passed"
    assert note in report.notes
    asked = fastbp.torch.check_function(Twice.apply, X, seed=0, forward_ad=True)
    assert asked.verdict == "failed"
    assert note not in asked.notes
    assert note not in check("").notes


def in_place(how: str) -> Any:
    class Changes(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            ctx.kept = x
            return x**2

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            found = 2 * gradient * ctx.kept
            if how == "zeroed":
                ctx.kept.zero_()
            if how == "clamped":  # which changes nothing the second time, and here nothing at all
                ctx.kept.clamp_(-9, 9)
            return found

    return Changes.apply


@pytest.mark.parametrize("how", ["zeroed", "clamped"])
def test_one_that_changes_its_input_fails(how: str) -> None:
    row = fastbp.torch.check_function(in_place(how), X, seed=0).arrays[-1]
    assert row.verdict == "failed"
    assert row.reason == "changes in place what f was called with: inputs[0]"
    assert fastbp.torch.check_function(in_place(""), X, seed=0)


class SineAndSum(torch.autograd.Function):
    """Two results; with a mistake where the incoming gradient of one is 0."""

    @staticmethod
    def forward(ctx: Any, x: Any, mistake: bool) -> Any:
        ctx.set_materialize_grads(False)
        ctx.mistake = mistake
        ctx.save_for_backward(x)
        return x.sin(), x.sum()

    @staticmethod
    def backward(ctx: Any, of_sine: Any, of_sum: Any) -> Any:
        (x,) = ctx.saved_tensors
        found = torch.zeros_like(x)
        if of_sine is not None:
            if ctx.mistake and not of_sine.any():
                return found, None  # should go on with the sum
            found = found + of_sine * x.cos()
        return found if of_sum is None else found + of_sum, None


def test_one_that_is_wrong_for_an_incoming_gradient_of_zeros_fails() -> None:
    assert fastbp.torch.check_function(SineAndSum.apply, X, False, seed=0)
    row = fastbp.torch.check_function(SineAndSum.apply, X, True, seed=0).arrays[-1]
    assert (row.name, row.verdict) == ("backward", "failed")
    assert row.reason.startswith("gives another gradient for output[1] where the incoming")


class LayerThatIs(torch.nn.Module):
    """A layer of an autograd.Function, between others."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


def verdicts_of(layer: Any) -> dict[str, str]:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), layer)
    report = fastbp.torch.check_module(module, torch.randn(5, 3), seed=0)
    return {row.name: row.verdict for row in report.arrays}


def test_a_layer_that_changes_its_input_in_its_backward_pass_fails() -> None:
    assert verdicts_of(LayerThatIs(in_place("")))["1: LayerThatIs"] == "passed"
    assert verdicts_of(LayerThatIs(in_place("zeroed")))["1: LayerThatIs"] == "failed"


def test_a_layer_that_gives_none_in_place_of_a_gradient_fails() -> None:
    class Second(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x**2

        @staticmethod
        def backward(_ctx: Any, _gradient: Any) -> Any:
            return None

    assert verdicts_of(LayerThatIs(Second.apply))["1: LayerThatIs"] == "failed"


def test_one_that_is_noisy_may_be_allowed_to() -> None:
    random = np.random.default_rng(0)

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, factor: float) -> Any:
            ctx.factor = factor
            ctx.save_for_backward(x)
            return x**2

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            noise = 1e-6 * torch.from_numpy(random.standard_normal(gradient.shape))
            return ctx.factor * ctx.saved_tensors[0] * gradient + noise, None

    for f in (Square.apply, lambda *arguments: Square.apply(*arguments).sum()):
        assert fastbp.torch.check_function(f, X, 2.0, noise=1e-4, seed=0)
        assert fastbp.torch.check_function(f, X, 2.0, seed=0).verdict == "failed"
        assert fastbp.torch.check_function(f, X, 2.002, noise=1e-4, seed=0).wrong > 0
