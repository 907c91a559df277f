"""Layers that are wrong on purpose are left out; everything around them is judged."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from support.torch_modules import Calling, identity, wrong_identity  # noqa: E402
from torch import nn  # noqa: E402

import fastbp.torch  # noqa: E402
from fastbp.errors import DTypeError, OptionError  # noqa: E402


class RoundedAsIdentity(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, x: Any) -> Any:
        return (4 * x).round() / 4

    @staticmethod
    def backward(_: Any, *gradients: Any) -> Any:
        return gradients[0]


class Reversed(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, x: Any) -> Any:
        return x.clone()

    @staticmethod
    def backward(_: Any, *gradients: Any) -> Any:
        return -0.3 * gradients[0]


def rounding() -> Any:
    return Calling(lambda _, x: RoundedAsIdentity.apply(x))


def part(hand: Any) -> Any:
    return Calling(lambda _, x: hand(x))


X = torch.tensor([[0.3, -0.7], [1.1, 0.4], [-0.2, 0.9]])
HANDS = pytest.mark.parametrize(
    ("before", "after"),
    [(identity, identity), (wrong_identity, identity), (identity, wrong_identity)],
)


def test_a_straight_through_estimator_does_not_pass_unless_it_is_left_out() -> None:
    module = nn.Sequential(nn.Linear(2, 2), rounding(), nn.Linear(2, 2))
    assert fastbp.torch.check_module(module, X, seed=0).verdict == "inconclusive"
    report = fastbp.torch.check_module(module, X, seed=0, exclude="1")
    assert report.verdict == "passed"
    assert [row.name for row in report.arrays] == ["0: Linear", "2: Linear", "the whole module"]
    assert "left out, and not judged: 1: Calling" in report.notes


@HANDS
def test_layers_around_it_are_judged(before: Any, after: Any) -> None:
    module = nn.Sequential(nn.Linear(2, 2), part(before), rounding(), part(after), nn.Linear(2, 2))
    report = fastbp.torch.check_module(module, X, seed=0, exclude=["2"])
    failed = [row.name for row in report.arrays if row.verdict == "failed" and "," not in row.name]
    wrong = ["1"] * (before is wrong_identity) + ["3"] * (after is wrong_identity)
    assert failed == [f"{path}: Calling" for path in wrong]


@HANDS
def test_what_is_between_the_layers_is_judged_on_both_sides(before: Any, after: Any) -> None:
    module = Calling(
        lambda self, x: self.parts[2](after(self.parts[1](before(self.parts[0](x))))),
        nn.Linear(2, 2), rounding(), nn.Linear(2, 2),
    )  # fmt: skip
    report = fastbp.torch.check_module(module, X, seed=0, exclude="parts.1")
    rows = {row.name: row.verdict for row in report.arrays}
    right = before is after
    assert rows["the whole module"] == ("passed" if right else "failed")
    if before is wrong_identity:
        assert rows["the whole module, parts.0.weight"] == "failed"
    if after is wrong_identity:
        assert rows["the whole module, parts.1, output"] == "failed"


@HANDS
def test_a_reversed_gradient_in_one_of_two_branches(before: Any, after: Any) -> None:
    class Adversarial(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features, self.labels, self.domain = (nn.Linear(2, 2) for _ in range(3))
            self.reversal = Calling(lambda _, x: Reversed.apply(x))

        def forward(self, x: Any) -> Any:
            features = before(torch.tanh(self.features(x)))
            return self.labels(features), after(self.domain(self.reversal(features)))

    report = fastbp.torch.check_module(Adversarial(), X, seed=0, exclude=["rev*"])
    assert report.verdict == ("passed" if before is after else "failed"), report


def test_a_layer_with_parts_that_is_called_twice() -> None:
    def quantised(self: Any, z: Any) -> Any:
        nearest = self.parts[0](torch.cdist(z, self.parts[0].weight).argmin(1))
        return z + (nearest - z).detach(), (nearest - z.detach()).pow(2).mean()

    def forward(self: Any, x: Any, hand: Any) -> Any:
        first, commitment = self.parts[1](self.parts[0](x))
        second, _ = self.parts[1](hand(torch.tanh(first)))
        return second, commitment

    module = Calling(forward, nn.Linear(2, 2), Calling(quantised, nn.Embedding(4, 2)))
    report = fastbp.torch.check_module(module, X, identity, seed=0, exclude="parts.1")
    assert report.verdict == "passed", report
    names = [row.name for row in report.arrays]
    assert names.count("parts.1.parts.0: Embedding") == 2  # the part of it is judged
    report = fastbp.torch.check_module(module, X, wrong_identity, seed=0, exclude="parts.1")
    assert report.failures[0].array == "the whole module, parts.1, output[0]"


def test_parents_of_it_are_looked_at_where_something_is_wrong() -> None:
    inner = Calling(lambda self, x: wrong_identity(self.parts[0](x)), rounding())
    module = nn.Sequential(nn.Linear(2, 2), inner, nn.Linear(2, 2))
    report = fastbp.torch.check_module(module, X, seed=0, exclude="*.0")
    failed = [row.name for row in report.arrays if row.verdict == "failed"]
    assert failed == ["1: Calling", "1: Calling, 1.parts.0, output"]


def test_a_name_that_matches_nothing_is_an_error() -> None:
    module = nn.Sequential(nn.Linear(2, 2), rounding())
    with pytest.raises(OptionError, match=r"'quantise' matches none of 0, 1, 1\.parts"):
        fastbp.torch.check_module(module, X, exclude=["1", "quantise"])
    with pytest.raises(DTypeError, match="exclude must hold names of parts of the module, not 3"):
        fastbp.torch.check_module(module, X, exclude=3)
