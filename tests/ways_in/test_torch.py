"""fastbp.torch: modules as networks, layers on their own, functions."""

from __future__ import annotations

import random
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


class Words(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.word = torch.nn.Embedding(11, 6, padding_idx=0)
        self.bag = torch.nn.EmbeddingBag(5, 6, mode="sum", padding_idx=2)
        self.out = torch.nn.Linear(6, 11, bias=False)
        self.out.weight = self.word.weight  # tied

    def forward(self, words: Any, others: Any) -> Any:
        return self.out(self.word(words).mean(1) + self.bag(others))


class Attention(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = torch.nn.MultiheadAttention(8, 2, dropout=0.2, batch_first=True)
        self.norm = torch.nn.LayerNorm(8)

    def forward(self, x: Any) -> Any:
        return self.norm(x + self.attention(x, x, x)[0])


class Residual(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Conv1d(3, 3, 3, padding=1), torch.nn.Conv1d(3, 3, 1)
        self.relu = torch.nn.ReLU(inplace=True)

    def forward(self, x: Any) -> Any:
        return self.relu(self.second(self.relu(self.first(x))) + x)


class Recurrent(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(4, 5, num_layers=2, batch_first=True, dropout=0.2)
        self.out = torch.nn.Linear(5, 2)

    def forward(self, x: Any) -> Any:
        return self.out(self.lstm(x)[0])


def modules() -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """Modules that people have, with what they are called with."""
    nn = torch.nn
    images = torch.randn(4, 3, 9, 9)
    frozen = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.BatchNorm1d(8), nn.Linear(8, 3))
    frozen[0].requires_grad_(False)
    frozen(torch.randn(3, 4)).sum().backward()  # gradients that must stay
    return {
        "images": (
            nn.Sequential(
                nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
                nn.Conv2d(8, 4, 3, stride=2), nn.BatchNorm2d(4, momentum=None), nn.PReLU(),
                nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(4, 3),
            ),
            (images,),
        ),
        "norms": (
            nn.Sequential(
                nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.SiLU(), nn.ConvTranspose2d(8, 3, 2),
                nn.InstanceNorm2d(3), nn.Upsample(scale_factor=2), nn.Softmax(1),
            ),
            (images,),
        ),
        "words": (Words(), (torch.randint(0, 11, (4, 7)), torch.randint(0, 5, (4, 3)))),
        "attention": (Attention(), (torch.randn(2, 5, 8),)),
        "attention, eval": (Attention().eval(), (torch.randn(2, 5, 8),)),
        "residual": (nn.Sequential(Residual(), Residual()), (torch.randn(2, 3, 7),)),
        "recurrent": (Recurrent(), (torch.randn(3, 6, 4),)),
        "frozen": (frozen, (torch.randn(5, 4),)),
        "float64": (nn.Sequential(nn.Linear(4, 8), nn.Tanh()).double(), (torch.randn(5, 4),)),
        "weight norm": (
            nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 8)), nn.Tanh()),
            (torch.randn(5, 4),),
        ),
    }  # fmt: skip


def state_of(module: Any) -> list[Any]:
    """Everything about a module that a check might change, and the global random numbers."""
    tensors = {name: value.clone() for name, value in module.state_dict().items()}
    grads = {
        name: None if parameter.grad is None else parameter.grad.clone()
        for name, parameter in module.named_parameters()
    }
    parts = [
        (part.training, len(part._forward_hooks), len(part._forward_pre_hooks),
         len(part._backward_hooks), getattr(part, "inplace", None))
        for part in module.modules()
    ]  # fmt: skip
    wanted = [parameter.requires_grad for parameter in module.parameters()]
    numbers = [torch.get_rng_state(), random.getstate(), np.random.get_state()[1]]
    return [tensors, grads, parts, wanted, numbers]


def equal(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, np.ndarray):
        return np.array_equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(
            equal(first[key], second[key]) for key in first
        )
    if isinstance(first, list):
        return len(first) == len(second) and all(map(equal, first, second))
    return bool(first == second)


@pytest.mark.parametrize("name", modules())
def test_modules_that_people_have_pass_and_stay_as_they_are(name: str) -> None:
    module, inputs = modules()[name]
    before, given = state_of(module), [value.clone() for value in inputs]
    report = fastbp.torch.check_module(module, *inputs, seed=0)
    assert report.verdict == "passed", report
    assert equal(state_of(module), before)
    assert equal(list(inputs), given)


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


@pytest.mark.parametrize("kind", ["python", "numpy"])
def test_random_numbers_that_are_not_of_torch_are_the_same_in_all_calls(kind: str) -> None:
    class Noisy(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x * (random.random() if kind == "python" else np.random.random())

    module = torch.nn.Sequential(torch.nn.Linear(3, 3), Noisy(), torch.nn.Linear(3, 2))
    x = torch.randn(4, 3)
    before = state_of(module)
    assert fastbp.torch.check_module(module, x).verdict == "passed"
    assert equal(state_of(module), before)


def test_what_is_not_deterministic_is_said_and_no_mistake() -> None:
    class Counting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0
            self.linear = torch.nn.Linear(3, 3)

        def forward(self, x: Any) -> Any:
            self.calls += 1
            return self.linear(x) * self.calls

    report = fastbp.torch.check_module(Counting(), torch.randn(4, 3))
    assert report.verdict == "inconclusive"
    rows = {row.name: (row.verdict, row.reason) for row in report.arrays}
    assert rows["linear: Linear"] == ("passed", "")
    assert rows["the whole module"][1].startswith("not deterministic: called twice it gave")


def test_buffers_that_every_call_changes_are_said_and_no_mistake() -> None:
    class Centred(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(3))

        def forward(self, x: Any) -> Any:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
            return torch.tanh(x - self.mean)

    module = torch.nn.Sequential(torch.nn.Linear(3, 3), Centred())
    x = torch.randn(4, 3)
    before = state_of(module)
    report = fastbp.torch.check_module(module, x)
    rows = {row.name: row for row in report.arrays}
    assert rows["1: Centred"].verdict == "inconclusive"
    assert "buffers that every call changes" in rows["1: Centred"].reason
    assert report.verdict == "inconclusive"
    assert equal(state_of(module), before)


def test_a_module_that_cannot_be_copied() -> None:
    layer = torch.nn.Linear(3, 3)
    layer.kept = layer(torch.ones(1, 3))  # with a graph behind it
    with pytest.raises(EvaluationError, match="module cannot be copied: RuntimeError"):
        fastbp.torch.check_module(layer, torch.ones(1, 3))


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
    with pytest.raises(
        DTypeError,
        match=r"inputs\[0\] must be float64, float32, complex128 or complex64, not int64.",
    ):
        fastbp.torch.check_function(torch.sum, torch.ones(2, dtype=torch.int64))
    with pytest.raises(ShapeError, match=r"loss must return one number, not \(3, 2\)."):
        fastbp.torch.check_module(linear, torch.ones(3, 2), loss=lambda output: output)
    with pytest.raises(DTypeError, match="module must return at least one tensor of floats"):
        fastbp.torch.check_module(recurrent_wrapper(lambda x: x > 0), torch.ones(3, 2))
    with pytest.raises(OptionError, match="seed must be an integer of at least 0"):
        fastbp.torch.check_module(linear, torch.ones(3, 2), seed=-1)
    with pytest.raises(EvaluationError, match="module raised RuntimeError"):
        fastbp.torch.check_module(linear, torch.ones(3, 5))
