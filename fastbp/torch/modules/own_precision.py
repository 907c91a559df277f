"""What a layer's backward pass gives in half precision, beside that in float64.

The latter is checked against differences. How far the former may be from it is measured: the layer
runs in float64 with one rounding of half precision after each operation, several times. Where its
value is farther from that in float64 than rounding explains (random numbers, other masks), nothing
is compared.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastbp.torch.autodiff.arithmetic import Arithmetic
from fastbp.torch.modules.layer_calls import LayerCall
from fastbp.torch.modules.module_copies import in_precision
from fastbp.torch.modules.nesting import changed_tensors
from fastbp.torch.modules.scalar_functions import Alone, Counter, evaluated

if TYPE_CHECKING:
    from fastbp.typing import Vector

__all__ = ["off_in_half_precision"]

REPEATS = 3
MARGIN = 8.0  # of what rounding makes of a gradient, as a root mean square
LEAST = 32  # units, of the size of a gradient; sums of many terms lose that


def off_in_half_precision(
    call: LayerCall, parts: dict[str, torch.nn.Module], own: Arithmetic, double: Arithmetic
) -> str:
    """Say which gradient of a layer is off by more than rounding in half precision; "" if none is.

    Parameters
    ----------
    call : LayerCall
        Of the module in half precision.
    parts : dict
        Those of the module in float64, by their paths.
    own, double : Arithmetic
        Of the two modules.
    """
    counted = Counter()
    given = Alone(call, own, counted)
    value, gradients = evaluated(given, call.name)
    wide = _in_double(call, parts[call.path])
    exact_value, exact = evaluated(Alone(wide, double, counted), call.name)
    rounded = []
    for repeat in range(REPEATS):
        rounding = replace(double, rounding=(own.dtype, double.seed + repeat))
        try:
            rounded.append(Alone(wide, rounding, counted).gradients())
        except Exception:  # sparse gradients: nothing says what rounding makes of them
            return ""
    spread = max(abs(one - exact_value) for one, _ in rounded)
    if not abs(value - exact_value) <= MARGIN * spread + given.noise:
        return ""
    for name, numbers in gradients.items():
        size = _size(exact[name])
        noise = max(_size(found[name] - exact[name]) for _, found in rounded)
        error = _size(numbers - exact[name])
        if size and error > MARGIN * noise + LEAST * own.unit * size and np.isfinite(noise):
            return (
                f"the gradient of {name} is off from that in float64 by {error / size:.2g} of its "
                f"size; by rounding it would be {noise / size:.2g}"
            )
    return ""


def _size(numbers: Vector) -> float:
    return float(np.linalg.norm(numbers))


def _in_double(call: LayerCall, layer: torch.nn.Module) -> LayerCall:
    """Return the same call of the layer in float64, with the very same numbers."""

    def wide(tensor: torch.Tensor) -> torch.Tensor:
        return in_precision(tensor, torch.float64)

    arguments, keywords = changed_tensors(wide, (call.arguments, call.keywords))
    buffers = [
        replace(kept, owner=_counterpart(kept.owner, call.layer, layer), values=wide(kept.values))
        for kept in call.buffers
        if kept.version is None
    ]
    return replace(
        call, layer=layer, arguments=arguments, keywords=keywords, buffers=buffers,
        cotangents=[None if one is None else wide(one) for one in call.cotangents],
    )  # fmt: skip


def _counterpart(part: Any, inside: torch.nn.Module, other: torch.nn.Module) -> torch.nn.Module:
    path = next(path for path, one in inside.named_modules() if one is part)
    return other.get_submodule(path)
