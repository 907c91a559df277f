"""Functions of tensors."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from support.torch_modules import WrongProduct  # noqa: E402

import fastbp.torch  # noqa: E402
from fastbp.runtime import progress  # noqa: E402


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


@pytest.mark.parametrize("door", ["check_function", "check_module"])
def test_a_bar_is_there_from_the_first_evaluation_on(
    monkeypatch: pytest.MonkeyPatch, door: str
) -> None:
    monkeypatch.setattr(progress, "_is_shown", lambda option: option is not False)
    shown = []

    def f(x: Any) -> Any:
        shown.append(any(isinstance(bar, progress._Bar) for bar in progress._running))
        return torch.sin(x)

    class Sine(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return f(x)

    x = torch.linspace(0.3, 1.1, 4, dtype=torch.float64)
    checked = f if door == "check_function" else Sine()
    assert getattr(fastbp.torch, door)(checked, x, seed=0).verdict == "passed"
    assert shown[0]
    assert progress._running == []
