"""A derivative along a random direction of tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastbp.function.containers.point import DOUBLE_UNIT
from fastbp.function.derivatives.entry_slopes import INDEPENDENT
from fastbp.function.derivatives.line_slopes import (
    FIRST_STEP,
    LAST_STEP,
    SIGMAS,
    measure_lines,
)
from fastbp.function.methods.directions import random_components
from fastbp.torch.tensors import array_of
from fastbp.typing import Vector

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbp.function.methods.options import Options


__all__ = ["DirectionalDifference"]

STEP = 2.0**-20  # of the cheap difference, relative to the size of each tensor


# What the sum of a correct gradient along a direction may be off by, in the same way.
ALLOWANCE = 2.0**-38


class DirectionalDifference:
    """The derivative of a scalar along a random direction of tensors, and what a gradient says."""

    def __init__(
        self,
        value: Callable[..., torch.Tensor],
        tensors: dict[str, torch.Tensor],
        gradients: dict[str, Vector],
        centre: float,
        noise: float,
        options: Options,
        without: dict[str, int],
    ) -> None:
        self.value, self.tensors, self.gradients = value, tensors, gradients
        self.centre, self.noise, self.without = centre, noise, without
        rng = np.random.default_rng(options.seed)
        self.base = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        self.direction = {
            name: _random_direction(tensor, rng) for name, tensor in self.base.items()
        }
        for name, row in without.items():
            self.direction[name][row] = 0.0
        terms = [
            (gradients[name] * array_of(direction)).reshape(-1)
            for name, direction in self.direction.items()
        ]
        self.said = float(sum(np.sum(part, dtype=np.longdouble) for part in terms))
        # What the sum is of the order of, unless its terms happen to cancel.
        self.size = float(np.sqrt(sum(np.sum(part**2) for part in terms)))
        self.allowance = ALLOWANCE * self.size
        if options.tolerance is not None:
            sizes = [np.sum(np.abs(part)) for part in terms]
            moved = [np.sum(np.abs(array_of(part))) for part in self.direction.values()]
            self.allowance += options.tolerance.rtol * float(sum(sizes))
            self.allowance += options.tolerance.atol * float(sum(moved))

    def at(self, step: float) -> float:
        """Evaluate with everything moved by a step."""
        with torch.no_grad():
            try:
                for name, tensor in self.tensors.items():
                    tensor.copy_(self.base[name] + step * self.direction[name])
                return float(self.value())
            finally:
                for name, tensor in self.tensors.items():
                    tensor.copy_(self.base[name])

    def cheap(self) -> tuple[float, float]:
        """Return one central difference, and by how much it may differ from the gradient."""
        slope = (self.at(STEP) - self.at(-STEP)) / (2 * STEP)
        return slope, SIGMAS * self.noise / STEP + self.allowance

    def thorough(self, shift: float) -> tuple[float, float, float]:
        """Return the same from all steps, and how much of it is due to a kink."""

        def evaluate(_: Any, steps: Vector) -> tuple[Vector, Vector]:
            return steps, np.array([self.at(step) for step in steps.tolist()])

        line = measure_lines(
            evaluate,
            np.array([self.at(0.0)]),
            np.array([shift * FIRST_STEP]),
            np.array([LAST_STEP]),
            DOUBLE_UNIT,
        )
        kink = float(line.hull[0])
        return float(line.slope[0]), float(line.error_bar[0]) + kink + self.allowance, kink

    def verdict(self) -> tuple[str, str, float]:
        """Return a verdict, its reason, and what would be seen."""
        slope, allowed = self.cheap()
        kink = 0.0
        if not self._agrees(slope, allowed, kink):
            reason = self._unsteady()
            if reason:
                return "inconclusive", reason, np.inf
            for shift in (1.0, INDEPENDENT):
                slope, allowed, kink = self.thorough(shift)
                if self._agrees(slope, allowed, kink):
                    break
        if not np.isfinite(allowed):
            return "inconclusive", "its values are not finite", np.inf
        if abs(self.said - slope) > allowed:
            reason = (
                f"along a random direction the derivative is {slope:.9g}, its backward pass says "
                f"{self.said:.9g}"
            )
            return "failed", reason, 4 * allowed
        if not self._agrees(slope, allowed, kink):
            reason = "the noise of the differences is larger than the derivative"
            return "inconclusive", reason, 4 * allowed
        return "passed", "", 4 * allowed

    def _agrees(self, slope: float, allowed: float, kink: float) -> bool:
        """Tell whether a difference confirms the gradient; noise that hides it does not."""
        telling = self.size == 0 or allowed - kink < self.size
        return telling and abs(self.said - slope) <= allowed

    def _unsteady(self) -> str:
        """Say why differences mean nothing: the value changes where nothing else does."""
        again = self.at(0.0)
        if abs(again - self.centre) > SIGMAS * self.noise:
            return f"not deterministic: called twice it gave {self.centre:.9g} and {again:.9g}"
        with torch.no_grad():
            later = float(self.value(afresh=False))
        if abs(later - self.centre) > SIGMAS * self.noise:
            return (
                "its value depends on buffers that every call changes, and a backward pass takes "
                "them as constant: check it in eval mode"
            )
        return ""


def _random_direction(tensor: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Return components between a half and one of the tensor's typical size, of either sign."""
    size = float(torch.sqrt(torch.mean(tensor**2))) if tensor.numel() else 0.0
    scale = 2.0 ** round(np.log2(size)) if 0 < size < np.inf else 1.0
    components = scale * random_components(rng, tensor.numel())
    return torch.from_numpy(components).reshape(tensor.shape).to(tensor)
