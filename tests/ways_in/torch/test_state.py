"""Random numbers and buffers: what every call changes is said and no mistake."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from support.torch_modules import equal, state_of  # noqa: E402

import fastbp.torch  # noqa: E402


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


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_where_a_program_has_gradients_switched_off_they_are_checked_all_the_same(
    mode: Any,
) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Tanh())
    with mode():
        x = torch.linspace(0.5, 2.0, 3, dtype=torch.float64)
        assert fastbp.torch.check_function(lambda x: x * 2, x).verdict == "passed"
        assert fastbp.torch.check_module(module, x.float()).verdict == "passed"
        assert not torch.is_grad_enabled()
