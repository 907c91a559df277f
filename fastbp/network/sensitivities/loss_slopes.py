"""How a loss answers to a change of one output: differences of two losses, not subtracted.

Where the outputs of a sample move by d, its loss moves by

- least squares: sum_k d_k (2 (o_k - y_k) + d_k);
- softmax cross-entropy with probabilities y: sum_c y_c log1p(sum_(k != c) p_k expm1(d_k - d_c));
- sigmoid cross-entropy: sum_k (1 - y_k) log1p(s(o_k) expm1(d_k)) + y_k log1p(s(-o_k) expm1(-d_k)),
  with s(o) = 1 / (1 + exp(-o)).

None of these subtracts two numbers that are nearly equal, so d may be as small as one likes.  Below
2^-60 expm1(d) and log1p(d) round to d, and what is left is d times the *slopes* computed here.
They keep their digits where p is nearly 0 or 1, which p - y does not.
"""

from __future__ import annotations

import numpy as np

from fastbp.network.batch import Batch
from fastbp.network.losses import Objective
from fastbp.typing import Array, Floats


def loss_slopes(objective: Objective, output: Floats, batch: Batch) -> Floats:
    """Divide the difference of each sample's loss by that of each of its outputs.

    Parameters
    ----------
    objective : Objective
    output : float64, shape (n_out, batch)
    batch : Batch
        Floats are float64.

    Returns
    -------
    float64, shape (n_out, batch)
        Of the summed loss, before reduction and scale.  For a loss given as a pair of callables
        that is what its second returns: `check_network` compares it with the first.
    """
    if objective.custom is not None:
        return batch.custom_gradient(objective.custom, output).astype(np.float64)
    output = batch.by_unit(batch.as_user(output))  # sums over outputs add in the user's order
    if batch.y.ndim == 1:
        return _softmax_of_labels(output, batch.y)
    targets = batch.by_unit(batch.y)
    if objective.loss == "softmax_cross_entropy":
        shares = _softmax(output)
        return shares * _sum_of_others(targets) - targets * _sum_of_others(shares)
    if objective.loss == "sigmoid_cross_entropy":
        small = np.exp(-np.abs(output))  # at most 1: nothing overflows
        positive = output >= 0.0
        on, off = np.where(positive, 1.0, small), np.where(positive, small, 1.0)
        saturating: Floats = ((1.0 - targets) * on - targets * off) / (1.0 + small)
        return saturating
    with np.errstate(over="ignore", invalid="ignore"):  # infinity, as the loss
        slopes: Floats = 2.0 * (output - targets)
    return slopes


def _softmax(output: Floats) -> Floats:
    with np.errstate(invalid="ignore"):  # of infinite outputs: NaN says it is no number
        shares: Floats = np.exp(output - output.max(axis=0))
    shares /= shares.sum(axis=0)
    return shares


def _softmax_of_labels(output: Floats, labels: Array) -> Floats:
    """p_k for all but the class; for the class -sum of these."""
    slopes = _softmax(output)
    samples = np.arange(labels.size)
    slopes[labels, samples] = 0.0
    slopes[labels, samples] = -slopes.sum(axis=0)
    return slopes


def _sum_of_others(values: Floats) -> Floats:
    """For each class the sum over all others, added, not subtracted from the sum of all."""
    others = np.zeros(values.shape)
    others[1:] = np.cumsum(values[:-1], axis=0)
    others[:-1] += np.cumsum(values[:0:-1], axis=0)[::-1]
    return others
