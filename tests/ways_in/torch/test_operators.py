"""All operators of torch: no false alarm where gradcheck passes, reasons for what is not judged."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from support.operators import differentiable_operators  # noqa: E402

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
    nested = ((sample.input, *sample.args), sample.kwargs)
    leaves, structure = torch.utils._pytree.tree_flatten(nested)
    places = [
        place
        for place, leaf in enumerate(leaves)
        if isinstance(leaf, torch.Tensor) and leaf.requires_grad
    ]

    def f(*tensors: Any) -> Any:
        values = list(leaves)
        for place, tensor in zip(places, tensors, strict=True):
            values[place] = tensor
        inputs, keywords = torch.utils._pytree.tree_unflatten(values, structure)
        result = function(*inputs, **keywords)
        found = torch.utils._pytree.tree_leaves(result)
        return tuple(part for part in found if part.is_floating_point() or part.is_complex())

    try:
        return torch.autograd.gradcheck(f, [leaves[place] for place in places])
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
