"""Modules that people have: they pass and stay as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from support.torch_modules import equal, recurrent_wrapper, state_of  # noqa: E402

import fastbp.torch  # noqa: E402
from fastbp.errors import DTypeError, EvaluationError, OptionError, ShapeError  # noqa: E402


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


@pytest.mark.long
@pytest.mark.parametrize("name", modules())
def test_modules_that_people_have_pass_and_stay_as_they_are(name: str) -> None:
    module, inputs = modules()[name]
    before, given = state_of(module), [value.clone() for value in inputs]
    report = fastbp.torch.check_module(module, *inputs, seed=0)
    assert report.verdict == "passed", report
    assert equal(state_of(module), before)
    assert equal(list(inputs), given)


def test_a_module_that_cannot_be_copied() -> None:
    layer = torch.nn.Linear(3, 3)
    layer.kept = layer(torch.ones(1, 3))  # with a graph behind it
    with pytest.raises(EvaluationError, match="module cannot be copied: RuntimeError"):
        fastbp.torch.check_module(layer, torch.ones(1, 3))


def test_bad_input() -> None:
    linear = torch.nn.Linear(2, 2)
    with pytest.raises(DTypeError, match="Module, not function"):
        fastbp.torch.check_module(test_bad_input, torch.ones(2))
    with pytest.raises(EvaluationError, match=r"f raised TypeError at the point.*numpy\.ndarray"):
        fastbp.torch.check_function(torch.add, torch.ones(2), np.ones(2))
    with pytest.raises(
        DTypeError,
        match=r"inputs must hold at least one tensor of floats.* inputs\[0\] is of torch.int64.",
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


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_reports_say_in_which_precision_they_were_differenced(dtype: torch.dtype) -> None:
    said = "float64" if dtype is torch.float64 else "float32, differenced in float64"
    x = torch.linspace(0.5, 1.0, 3, dtype=dtype)
    for f in (torch.sin, lambda x: torch.sin(x).sum()):
        assert fastbp.torch.check_function(f, x, seed=0).dtype == said
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Tanh()).to(dtype)
    assert fastbp.torch.check_module(module, x, seed=0).dtype == said


@pytest.mark.parametrize(
    ("loss", "target", "message"),
    [
        (None, torch.ones(2), "target is the second argument of loss, but there is no loss"),
        ("mse", None, "loss must be None or a callable, not 'mse'"),
        (torch.nn.CrossEntropyLoss(), torch.tensor([0, 7]), "loss raised IndexError: Target 7"),
    ],
)
def test_a_loss_that_cannot_be_taken_is_named(loss: Any, target: Any, message: str) -> None:
    with pytest.raises(fastbp.FastbpError, match=message):
        fastbp.torch.check_module(torch.nn.Linear(3, 2), torch.ones(2, 3), loss=loss, target=target)


def test_an_option_of_other_checks_is_none_here_where_no_module_takes_it() -> None:
    class Limited(torch.nn.Module):
        def forward(self, x: Any, budget: float) -> Any:
            return budget * x

    x = torch.ones(2, 3)
    assert fastbp.torch.check_module(Limited(), x, budget=2.0).verdict == "passed"
    with pytest.raises(OptionError, match="workers is no option of check_module"):
        fastbp.torch.check_module(Limited(), x, budget=2.0, workers=2)
