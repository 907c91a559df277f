"""Mistakes that people make, planted in a backward pass to be seen: what ``fastbp demo`` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastbp.errors import OptionError
from fastbp.network.checks.diagnosis.recorded_pass import RecordedPass, recorded_pass
from fastbp.network.network import require_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbp.network.network import Network
    from fastbp.typing import Array, Floats

__all__ = ["MISTAKES", "planted_gradients"]

Lists = tuple[list["Floats"], list["Floats"]]


class Backward:
    """A backward pass whose parts can be exchanged."""

    def __init__(self, right: RecordedPass) -> None:
        self.right = right
        self.output_error = right.s[-1]
        self.masks, self.weights, self.fed = list(right.masks), list(right.weights), list(right.h)
        self.decay = right.objective.weight_decay

    def run(self) -> Lists:
        """Return the gradients by weights and biases."""
        error, last = self.output_error, self.right.last
        d_weights: list[Floats] = []
        d_biases: list[Floats] = []
        for k in range(last, -1, -1):
            d_weights.insert(0, error @ self.fed[k].T + self.decay * self.right.weights[k])
            d_biases.insert(0, error.sum(axis=1))
            if k:
                error = self.masks[k - 1] * (self.weights[k].T @ error)
        return d_weights, d_biases


class Mistake(NamedTuple):
    """What is wrong, in words, and the gradients that come of it."""

    said: str
    gradients: Callable[[Backward], Lists]


def planted_gradients(name: str, net: Network, x: Array, y: Array) -> Lists:
    """Return the gradient of a network in the book's layout, with a mistake.

    Raises
    ------
    OptionError
        If there is no such mistake.
    """
    if name not in MISTAKES:
        raise OptionError(f"mistake must be one of {', '.join(MISTAKES)}, not {name!r}.")
    right = recorded_pass(net, require_batch(net, x, y), net.relu_at_zero)
    assert right is not None
    d_weights, d_biases = MISTAKES[name].gradients(Backward(right))
    shapes = net.shapes.biases or ()
    biases = [
        one.reshape(shape) if one.size == len(right.weights[k]) else one
        for k, (one, shape) in enumerate(zip(d_biases, shapes, strict=True))
    ]
    return [np.ascontiguousarray(one) for one in d_weights], biases


def _doubled(bp: Backward) -> Lists:
    d_weights, d_biases = bp.run()
    return [2 * one for one in d_weights], [2 * one for one in d_biases]


def _sign(bp: Backward) -> Lists:
    d_weights, d_biases = bp.run()
    return [-one for one in d_weights], [-one for one in d_biases]


def _bias_mean(bp: Backward) -> Lists:
    d_weights, d_biases = bp.run()
    return d_weights, [one / bp.right.batch for one in d_biases]


def _not_summed(bp: Backward) -> Lists:
    d_weights, d_biases = bp.run()
    return d_weights, [*d_biases[:-1], bp.output_error]


def _no_mask(bp: Backward) -> Lists:
    bp.masks = [np.ones_like(mask) for mask in bp.masks]
    return bp.run()


def _sigmoid(bp: Backward) -> Lists:
    bp.masks = [h * (1.0 - h) for h in bp.fed[1:]]
    return bp.run()


def _one_layer_off(bp: Backward) -> Lists:
    bp.fed[2] = bp.fed[1]
    return bp.run()


def _transposed(bp: Backward) -> Lists:
    d_weights, d_biases = bp.run()
    return [one.T for one in d_weights], d_biases


def _updated_weights(bp: Backward) -> Lists:
    steps, _ = bp.run()
    bp.weights = [one - 0.1 * step for one, step in zip(bp.weights, steps, strict=True)]
    return bp.run()


def _no_decay(bp: Backward) -> Lists:
    bp.decay = 0.0
    return bp.run()


def _left_at_zero(bp: Backward) -> Lists:
    d_weights, d_biases = bp.run()
    d_weights[1] = np.zeros_like(d_weights[1])
    return d_weights, d_biases


def _softmax(bp: Backward) -> Lists:
    p = bp.right.targets + bp.output_error / bp.right.factor
    bp.output_error = bp.output_error * p * (1.0 - p)
    return bp.run()


MISTAKES = {
    "doubled": Mistake("every array twice what it should be", _doubled),
    "sign": Mistake("the sign of every array", _sign),
    "bias-mean": Mistake("a mean over the batch in the biases", _bias_mean),
    "not-summed": Mistake("the last bias not summed over the batch", _not_summed),
    "no-mask": Mistake("the mask of the ReLU missing on the way back", _no_mask),
    "sigmoid": Mistake("the derivative of a sigmoid in place of the mask", _sigmoid),
    "one-layer-off": Mistake("the activations of the layer below", _one_layer_off),
    "transposed": Mistake("every weight gradient transposed", _transposed),
    "updated-weights": Mistake("the error goes back through updated weights", _updated_weights),
    "no-decay": Mistake("the term of the weight decay missing", _no_decay),
    "zero": Mistake("one array left at zero", _left_at_zero),
    "softmax": Mistake("the derivative of softmax without its cross terms", _softmax),
}
