"""Mistakes in the derivative of the loss by the outputs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fastbp.network.checks.diagnosis.recorded_pass import probabilities, sigmoid
from fastbp.report.causes import Cause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastbp.network.checks.diagnosis.recorded_pass import RecordedPass
    from fastbp.network.checks.diagnosis.way_back import Units
    from fastbp.typing import Floats

__all__ = ["output_errors"]


def output_errors(right: RecordedPass) -> Iterator[tuple[Cause, Callable[[Units], Floats]]]:
    """Yield what people take for the error at the output, as a function of the units."""
    for cause, error in _of_all_examples(right):
        yield cause, error.__getitem__
    for n in range(min(right.batch, MOST_EXAMPLES)) if right.batch > 1 else ():
        for said, times in OF_AN_EXAMPLE:
            yield Cause("examples", said.format(n)), partial(_of_example, right.s[-1], n, times)
        alone = Cause("examples", f"the gradient of example {n} alone")
        yield alone, partial(_example_alone, right.s[-1], n)


MOST_EXAMPLES = 64
# By what an example is multiplied.
OF_AN_EXAMPLE = (
    ("example {} is left out", 0.0),
    ("example {} counts twice", 2.0),
    ("example {} has the wrong sign", -1.0),
)


def _of_example(true: Floats, n: int, times: float, units: Units) -> Floats:
    error = true[units].copy()
    error[:, n] *= times
    return error


def _example_alone(true: Floats, n: int, units: Units) -> Floats:
    error = np.zeros_like(true[units])
    error[:, n] = true[units][:, n]
    return error


def _of_all_examples(right: RecordedPass) -> Iterator[tuple[Cause, Floats]]:
    output, targets, true = right.f[-1], right.targets, right.s[-1]
    yield Cause("zero"), np.zeros_like(true)
    yield Cause("mask_at_output"), true * (output > 0)
    loss = right.objective.loss
    if loss == "softmax_cross_entropy":
        yield from _of_softmax(right)
    elif loss == "sigmoid_cross_entropy":
        yield from _of_sigmoid(right)
    else:
        yield _wrong("the error output - y alone"), right.factor * (output - targets)
    if loss != "least_squares":
        yield _wrong("that of least squares"), 2.0 * right.factor * (output - targets)
    else:
        p = sigmoid(output)
        yield _wrong("the derivative of a sigmoid at the output too many"), true * p * (1 - p)
        yield _wrong("the sign of the error in place of the error"), right.factor * np.sign(true)
    yield _wrong("the targets are not subtracted"), true + right.factor * _target_share(right)
    yield _wrong("only the targets are left"), -right.factor * _target_share(right)


def _of_softmax(right: RecordedPass) -> Iterator[tuple[Cause, Floats]]:
    output, y, factor = right.f[-1], right.targets, right.factor
    p = probabilities(output)
    yield (
        _wrong("p (1 - p) multiplies p - y: softmax without its cross terms"),
        factor * (p - y) * p * (1 - p),
    )
    yield (
        _wrong("softmax without its cross terms, as if p were differentiated by its own output"),
        -factor * y * (1 - p),
    )
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        alone = np.where(y == 0, 0.0, -factor * y / p)
        if np.isfinite(alone).all():
            yield _wrong("the derivative by the probabilities, softmax left out"), alone
    yield _wrong("softmax over the batch"), factor * (probabilities(output, 1) - y)
    yield (
        _wrong("softmax without its axis, over units and batch at once"),
        factor * (probabilities(output, None) - y),
    )
    yield _wrong("output - y, softmax left out"), factor * (output - y)
    yield _wrong("sigmoid in place of softmax"), factor * (sigmoid(output) - y)


def _of_sigmoid(right: RecordedPass) -> Iterator[tuple[Cause, Floats]]:
    output, y, factor = right.f[-1], right.targets, right.factor
    p = sigmoid(output)
    yield _wrong("the derivative p (1 - p) of the sigmoid too many"), factor * (p - y) * p * (1 - p)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        alone = factor * (p - y) / (p * (1 - p))
        if np.isfinite(alone).all():
            yield _wrong("the derivative by the probabilities, the sigmoid left out"), alone
    yield _wrong("output - y, the sigmoid left out"), factor * (output - y)
    yield _wrong("softmax in place of the sigmoid"), factor * (probabilities(output) - y)


def _target_share(right: RecordedPass) -> Floats:
    """Return by how much the targets lower the error, over the factor."""
    if right.objective.loss == "least_squares":
        return 2.0 * right.targets
    return right.targets


def _wrong(what: str) -> Cause:
    return Cause("output_error", what)
