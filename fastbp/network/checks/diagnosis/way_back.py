"""Mistakes in a step of the way back: from the error of layer k to that of the layer below."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from fastbp.network.checks.diagnosis.recorded_pass import sigmoid
from fastbp.report.causes import Cause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastbp.network.checks.diagnosis.recorded_pass import RecordedPass
    from fastbp.typing import Floats, Indices

__all__ = ["Step", "Units", "Way", "masked_ways", "plain_step", "updated_steps", "weighted_ways"]

Units: TypeAlias = "slice | Indices"


class Step(NamedTuple):
    """The errors of a layer as a mistake makes them.

    Attributes
    ----------
    cause : Cause or None
        None for a right step.
    raw : float64, shape (units, batch)
        Before the mask.
    used, carried : float64, shape (units, batch)
        What the gradients of the layer are made of, and what goes on back.
    """

    cause: Cause | None
    raw: Floats
    used: Floats
    carried: Floats


class Way(NamedTuple):
    """A mistake in a step, not yet computed.

    Attributes
    ----------
    cause : Cause
    step : callable
        ``step(units)`` computes the errors of some units of the layer alone: most mistakes are
        ruled out by one of them.
    """

    cause: Cause
    step: Callable[[Units], Step]


def plain_step(right: RecordedPass, k: int, carried: Floats) -> Step:
    """Go back from layer k without a mistake; `carried` may hold earlier ones."""
    raw = right.weights[k].T @ carried
    used = right.masks[k - 1] * raw
    return Step(None, raw, used, used)


def masked_ways(right: RecordedPass, k: int, raw: Floats) -> Iterator[Way]:
    """Yield steps whose mask is wrong.

    Parameters
    ----------
    right : RecordedPass
    k : int
        The layer from which the error goes back.
    raw : float64, shape (units, batch)
        The error before the mask: all of these steps share its product with the weights.
    """
    below = k - 1
    f, h, mask = right.f[below], right.h[k], right.masks[below]

    def masked(cause: Cause, slope: Callable[[Units], Floats]) -> Way:
        return Way(cause, lambda units: _masked(cause, raw[units], slope(units)))

    missing = Cause("mask_missing")
    yield Way(missing, lambda units: Step(missing, raw[units], raw[units], raw[units]))
    for other, name in _other_levels(right, below):
        yield masked(Cause("mask_of", name), partial(_positive, other))
    yield masked(Cause("mask_inverted"), lambda units: 1.0 - mask[units])
    for name, slope in SLOPES:
        yield masked(Cause("slope", name), partial(_slope, slope, f, h))
    for leak in LEAKS:
        name = f"the derivative of a leaky ReLU with slope {leak:g}"
        yield masked(Cause("slope", name), partial(_leaky, f, leak))
    yield masked(Cause("nothing_back"), lambda units: np.zeros_like(mask[units]))


LEAKS = (0.01, 0.1, 0.2, 0.3)


def _other_levels(right: RecordedPass, below: int) -> Iterator[tuple[Floats, str]]:
    """Yield the values of other levels, of whose sign a mask may have been made."""
    shape = right.f[below].shape
    levels = [(right.h[0], "the inputs")]
    levels += [(f, f"layer {layer}") for layer, f in enumerate(right.f)]
    near_first = sorted(range(len(levels)), key=lambda level: abs(level - (below + 1)))
    for level in near_first[: 1 + MOST_MASKS]:
        values, name = levels[level]
        if level != below + 1 and values.shape == shape:
            yield values, {below: "the layer below", below + 2: "the layer above"}.get(level, name)


MOST_MASKS = 8


def _positive(values: Floats, units: Units) -> Floats:
    return (values[units] > 0).astype(np.float64)


def _leaky(f: Floats, leak: float, units: Units) -> Floats:
    return np.where(f[units] > 0, 1.0, leak)


def _slope(slope: Callable[[Floats, Floats], Floats], f: Floats, h: Floats, units: Units) -> Floats:
    return slope(f[units], h[units])


def _sigmoid_slope(values: Floats) -> Floats:
    p = sigmoid(values)
    return p * (1.0 - p)


# Derivatives of other activations, of the pre-activation f and the activation h.
SLOPES: tuple[tuple[str, Callable[[Floats, Floats], Floats]], ...] = (
    ("the derivative of tanh at the pre-activation", lambda f, _: 1.0 - np.tanh(f) ** 2),
    ("the derivative of tanh at the activation", lambda _, h: 1.0 - np.tanh(h) ** 2),
    ("1 - h^2, the derivative of tanh by its value,", lambda _, h: 1.0 - h**2),
    ("the derivative of the sigmoid at the pre-activation", lambda f, _: _sigmoid_slope(f)),
    ("the derivative of the sigmoid at the activation", lambda _, h: _sigmoid_slope(h)),
    ("h (1 - h), the derivative of the sigmoid by its value,", lambda _, h: h * (1.0 - h)),
    ("the sigmoid, the derivative of softplus,", lambda f, _: sigmoid(f)),
    ("the activation itself", lambda _, h: h),
    ("the pre-activation itself", lambda f, _: f),
)


def weighted_ways(
    right: RecordedPass, k: int, carried: Floats, given: Floats | None
) -> Iterator[Way]:
    """Yield steps that go back through something else than the layer's weights.

    Parameters
    ----------
    right : RecordedPass
    k : int
        The layer from which the error goes back.
    carried : float64, shape (n_out, batch)
    given : float64, shape (n_out, n_in), or None
        The given gradient of the layer's weights, where it has their shape.
    """
    weight, mask = right.weights[k], right.masks[k - 1]

    def through(cause: Cause, rows: Callable[[Units], Floats]) -> Way:
        return Way(cause, lambda units: _masked(cause, rows(units) @ carried, mask[units]))

    if weight.shape[0] == weight.shape[1]:
        yield through(Cause("not_transposed"), weight.__getitem__)
    gradient = Cause("gradient_for_weights")
    yield through(gradient, lambda units: right.weight_gradient(k, units).T)
    if given is not None:
        yield through(gradient, given.T.__getitem__)
    for other, one in enumerate(right.weights):
        if other != k and one.shape == weight.shape:
            yield through(Cause("other_weights", f"weights[{other}]"), one.T.__getitem__)
        elif other != k and one.T.shape == weight.shape:
            name = f"weights[{other}], transposed,"
            yield through(Cause("other_weights", name), one.__getitem__)
    yield through(Cause("other_weights", "|W|"), lambda units: np.abs(weight[:, units]).T)


def _masked(cause: Cause, raw: Floats, mask: Floats) -> Step:
    used = mask * raw
    return Step(cause, raw, used, used)


def updated_steps(
    right: RecordedPass, k: int, carried: Floats, given: Floats | None
) -> Iterator[tuple[Floats, Floats]]:
    """Yield what a step of 1 along the gradient takes from the raw and the used error."""
    gradients = [right.weight_gradient(k)] if given is None else [given, right.weight_gradient(k)]
    for gradient in gradients:
        raw = gradient.T @ carried
        yield raw, right.masks[k - 1] * raw
