"""Mistakes in a step of the way back: from the error of layer k to that of the layer below."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastbp.network.checks.diagnosis.recorded_pass import sigmoid
from fastbp.report.causes import Cause

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastbp.network.checks.diagnosis.recorded_pass import RecordedPass
    from fastbp.typing import Floats, Indices

__all__ = ["Step", "masked_steps", "plain_step", "updated_steps", "weighted_steps"]


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


def plain_step(right: RecordedPass, k: int, carried: Floats) -> Step:
    """Go back from layer k without a mistake; `carried` may hold earlier ones."""
    raw = right.weights[k].T @ carried
    used = right.masks[k - 1] * raw
    return Step(None, raw, used, used)


def masked_steps(right: RecordedPass, k: int, raw: Floats, units: Indices) -> Iterator[Step]:
    """Yield steps whose mask is wrong, for some units of the layer below.

    Parameters
    ----------
    right : RecordedPass
    k : int
        The layer from which the error goes back.
    raw : float64, shape (units, batch)
        The error before the mask: all of these steps share its product with the weights.
    units : int64, shape (units,)
    """
    below = k - 1
    mask, f, h = right.masks[below][units], right.f[below][units], right.h[k][units]
    yield Step(Cause("mask_missing"), raw, raw, raw)
    for other, name in _other_masks(right, below, units):
        yield _masked(Cause("mask_of", name), raw, other)
    yield _masked(Cause("mask_inverted"), raw, 1.0 - mask)
    for name, slope in _slopes(f, h):
        yield _masked(Cause("slope", name), raw, slope)
    for leak in LEAKS:
        name = f"the derivative of a leaky ReLU with slope {leak:g}"
        yield _masked(Cause("slope", name), raw, np.where(f > 0, 1.0, leak))
    yield _masked(Cause("nothing_back"), raw, np.zeros_like(raw))


LEAKS = (0.01, 0.1, 0.2, 0.3)


def _other_masks(right: RecordedPass, below: int, units: Indices) -> Iterator[tuple[Floats, str]]:
    shape = right.f[below].shape
    levels = [(right.h[0], "the inputs")]
    levels += [(f, f"layer {layer}") for layer, f in enumerate(right.f)]
    near_first = sorted(range(len(levels)), key=lambda level: abs(level - (below + 1)))
    for level in near_first[: 1 + MOST_MASKS]:
        values, name = levels[level]
        if level != below + 1 and values.shape == shape:
            name = {below: "the layer below", below + 2: "the layer above"}.get(level, name)
            yield (values[units] > 0).astype(np.float64), name


MOST_MASKS = 8


def _slopes(f: Floats, h: Floats) -> Iterator[tuple[str, Floats]]:
    """Yield derivatives of other activations, at the pre-activation f and at the activation h."""
    p, q = sigmoid(f), sigmoid(h)
    yield "the derivative of tanh at the pre-activation", 1.0 - np.tanh(f) ** 2
    yield "the derivative of tanh at the activation", 1.0 - np.tanh(h) ** 2
    yield "1 - h^2, the derivative of tanh by its value,", 1.0 - h**2
    yield "the derivative of the sigmoid at the pre-activation", p * (1.0 - p)
    yield "the derivative of the sigmoid at the activation", q * (1.0 - q)
    yield "h (1 - h), the derivative of the sigmoid by its value,", h * (1.0 - h)
    yield "the sigmoid, the derivative of softplus,", p
    yield "the activation itself", h
    yield "the pre-activation itself", f


def weighted_steps(
    right: RecordedPass, k: int, carried: Floats, given: Floats | None
) -> Iterator[Step]:
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
    if weight.shape[0] == weight.shape[1]:
        yield _masked(Cause("not_transposed"), weight @ carried, mask)
    gradients = [right.weight_gradient(k)] if given is None else [right.weight_gradient(k), given]
    for gradient in gradients:
        yield _masked(Cause("gradient_for_weights"), gradient.T @ carried, mask)
    for other, one in enumerate(right.weights):
        if other != k and one.shape == weight.shape:
            cause = Cause("other_weights", f"weights[{other}]")
            yield _masked(cause, one.T @ carried, mask)
        elif other != k and one.T.shape == weight.shape:
            cause = Cause("other_weights", f"weights[{other}], transposed,")
            yield _masked(cause, one @ carried, mask)
    size = np.abs(weight)
    yield _masked(Cause("other_weights", "|W|"), size.T @ carried, mask)


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
