"""Modules that are ReLU networks go to the network engine."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

import fastbp.torch  # noqa: E402

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
