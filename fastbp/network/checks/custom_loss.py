"""Checking the gradient of a custom loss, by the network's outputs, for each sample.

A custom loss is a pair of functions: its value, summed over the samples it is given, and its
gradient by the output. The backward pass starts from that gradient, so a mistake in it makes all
arrays wrong; looked at alone, it shows where it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.network.losses import custom_value
from fastbp.runtime.floating_point import callers_errstate
from fastbp.runtime.progress import progress_bar
from fastbp.typing import Array, Floats, Mask
from fastbp.verdict.rows import Numerical, judged_row

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbp.network.batch import Batch, Index
    from fastbp.network.network import Network
    from fastbp.report import ArrayReport, Failure
    from fastbp.verdict.tolerance import Tolerance

    Value = Callable[[Array, Array], Any]

__all__ = ["check_loss"]

EPS = float(np.finfo(np.float64).eps)
# The step that balances rounding, eps / step, against what a central difference cuts off, step**2.
STEP = EPS ** (1 / 3)
# The values of a batch must be the sum of those of its samples, to this relative difference.
ADDITIVITY = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class LossCheck:
    """The row "loss" of a report, its wrong entries, and what it cost."""

    row: ArrayReport
    failures: tuple[Failure, ...]
    evaluations: int


def check_loss(
    net: Network,
    batch: Batch,
    tolerance: Tolerance | None,
    progress: bool | None,
) -> LossCheck | None:
    """Check the gradient of a custom loss against central differences of its value, in float64.

    Parameters
    ----------
    net, batch : Network, Batch
    tolerance, progress : Tolerance or None, bool or None
        As in `check_network`.

    Returns
    -------
    LossCheck or None
        None if the loss of the network is one of those that have a name.

    Notes
    -----
    Every sample is handed to the value on its own, and all together to the gradient: a loss that
    mixes the samples of a batch is wrong, since they are a sum. Each entry takes four evaluations.
    """
    if net.objective.custom is None:
        return None
    value, gradient = net.objective.custom
    output = net.forward(batch.x).output.astype(np.float64)
    targets = batch.in_float64().y
    with callers_errstate():
        given = np.asarray(gradient(output.copy(), targets.copy()))
    samples = [batch.index(n) for n in range(batch.size)]
    numerical, evaluations = _differences(value, output, targets, samples, progress)
    row, failures = judged_row(given, numerical, np.dtype(np.float64), tolerance)
    mixing = _mixing_reason(value, output, targets, samples)
    if mixing:
        reason = "; ".join(filter(None, [row.reason, mixing]))
        row = replace(row, verdict="failed", reason=reason)
    return LossCheck(row, failures, evaluations + batch.size + 1)


def _differences(
    value: Value, output: Floats, targets: Floats, samples: list[Index], progress: bool | None
) -> tuple[Numerical, int]:
    """Difference the value by every entry of the output."""
    slopes, error_bars = np.empty_like(output), np.empty_like(output)
    kinks = np.empty(output.shape, dtype=bool)
    with progress_bar(progress, output.size, "loss") as advance:
        for part in samples:
            own = _differences_of_sample(value, output[part], targets[part])
            slopes[part], error_bars[part], kinks[part] = own
            advance(output.size // len(samples))
    numerical = Numerical(
        "loss",
        output.shape,
        slopes.reshape(-1),
        error_bars.reshape(-1),
        left_out=kinks.reshape(-1),
    )
    return numerical, 4 * output.size + len(samples)


def _differences_of_sample(
    value: Value, output: Floats, target: Floats
) -> tuple[Floats, Floats, Mask]:
    """Return slopes, error bars and kinks by the outputs of one sample.

    Two step sizes tell how far a quotient is off. The difference of the slopes on both sides
    halves with the step where the loss is smooth, and stays where it has a kink.
    """
    steps = STEP * np.maximum(1.0, np.abs(output))
    middle = custom_value(value, output, target)
    near = _values_beside(value, output, target, steps)
    far = _values_beside(value, output, target, 2 * steps)
    slopes = (near[1] - near[0]) / (2 * steps)
    far_slopes = (far[1] - far[0]) / (4 * steps)
    size = np.maximum(np.abs(near[0]), np.abs(near[1])) + np.max(np.abs(output))
    noise = 16 * EPS * size / steps
    bend = np.abs(near[1] - 2 * middle + near[0]) / steps
    far_bend = np.abs(far[1] - 2 * middle + far[0]) / (2 * steps)
    kinks = (bend > 0.6 * far_bend) & (bend > 4 * noise)
    return slopes, 2 * np.abs(far_slopes - slopes) + noise, kinks


def _values_beside(
    value: Value, output: Floats, target: Floats, steps: Floats
) -> tuple[Floats, Floats]:
    """Return the values a step below and a step above each output."""
    below, above = np.empty_like(output), np.empty_like(output)
    for place in np.ndindex(output.shape):
        for values, step in ((below, -steps[place]), (above, steps[place])):
            moved = output.copy()
            moved[place] += step
            values[place] = custom_value(value, moved, target)
    return below, above


def _mixing_reason(value: Value, output: Floats, targets: Floats, samples: list[Index]) -> str:
    """Say so if the value of the batch is not the sum of the values of its samples."""
    single = [custom_value(value, output[part], targets[part]) for part in samples]
    whole = custom_value(value, output, targets)
    if abs(whole - sum(single)) <= ADDITIVITY * sum(map(abs, single)):
        return ""
    return (
        f"the value of the batch is {whole:.9g}, but the values of its samples sum to "
        f"{sum(single):.9g}"
    )
