"""A derivative along a random direction of tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastbp.function.containers.point import DOUBLE_UNIT
from fastbp.function.derivatives.divergence import INFINITE_SLOPE, JUMP
from fastbp.function.derivatives.line_slopes import (
    FIRST_STEP,
    LAST_STEP,
    measure_lines,
)
from fastbp.function.derivatives.second_slopes import INDEPENDENT
from fastbp.function.derivatives.step_choice import SIGMAS
from fastbp.function.methods.directions import random_components
from fastbp.torch.autodiff import few_digits
from fastbp.torch.modules.scalar_functions import ROUNDINGS_COARSE, numbers_of, tensor_of
from fastbp.typing import Vector

if TYPE_CHECKING:
    from fastbp.function.methods.options import Options
    from fastbp.torch.modules.scalar_functions import ScalarFunction


__all__ = ["DirectionalDifference"]

STEP = 2.0**-20  # of the cheap difference, relative to the size of each tensor
# What the sum of a correct gradient along a direction may be off by, in the same way; of one that
# is computed in less than float64, by the unit of that.
ALLOWANCE = 2.0**-38
ALLOWANCES = {2.0**-24: 2.0**-12}
# Steps where values have few digits, from four times the cube root of the unit on: where rounding
# and what a step cuts off are about as large.
LONGEST, COARSE_STEPS = 4.0, 6
# What kinks within a step may move its slope by, for what the slopes on its two sides differ by.
KINKS = 1.5
# So many directions are looked at, of which all but one must fail.
DIRECTIONS = 4


class DirectionalDifference:
    """The derivative of a scalar along a random direction of tensors, and what a gradient says.

    Parameters
    ----------
    function : ScalarFunction
        Of `tensors`, those of its own that shall be moved.
    gradients : dict
        Of the tensors; numbers in float64.
    centre : float
        The value where nothing is moved.
    without : dict
        Rows of tensors that have no gradient, and are not moved.
    """

    def __init__(
        self,
        function: ScalarFunction,
        tensors: dict[str, torch.Tensor],
        gradients: dict[str, Vector],
        centre: float,
        options: Options,
        without: dict[str, int],
    ) -> None:
        self.function, self.tensors, self.gradients = function, tensors, gradients
        self.centre, self.without = centre, without
        self.unit, self.noise = function.arithmetic.unit, function.noise
        self.in_half = self.unit > few_digits.HALF_UNIT
        self.raised = ""
        self.divergence = 0
        self.options = options
        self.base = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        self._take_direction(0)

    def _take_direction(self, again: int) -> None:
        """Draw a direction, and sum up what the gradient says of it."""
        rng = np.random.default_rng((self.options.seed, again) if again else self.options.seed)
        self.direction = {
            name: _random_direction(tensor, rng) for name, tensor in self.base.items()
        }
        for name, row in self.without.items():
            if name in self.direction:
                self.direction[name][row] = 0.0
        directions = {name: numbers_of(tensor) for name, tensor in self.direction.items()}
        terms = self._terms(directions)
        self.said = float(sum(np.sum(part, dtype=np.longdouble) for part in terms))
        # What the sum is of the order of, unless its terms happen to cancel.
        self.size = float(np.sqrt(sum(np.sum(part**2) for part in terms)))
        share = ALLOWANCES.get(self.unit, ALLOWANCE)
        self.allowance = (few_digits.ALLOWANCE * self.unit if self.in_half else share) * self.size
        if self.options.tolerance is not None:
            sizes = [np.sum(np.abs(part)) for part in terms]
            moved = [np.sum(np.abs(part)) for part in directions.values()]
            self.allowance += self.options.tolerance.rtol * float(sum(sizes))
            self.allowance += self.options.tolerance.atol * float(sum(moved))

    def _terms(self, directions: dict[str, Vector]) -> list[Vector]:
        return [
            (self.gradients[name] * direction).reshape(-1) for name, direction in directions.items()
        ]

    def value(self, *, afresh: bool = True) -> float:
        """Return the scalar where the tensors are; NaN if it raises there."""
        try:
            return float(self.function.value(afresh=afresh).detach())
        except Exception as error:  # beside the point: outside of what the module takes
            self.raised = f"{type(error).__name__}: {error}"
            return np.nan

    def at(self, step: float) -> float:
        """Evaluate with everything moved by a step."""
        try:
            self._move(step)
            return self.value()
        finally:
            self.put_back()

    def _move(self, step: float) -> None:
        with torch.no_grad():
            for name, tensor in self.tensors.items():
                tensor.copy_(self.base[name] + step * self.direction[name])

    def put_back(self) -> None:
        """Move nothing."""
        with torch.no_grad():
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
        kink, self.divergence = float(line.hull[0]), int(line.divergence[0])
        return float(line.slope[0]), float(line.error_bar[0]) + kink + self.allowance, kink

    def coarse(self) -> tuple[float, float]:
        """Return the best of differences over long steps, for values of few digits.

        As much as it is off what the gradient says of the displacements as they were rounded, the
        slope is off `said`. How much that changes with the step is what the step cuts off.
        """
        best, errors, bends = (np.nan, np.inf), [], []
        longest = LONGEST * 2.0 ** np.ceil(np.log2(self.unit) / 3)
        for halving in range(COARSE_STEPS):
            step = longest / 2**halving
            error, bend = self._offset(step)
            errors.append(error)
            bends.append(bend)
            if len(errors) > 2:  # two changes in a row: one may be small by chance
                changes = np.abs(np.diff(errors[-3:]))
                bar = SIGMAS * self.noise / step + max(changes[1], changes[0] / 2)
                # With the step curvature halves, and the sum over kinks within it grows as a root.
                bar += KINKS * max(bend / 2 ** (age / 2) for age, bend in enumerate(bends[::-1]))
                if bar < best[1]:
                    best = self.said + errors[-1], bar
        return best[0], best[1] + self.allowance

    def _offset(self, step: float) -> tuple[float, float]:
        """Return how much a difference is off what the gradient says of it, and how much f bends.

        What it says of the displacements as they were rounded.
        """
        values, places = [], []
        for sign in (1, -1):
            try:
                self._move(sign * step)
                places.append({name: numbers_of(part) for name, part in self.tensors.items()})
                values.append(self.value())
            finally:
                self.put_back()
        up, down = places
        moved = {name: (up[name] - down[name]) / (2 * step) for name in up}
        said = float(sum(np.sum(part) for part in self._terms(moved)))
        error = (values[0] - values[1]) / (2 * step) - said
        return error, abs(values[0] + values[1] - 2 * self.centre) / step

    def _in_half(self, number: int) -> tuple[str, str, float]:
        """Judge one direction by differences over many long steps."""
        self._take_direction(number)
        steps = few_digits.long_steps(self.unit)
        offsets = np.array([self._offset(step)[0] for step in steps.tolist()])
        rounding = few_digits.ROUNDING * self.noise / ROUNDINGS_COARSE
        offset, bar = few_digits.fitted_offset(steps, offsets, rounding)
        return few_digits.judged(self.said, offset, bar + self.allowance, self.size)

    def verdict(self) -> tuple[str, str, float]:
        """Return a verdict, its reason, and what would be seen.

        In few digits one direction is not believed alone: kinks within the steps are a matter of
        chance, and so is how much of a wrong gradient shows along a direction.
        """
        if self.in_half:
            unsteady = self._unsteady()
            if unsteady:
                return "inconclusive", unsteady, np.inf
            verdict, reason, bar = few_digits.voted(self._in_half)
            return verdict, reason, 4 * bar
        found = self._verdict()
        if self.unit == DOUBLE_UNIT or found[0] == "inconclusive":
            return found
        all_of_them = [found]
        for again in range(1, DIRECTIONS):
            self._take_direction(again)
            all_of_them.append(self._verdict())
        failed = [one for one in all_of_them if one[0] == "failed"]
        passed = [one for one in all_of_them if one[0] == "passed"]
        return (
            failed[0]
            if len(failed) >= DIRECTIONS - 1
            else max(passed or [found], key=lambda one: one[2])
        )

    def _verdict(self) -> tuple[str, str, float]:
        slope, allowed, kink = self._measured()
        if slope is None:
            return "inconclusive", self._unsteady(), np.inf
        if not np.isfinite(allowed) or not np.isfinite(slope):
            return "inconclusive", self._why_not_finite(), np.inf
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

    def _why_not_finite(self) -> str:
        if self.raised:
            return f"raised beside the point: {self.raised}"
        if self.divergence == JUMP:
            return "its values jump along a random direction"
        if self.divergence == INFINITE_SLOPE:
            return "its values have an infinite slope along a random direction"
        return "its values are not finite"

    def _measured(self) -> tuple[float | None, float, float]:
        """Return a slope, by how much it may be off, and by what part of that due to a kink."""
        kink = 0.0
        if self.unit > DOUBLE_UNIT:
            if self._unsteady():
                return None, np.inf, kink
            slope, allowed = self.coarse()
            return slope, allowed, kink
        slope, allowed = self.cheap()
        if not self._agrees(slope, allowed, kink):
            if self._unsteady():
                return None, np.inf, kink
            for shift in (1.0, INDEPENDENT):
                slope, allowed, kink = self.thorough(shift)
                if self._agrees(slope, allowed, kink):
                    break
        return slope, allowed, kink

    def _agrees(self, slope: float, allowed: float, kink: float) -> bool:
        """Tell whether a difference confirms the gradient; noise that hides it does not."""
        telling = self.size == 0 or allowed - kink < self.size
        return telling and abs(self.said - slope) <= allowed

    def _unsteady(self) -> str:
        """Say why differences mean nothing: the value changes where nothing else does."""
        again = self.at(0.0)
        if abs(again - self.centre) > SIGMAS * self.noise:
            return f"not deterministic: called twice it gave {self.centre:.9g} and {again:.9g}"
        later = self.value(afresh=False)
        if abs(later - self.centre) > SIGMAS * self.noise:
            return (
                "its value depends on buffers that every call changes, and a backward pass takes "
                "them as constant: check it in eval mode"
            )
        return ""


def _random_direction(tensor: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Return components between a half and one of the tensor's typical size, of either sign."""
    numbers = numbers_of(tensor)
    size = float(np.sqrt(np.mean(numbers**2))) if numbers.size else 0.0
    scale = 2.0 ** round(np.log2(size)) if 0 < size < np.inf else 1.0
    components = scale * random_components(rng, numbers.size)
    return tensor_of(components.reshape(numbers.shape), tensor)
