"""Slopes to the left and to the right of one entry, where masks are in doubt.

A step of one parameter moves one pre-activation, and that moves on through the layers above by the
network's own rule. Where a mask is in doubt the pre-activation counts as 0: it passes on steps up
and nothing else. Nothing but these samples has two slopes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastbp.network.network import book_weight
from fastbp.typing import Floats

if TYPE_CHECKING:
    from fastbp.network.network import Network
    from fastbp.network.sensitivities.hull import Hull

__all__ = ["slopes_beside", "with_convention"]


def slopes_beside(
    net: Network, hull: Hull, k: int, unit: int, column: int | None, centre: float
) -> tuple[float, float]:
    """Return the slopes for a step down and up of one parameter.

    Parameters
    ----------
    net : Network
        In float64.
    hull : Hull
        With affected samples.
    k, unit : int
        The layer, and its unit.
    column : int or None
        The input of the unit whose weight is moved; None for the bias.
    centre : float
        The derivative with the centre of the hull.

    Notes
    -----
    One pass through the layers above for the affected samples, on each side.
    """
    feeds = np.ones(hull.affected) if column is None else hull.inputs[k][column]
    with np.errstate(over="ignore", invalid="ignore"):  # infinity or NaN, as the loss
        fixed = centre - float(np.sum(hull.centres[k][unit] * feeds))
        left, right = (fixed + side * _moved(net, hull, k, unit, side * feeds) for side in (-1, 1))
    return left, right


def _moved(net: Network, hull: Hull, k: int, unit: int, step: Floats) -> float:
    """How the loss moves when one pre-activation moves by so much in each affected sample."""
    moved = np.zeros((net.sizes[k + 1], step.size))
    moved[unit] = step
    for above in range(k + 1, len(net.weights)):
        doubt = hull.doubts[above - 1]
        passed = np.where(hull.active(above - 1), moved, np.where(doubt, np.maximum(moved, 0), 0.0))
        moved = book_weight(net, above) @ passed
    return float(np.sum(hull.centres[-1] * moved))


def with_convention(net: Network, hull: Hull, share: float) -> list[Floats]:
    """Sensitivities of the affected samples, masks in doubt all taken as ``share``.

    Returns
    -------
    list of float64, shape (units, A)
        Of each layer.
    """
    result = [hull.centres[-1]]
    for k in range(len(net.weights) - 1, 0, -1):
        mask = np.where(hull.active(k - 1), 1.0, np.where(hull.doubts[k - 1], share, 0.0))
        result.insert(0, mask * (book_weight(net, k).T @ result[0]))
    return result
