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

from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.network.losses import Objective, custom_gradient
from fastbp.typing import Floats


def loss_slopes(
    objective: Objective, output: Floats, y: npt.NDArray[Any], classes_axis: int
) -> Floats:
    """Divide the difference of each sample's loss by that of each of its outputs.

    Parameters
    ----------
    objective : Objective
    output : float64, shape of the outputs in the user's layout
    y : ndarray
        Checked targets; floats are float64.
    classes_axis : int
        The axis of the outputs that counts units.

    Returns
    -------
    float64, shape (n_out, batch)
        Of the summed loss, before reduction and scale.  For a loss given as a pair of callables
        that is what its second returns: `check_network` compares it with the first.
    """
    if objective.custom is not None:
        given = custom_gradient(objective.custom[1], output, y).astype(np.float64)
        return given if classes_axis == 0 else given.T
    by_unit = output if classes_axis == 0 else output.T
    if y.ndim == 1:
        return _softmax_of_labels(by_unit, y)
    targets = y if classes_axis == 0 else y.T
    if objective.loss == "softmax_cross_entropy":
        shares = _softmax(by_unit)
        return shares * _sum_of_others(targets) - targets * _sum_of_others(shares)
    if objective.loss == "sigmoid_cross_entropy":
        small = np.exp(-np.abs(by_unit))  # at most 1: nothing overflows
        positive = by_unit >= 0.0
        on, off = np.where(positive, 1.0, small), np.where(positive, small, 1.0)
        saturating: Floats = ((1.0 - targets) * on - targets * off) / (1.0 + small)
        return saturating
    with np.errstate(over="ignore", invalid="ignore"):  # infinity, as the loss
        slopes: Floats = 2.0 * (by_unit - targets)
    return slopes


def _softmax(output: Floats) -> Floats:
    with np.errstate(invalid="ignore"):  # of infinite outputs: NaN says it is no number
        shares: Floats = np.exp(output - output.max(axis=0))
    shares /= shares.sum(axis=0)
    return shares


def _softmax_of_labels(output: Floats, labels: npt.NDArray[Any]) -> Floats:
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
