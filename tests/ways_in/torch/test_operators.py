"""All operators of torch: no false alarm where gradcheck passes, reasons for what is not judged."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from support.operators import differentiable_operators, of_tensors  # noqa: E402

import fastbp  # noqa: E402
import fastbp.torch  # noqa: E402

pytestmark = pytest.mark.long
PARTS = 18

# What first samples may be refused for.
REFUSALS = (
    "all tensors are empty",
    "but it is empty",
    "at least one tensor of floats",
    "f must return a tensor of floats",
    "is not differentiable",
    "derivative for",
)

# Where the report fails for a reason that is known; gradcheck takes minutes for the first one.
KNOWN = {
    "nn.functional.ctc_loss": "its backward pass takes its argument as normalised, gradcheck fails",
    "nn.functional.hardsigmoid": "its backward pass takes 1/6 in single precision: 4e-8 off",
}


def gradcheck_passes(function: Any, sample: Any) -> bool:
    """Ask gradcheck about all tensors of floats, wherever they are among the arguments."""
    try:
        return torch.autograd.gradcheck(*of_tensors(function, sample))
    except Exception:  # a mismatch, or what it does not take
        return False


def fault(function: Any, sample: Any) -> str:
    """Check one operator; say what is wrong about the report, or the refusal."""
    try:
        report = fastbp.torch.check_function(
            function, sample.input, *sample.args, kwargs=sample.kwargs, seed=0
        )
    except fastbp.FastbpError as error:
        return "" if any(reason in str(error) for reason in REFUSALS) else str(error)
    if report.verdict == "failed" and gradcheck_passes(function, sample):
        return str(report)
    reasons = [row.verdict == "passed" or row.reason for row in report.arrays]
    return "" if all(reasons) else str(report)


@pytest.mark.parametrize("part", range(PARTS))
def test_operators(part: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # beta states, deprecations: torch's own
        faults = {
            name: found
            for name, function, sample in differentiable_operators(part, PARTS)
            if name not in KNOWN and (found := fault(function, sample))
        }
    assert not faults
