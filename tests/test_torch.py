"""fastbp.torch: modules as networks, layers on their own, functions."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import fastbp.torch  # noqa: E402
from fastbp.errors import DTypeError, EvaluationError, OptionError, ShapeError  # noqa: E402


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    torch.manual_seed(20240722)


class WrongProduct(torch.autograd.Function):
    """A linear map whose gradient by the weights is wrong in one row, by a thousandth."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any) -> Any:
        ctx.save_for_backward(x, weight)
        return x @ weight.T

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        x, weight = ctx.saved_tensors
        by_weight = gradient.T @ x
        by_weight[2] *= 1.001
        return gradient @ weight, by_weight


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


def test_the_wrong_one_of_two_hundred_layers_is_named() -> None:
    report = fastbp.torch.check_module(deep(114), torch.randn(8, 12), seed=1)
    assert report.verdict == "failed"
    failed = [row.name for row in report.arrays if row.verdict == "failed"]
    assert failed == ["114: WrongLinear", "114: WrongLinear, weight"]
    assert {failure.index[0] for failure in report.failures} == {2}
    assert report.failures[0].given / report.failures[0].numerical == pytest.approx(1.001)


def test_two_hundred_correct_layers_pass_in_five_passes() -> None:
    report = fastbp.torch.check_module(deep(None), torch.randn(8, 12), seed=1)
    assert report.verdict == "passed"
    assert len(report.arrays) == 201
    found = re.search(r"(\d+) forward passes of layers and (\d+) backward", report.notes[0])
    assert found
    forward, backward = int(found[1]) / 200 + 1, int(found[2]) / 200  # one more to see that it runs
    # A backward pass costs two forward ones.
    assert (forward + 2 * backward) / 3 <= 5


@pytest.mark.parametrize("seed", range(5))
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


def recurrent_wrapper(layer: Any) -> Any:
    class Wrapped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Any) -> Any:
            return self.layer(x)

    return Wrapped()


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


LOSSES = [
    (None, None),
    (torch.nn.MSELoss(), torch.ones(5, 3)),
    (torch.nn.MSELoss(reduction="sum"), torch.ones(5, 3)),
    (torch.nn.MSELoss(reduction="none"), torch.ones(5, 3)),
    (torch.nn.CrossEntropyLoss(), torch.tensor([0, 1, 2, 0, 1])),
    (torch.nn.CrossEntropyLoss(reduction="sum"), torch.eye(3)[[0, 1, 2, 0, 1]]),
]


@pytest.mark.parametrize(("loss", "target"), LOSSES)
@pytest.mark.parametrize("bias", [True, False])
def test_relu_networks_go_to_the_network_engine(loss: Any, target: Any, bias: bool) -> None:
    layers = torch.nn.Linear(4, 8, bias=bias), torch.nn.ReLU(), torch.nn.Linear(8, 3, bias=bias)
    report = fastbp.torch.check_module(
        torch.nn.Sequential(*layers), torch.randn(5, 4), loss=loss, target=target
    )
    assert report.verdict == "passed"
    assert report.sizes == (4, 8, 3)
    parameters = [row.entries for row in report.arrays if row.name != "loss"]
    assert sum(parameters) == 4 * 8 + 8 * 3 + (11 if bias else 0)
    assert "a ReLU network with a loss we know" in report.notes[0]
    assert "a ReLU network" in str(report)


@pytest.mark.parametrize(
    ("layers", "loss", "target"),
    [
        ([torch.nn.Linear(4, 4), torch.nn.ReLU()], None, None),
        ([torch.nn.Linear(4, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3)], None, None),
        (
            [torch.nn.Linear(4, 3)],
            torch.nn.CrossEntropyLoss(label_smoothing=0.1),
            torch.tensor([0, 1, 2, 0, 1]),
        ),
        ([torch.nn.Linear(4, 3)], torch.nn.L1Loss(), torch.ones(5, 3)),
        (
            [torch.nn.Linear(4, 4, bias=False), torch.nn.ReLU(), torch.nn.Linear(4, 3)],
            None,
            None,
        ),
    ],
)
def test_what_the_engine_does_not_know_is_checked_by_layers(
    layers: Any, loss: Any, target: Any
) -> None:
    report = fastbp.torch.check_module(
        torch.nn.Sequential(*layers), torch.randn(5, 4), loss=loss, target=target
    )
    assert report.verdict == "passed"
    assert report.method == "layers"


def test_functions_of_tensors() -> None:
    x, y = torch.randn(3, 4), torch.randn(4, 2, dtype=torch.float64)
    assert fastbp.torch.check_function(lambda x, y: torch.sin(x.double()) @ y, x, y)
    assert fastbp.torch.check_function(lambda x: (x**2).sum(), x)
    assert fastbp.torch.check_function(lambda x: (x.sin(), x.sum()), x)
    z = torch.randn(3, dtype=torch.complex128)
    report = fastbp.torch.check_function(lambda z: z * z.conj()[0] + z**2, z)
    assert report.verdict == "passed"
    assert "convention of torch" in report.notes[0]
    w = torch.randn(3, 3)
    report = fastbp.torch.check_function(lambda x, w: WrongProduct.apply(x, w), w, w.clone())
    assert report.verdict == "failed"
    assert {failure.array for failure in report.failures} == {"inputs[1]"}
    assert {failure.index[0] for failure in report.failures} == {2}


def test_what_does_not_reach_the_output_is_untested() -> None:
    report = fastbp.torch.check_function(
        lambda x, y: x.sum() + 0 * y.detach().sum(), *[torch.ones(2)] * 2
    )
    assert [row.verdict for row in report.arrays] == ["passed", "untested"]


def test_bad_input() -> None:
    linear = torch.nn.Linear(2, 2)
    with pytest.raises(DTypeError, match="Module, not function"):
        fastbp.torch.check_module(test_bad_input, torch.ones(2))
    with pytest.raises(DTypeError, match=r"inputs\[1\] must be a tensor, not ndarray."):
        fastbp.torch.check_function(torch.add, torch.ones(2), np.ones(2))
    with pytest.raises(DTypeError, match=r"inputs\[0\] must be float64 or float32, not int64."):
        fastbp.torch.check_function(torch.sum, torch.ones(2, dtype=torch.int64))
    with pytest.raises(ShapeError, match=r"loss must return one number, not \(3, 2\)."):
        fastbp.torch.check_module(linear, torch.ones(3, 2), loss=lambda output: output)
    with pytest.raises(DTypeError, match="module must return at least one tensor of floats"):
        fastbp.torch.check_module(recurrent_wrapper(lambda x: x > 0), torch.ones(3, 2))
    with pytest.raises(OptionError, match="seed must be an integer of at least 0"):
        fastbp.torch.check_module(linear, torch.ones(3, 2), seed=-1)
    with pytest.raises(EvaluationError, match="module raised RuntimeError"):
        fastbp.torch.check_module(linear, torch.ones(3, 5))
