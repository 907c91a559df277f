"""How far two correct evaluations of one network may lie apart: computed bounds, nothing tuned.

Running error analysis (Higham, "Accuracy and Stability of Numerical Algorithms", section 3): a sum
of n products, in any order, with or without fused multiply-add, is off by at most
gamma(n) * sum |a_i| |b_i| with gamma(n) = n u / (1 - n u). The bounds go up and down through the
layers with absolute values. They are wide for deep nets, but they are certain.

A quotient of two losses divides their rounding by the step, and would be lost in such bounds. It
gets the probabilistic ones of Higham and Mary ("A new approach to probabilistic rounding error
analysis", SIAM J. Sci. Comput. 41, 2019): roundings of independent sign, so that a sum of n
products is off by more than LIKELY * sqrt(n) * u * sum |a_i| |b_i| with a probability of at most
2 exp(-LIKELY**2 / 2), and errors of different sums add up as their squares do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from reference import (
    Reference,
    as_columns,
    d_summed_loss,
    factor,
    forward,
    mask_of,
    perturbations,
    summed_loss,
    targets,
)

# Roundings on top of the n of a sum: the bias, a rank-1 update of a finished sum, a product by the
# scale and one by the reduction, a difference out - y, an addition of the weight decay.
EXTRA = 8

# Exceeded with a probability of at most 3e-8.
LIKELY = 6.0

# Roundings of an elementary function and its surroundings in a cross-entropy: exp and log are
# good to 2 ulp each in NumPy and in the C library (4 for the float32 versions).
ELEMENTARY = 16


def gamma(n: int, unit: float) -> float:
    return n * unit / (1 - n * unit)


def unit_roundoff(dtype: np.dtype | type) -> float:
    return float(np.finfo(dtype).eps) / 2


def forward_bounds(
    net: Reference, x: np.ndarray, unit: float
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Pre-activations and activations, and the largest error that each can have."""
    f, h = forward(net, x)
    error_f: list[np.ndarray] = []
    error_h = [np.zeros_like(h[0])]
    for k in range(len(f)):
        weight = np.abs(net.book_weight(k))
        size = weight @ (np.abs(h[k]) + error_h[k]) + np.abs(net.book_bias(k))
        error_f.append(weight @ error_h[k] + gamma(weight.shape[1] + EXTRA, unit) * size)
        if k + 1 < len(f):
            error_h.append(error_f[k])  # max(f, 0) never moves further than f
    return f, h, error_f, error_h


def loss_bound(
    net: Reference, f: list[np.ndarray], error_f: list[np.ndarray], y: np.ndarray, unit: float
) -> float:
    """The largest error of the objective."""
    output, error = f[-1], error_f[-1]
    book_y = as_columns(net.layout, y)
    c, batch = output.shape
    inherited, terms = _inherited_and_size(net, output, error, book_y)
    own = gamma(c * batch + EXTRA + ELEMENTARY, unit) * terms
    squares = 0.5 * net.weight_decay * sum(float((w**2).sum()) for w in net.weights)
    n_weights = sum(w.size for w in net.weights)
    decay = gamma(n_weights + EXTRA, unit) * squares if net.weight_decay else 0.0
    total = abs(factor(net, output)) * terms + squares
    return abs(factor(net, output)) * (inherited + own) + decay + EXTRA * unit * total


def _inherited_and_size(
    net: Reference, output: np.ndarray, error: np.ndarray, y: np.ndarray
) -> tuple[float, float]:
    """What the error of the output does to the summed loss, and the sum of its terms' sizes."""
    if net.loss == "least_squares":
        distance = np.abs(output - y) + error
        return float((2 * distance * error).sum()), float((distance**2).sum())
    if net.loss == "softmax_cross_entropy":
        # log-sum-exp moves by at most the largest move of a logit.
        moves = error.max(axis=0) * targets(y, output).sum(axis=0) + (
            targets(y, output) * error
        ).sum(axis=0)
        size = 2 * np.abs(output).max(axis=0) + np.log(len(output)) + 1
        return float(moves.sum()), float(size.sum())
    if net.loss == "sigmoid_cross_entropy":
        return float((2 * error).sum()), float((2 * np.abs(output) + 1).sum())
    # The test suite's own loss pair has slopes of at most 1 (see strategies.py).
    return float(error.sum()), abs(summed_loss(net, output, y)) + float(
        (np.abs(output) + np.abs(y) + 1).sum()
    )


def d_loss_bound(
    net: Reference, output: np.ndarray, error: np.ndarray, y: np.ndarray, unit: float
) -> np.ndarray:
    """The largest error of the derivative of the objective by the output."""
    slope = np.abs(d_summed_loss(net, output, y))
    if net.loss == "least_squares":
        inherited, size = 2 * error, slope + 2 * error
    elif net.loss == "softmax_cross_entropy":
        # A logit's error, amplified by no more than exp; its rounding inside exp by its size.
        inherited = 2 * np.broadcast_to(error.max(axis=0), output.shape)
        size = np.broadcast_to(2 + 4 * np.abs(output).max(axis=0) + len(output), output.shape)
    elif net.loss == "sigmoid_cross_entropy":
        inherited, size = error, 2 + np.abs(output)
    else:
        inherited, size = error, slope + np.abs(output) + np.abs(y) + 1
    return abs(factor(net, output)) * (inherited + gamma(EXTRA + ELEMENTARY, unit) * size)


class GradientBounds(NamedTuple):
    flat: np.ndarray
    inputs: np.ndarray
    """Of the gradient of the inputs; columns are examples."""
    masks_in_doubt: bool
    """True where rounding decides a mask: then no bound holds."""


def gradient_bounds(net: Reference, x: np.ndarray, y: np.ndarray, unit: float) -> GradientBounds:
    """The largest error of the gradients, for sums in any order at this unit roundoff."""
    f, h, error_f, error_h = forward_bounds(net, x, unit)
    book_y = as_columns(net.layout, y)
    df = factor(net, f[-1]) * d_summed_loss(net, f[-1], book_y)
    error_df = d_loss_bound(net, f[-1], error_f[-1], book_y, unit)
    batch = df.shape[1]
    bounds: list[list[np.ndarray]] = []
    for k in range(len(f) - 1, -1, -1):
        weight = np.abs(net.book_weight(k))
        size = np.abs(df) + error_df
        bias = (error_df + gamma(batch + EXTRA, unit) * size).sum(axis=1, keepdims=True)
        product = size @ (np.abs(h[k]) + error_h[k]).T + net.weight_decay * weight
        d_weight = (
            error_df @ np.abs(h[k]).T + size @ error_h[k].T + gamma(batch + EXTRA, unit) * product
        )
        if net.layout == "keras":
            d_weight = d_weight.T
        bounds.insert(0, [d_weight] if net.biases is None else [d_weight, bias])
        dh = net.book_weight(k).T @ df
        error_dh = weight.T @ error_df + gamma(weight.shape[0] + EXTRA, unit) * (weight.T @ size)
        if k > 0:
            mask = mask_of(f[k - 1], net.relu_at_zero)
            df, error_df = mask * dh, mask * (error_dh + 2 * unit * np.abs(dh))
    flat = np.concatenate([bound.ravel() for layer in bounds for bound in layer])
    return GradientBounds(flat, error_dh, masks_in_doubt(f, error_f))


def masks_in_doubt(f: list[np.ndarray], error_f: list[np.ndarray]) -> bool:
    """Whether a hidden pre-activation is within its own rounding of 0, and not exactly known."""
    return any(
        bool(np.any((np.abs(value) <= bound) & (bound > 0)))
        for value, bound in zip(f[:-1], error_f[:-1], strict=True)
    )


def likely_loss_error(
    net: Reference, f: list[np.ndarray], h: list[np.ndarray], y: np.ndarray, unit: float
) -> float:
    """An error of the objective that two evaluations do not exceed, but by a rare accident."""
    squared = np.zeros_like(h[0])
    for k in range(len(f)):
        weight = net.book_weight(k)
        size = np.abs(weight) @ np.abs(h[k]) + np.abs(net.book_bias(k))
        own = LIKELY * np.sqrt(weight.shape[1] + EXTRA) * unit * size
        squared = weight**2 @ squared + own**2
        if k + 1 < len(f):
            squared = squared * (f[k] > -np.sqrt(squared))  # a unit that is off passes on nothing
    output, book_y = f[-1], as_columns(net.layout, y)
    slope = d_summed_loss(net, output, book_y)
    inherited = float(np.sqrt((slope**2 * squared).sum()) + squared.sum())
    sizes = _sizes_of_terms(net, output, book_y)
    elementary = ELEMENTARY * unit * float(np.sqrt((sizes**2).sum()))
    summation = LIKELY * np.sqrt(output.size + EXTRA) * unit * float(sizes.sum())
    squares = 0.5 * net.weight_decay * sum(float((w**2).sum()) for w in net.weights)
    n_weights = sum(w.size for w in net.weights)
    decay = LIKELY * np.sqrt(n_weights + EXTRA) * unit * squares
    return float(abs(factor(net, output)) * (inherited + elementary + summation) + decay)


def _sizes_of_terms(net: Reference, output: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How large the numbers are that a sample's or an entry's loss is computed from."""
    if net.loss == "least_squares":
        return (output - y) ** 2
    if net.loss == "softmax_cross_entropy":
        return 2 * np.abs(output).max(axis=0) + np.log(len(output)) + 1
    return 2 * np.abs(output) + np.abs(y) + 2


def replay_bounds(
    net: Reference,
    x: np.ndarray,
    y: np.ndarray,
    *,
    scheme: str,
    delta: float,
    entries: Sequence[int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """How far two loops may differ in each quotient, and where rounding decides a mask.

    The first is a probabilistic bound, the second certain: all that could be in doubt is.
    """
    unit = unit_roundoff(np.float64)
    base_f, _, base_error, _ = forward_bounds(net, x, unit)
    doubt_at_base = masks_in_doubt(base_f, base_error)
    bounds, doubts = [], []
    for plus, minus, step in perturbations(net, scheme=scheme, delta=delta, entries=entries):
        bound, doubt = 0.0, doubt_at_base
        for moved in (plus, minus):
            f, h, error_f, _ = forward_bounds(moved, x, unit)
            # Two evaluations of the same loss, each with this error.
            bound += 2 * likely_loss_error(moved, f, h, y, unit) / step
            doubt = doubt or masks_in_doubt(f, error_f)
        bounds.append(bound)
        doubts.append(doubt)
    return np.array(bounds), np.array(doubts, dtype=bool)
