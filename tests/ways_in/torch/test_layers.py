"""Layers on their own, with what reaches them."""

from __future__ import annotations

import re
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from support.torch_modules import WrongProduct, recurrent_wrapper  # noqa: E402

import fastbp.torch  # noqa: E402


class WrongLinear(torch.nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(size, size) / size**0.5)

    def forward(self, x: Any) -> Any:
        return WrongProduct.apply(x, self.weight)


def deep(wrong: int | None, layers: int = 200, size: int = 12) -> Any:
    made = []
    for place in range(layers):
        if place == wrong:
            made.append(WrongLinear(size))
        elif place % 4 == 3:
            made.append(torch.nn.LayerNorm(size))
        elif place % 4 == 1:
            made.append(torch.nn.Tanh() if place % 8 == 1 else torch.nn.ReLU(inplace=True))
        else:
            made.append(torch.nn.Linear(size, size))
    return torch.nn.Sequential(*made)


@pytest.mark.long
def test_the_wrong_one_of_two_hundred_layers_is_named() -> None:
    report = fastbp.torch.check_module(deep(114), torch.randn(8, 12), seed=1)
    assert report.verdict == "failed"
    failed = [row.name for row in report.arrays if row.verdict == "failed"]
    assert failed == ["114: WrongLinear", "114: WrongLinear, weight"]
    assert {failure.index[0] for failure in report.failures} == {2}
    assert report.failures[0].given / report.failures[0].numerical == pytest.approx(1.001)


@pytest.mark.long
def test_two_hundred_correct_layers_pass_in_five_passes() -> None:
    report = fastbp.torch.check_module(deep(None), torch.randn(8, 12), seed=1)
    assert report.verdict == "passed"
    assert len(report.arrays) == 201
    found = re.search(r"(\d+) forward passes of layers and (\d+) backward", report.notes[0])
    assert found
    forward, backward = int(found[1]) / 200 + 1, int(found[2]) / 200  # one more to see that it runs
    # A backward pass costs two forward ones.
    assert (forward + 2 * backward) / 3 <= 5


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 5))]
)
def test_ordinary_layers_pass(seed: int) -> None:
    torch.manual_seed(seed)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3),
        torch.nn.BatchNorm2d(3),
        torch.nn.ReLU(inplace=True),
        torch.nn.MaxPool2d(2),
        torch.nn.Dropout(0.3),
        torch.nn.Flatten(),
        torch.nn.Linear(27, 16),
        torch.nn.GELU(),
        torch.nn.Linear(16, 4),
        torch.nn.LogSoftmax(dim=1),
    )
    report = fastbp.torch.check_module(
        model, torch.randn(6, 1, 8, 8), loss=torch.nn.NLLLoss(), target=torch.arange(6) % 4
    )
    assert report.verdict == "passed", report


def test_recurrent_and_attention_layers_pass() -> None:
    recurrent = torch.nn.LSTM(4, 5, batch_first=True)
    assert fastbp.torch.check_module(recurrent_wrapper(recurrent), torch.randn(2, 3, 4))
    attention = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    report = fastbp.torch.check_module(attention, torch.randn(2, 3, 8))
    assert report.verdict == "passed", report


def test_a_mistake_between_the_layers_shows_in_the_whole() -> None:
    class Between(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(3, 3)
            self.gain = torch.nn.Parameter(torch.full((3, 3), 0.5))

        def forward(self, x: Any) -> Any:
            return WrongProduct.apply(self.linear(x), self.gain)

    report = fastbp.torch.check_module(Between(), torch.randn(4, 3))
    rows = {row.name: row.verdict for row in report.arrays}
    assert rows["linear: Linear"] == "passed"
    assert rows["the whole module"] == "failed"
    assert rows["the whole module, gain"] == "failed"


def test_a_layer_that_is_called_twice_is_checked_twice() -> None:
    class Twice(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(3, 3)

        def forward(self, x: Any) -> Any:
            return self.linear(torch.relu(self.linear(x)))

    report = fastbp.torch.check_module(Twice(), torch.randn(4, 3))
    assert report.verdict == "passed"
    assert [row.name for row in report.arrays[:2]] == ["linear: Linear"] * 2


def test_the_module_of_the_caller_never_changes() -> None:
    model, x = deep(None, layers=8), torch.randn(3, 12)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    fastbp.torch.check_module(model, x)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert next(model.parameters()).dtype == torch.float32
    assert model[1].inplace if hasattr(model[1], "inplace") else True


def test_a_wrong_gradient_of_an_embedding_is_found_beside_its_padding() -> None:
    class WrongRows(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, weight: Any, rows: Any) -> Any:
            ctx.save_for_backward(weight, rows)
            return weight[rows]

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            weight, rows = ctx.saved_tensors
            result = torch.zeros_like(weight)
            result[rows] = gradient  # words that come twice count once
            result[0] = 0
            return result, None

    class Wrong(torch.nn.Embedding):
        def forward(self, rows: Any) -> Any:
            return WrongRows.apply(self.weight, rows)

    module = torch.nn.Sequential(Wrong(6, 3, padding_idx=0), torch.nn.Tanh())
    report = fastbp.torch.check_module(module, torch.tensor([0, 1, 2, 1, 5]), seed=0)
    assert [row.name for row in report.arrays if row.verdict == "failed"] == [
        "0: Wrong",
        "0: Wrong, weight",
    ]
    assert {failure.index[0] for failure in report.failures} == {1}
