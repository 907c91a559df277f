"""The operators of torch with its own samples of their arguments."""

from __future__ import annotations

import sys
import types
import unittest
from collections.abc import Callable, Iterator
from typing import Any


def _operators() -> list[Any]:
    """Import torch's table; it asks for a package that it uses for a base class of tests alone."""
    if "expecttest" not in sys.modules:
        stand_in = types.ModuleType("expecttest")
        vars(stand_in)["TestCase"] = unittest.TestCase
        sys.modules["expecttest"] = stand_in
    from torch.testing._internal.common_methods_invocations import op_db

    return op_db


def differentiable_operators(part: int, parts: int) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, function and first sample of operators with a derivative in float64."""
    import torch

    chosen = [
        op
        for op in _operators()
        if op.supports_autograd and torch.float64 in op.supported_dtypes("cpu")
    ]
    for op in chosen[part::parts]:
        name = op.name + (f".{op.variant_test_name}" if op.variant_test_name else "")
        torch.manual_seed(0)
        sample = next(iter(op.sample_inputs("cpu", torch.float64, requires_grad=True)), None)
        if sample is None:
            continue

        def function(*inputs: Any, op: Any = op, sample: Any = sample, **keywords: Any) -> Any:
            return sample.output_process_fn_grad(op(*inputs, **keywords))

        yield name, function, sample


def of_tensors(function: Any, sample: Any) -> tuple[Callable[..., Any], list[Any]]:
    """Return an operator as gradcheck takes it: of the tensors that require a gradient, and these.

    They may be anywhere among the arguments; of the results those of floats are kept.
    """
    import torch

    tree = torch.utils._pytree
    leaves, structure = tree.tree_flatten(((sample.input, *sample.args), sample.kwargs))
    places = [
        place
        for place, leaf in enumerate(leaves)
        if isinstance(leaf, torch.Tensor) and leaf.requires_grad
    ]

    def f(*tensors: Any) -> Any:
        values = list(leaves)
        for place, tensor in zip(places, tensors, strict=True):
            values[place] = tensor
        inputs, keywords = tree.tree_unflatten(values, structure)
        found = tree.tree_leaves(function(*inputs, **keywords))
        return tuple(part for part in found if part.is_floating_point() or part.is_complex())

    return f, [leaves[place] for place in places]
