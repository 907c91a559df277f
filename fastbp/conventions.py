"""Which derivative of the ReLU at exactly 0 a given gradient follows: 0, 1/2, 1, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastbp.hull import Hull
    from fastbp.sweeps import Sweeps
    from fastbp.tiles import Tiles

__all__ = ["fitting_convention"]

CONVENTIONS = (("0", 0.0), ("1/2", 0.5), ("1", 1.0))
# Rows and columns of each array that are looked at: those that the convention moves most.
LOOKED_AT = 24


def fitting_convention(
    sweeps: Sweeps,
    hull: Hull,
    tiles: Tiles,
    weights: list[NDArray[Any]],
    biases: NDArray[Any] | None,
) -> str:
    """Try the conventions as a whole.

    Parameters
    ----------
    sweeps, hull, tiles : Sweeps, Hull, Tiles
        Of the finished comparison.
    weights : list of ndarray
        The given weight gradients.
    biases : ndarray or None
        The given bias gradients, layer after layer.

    Returns
    -------
    str
        "0", "1/2", "1", several of them ("0 and 1"), or "none"; empty where it makes no
        difference.
    """
    fitting = [
        name for name, share in CONVENTIONS if _fits(sweeps, hull, tiles, weights, biases, share)
    ]
    if len(fitting) == len(CONVENTIONS):
        return ""
    return " and ".join(fitting) if fitting else "none"


def _fits(
    sweeps: Sweeps,
    hull: Hull,
    tiles: Tiles,
    weights: list[NDArray[Any]],
    biases: NDArray[Any] | None,
    share: float,
) -> bool:
    net = sweeps.network
    bars, end = tiles.bias_bars(), tiles.bars.bias_sums.size
    moved = hull.centres[-1]
    for k in range(sweeps.count - 1, -1, -1):
        if k + 1 < sweeps.count:
            weight = net.weights[k + 1].T if net.layout == "keras" else net.weights[k + 1]
            h = sweeps.level(sweeps.h, k + 1)[:, hull.samples]
            doubt = sweeps.level(sweeps.doubt, k + 1)[:, hull.samples] != 0
            mask = np.where(h > 0, 1.0, np.where(doubt, share, 0.0))
            moved = mask * (weight.T @ moved)
        start = end - net.sizes[k + 1]
        if biases is not None:
            change = (moved - hull.centres[k]).sum(axis=1)
            value = tiles.bars.bias_sums[start:end] + change
            allowed = bars[start:end] + tiles.tolerance.atol
            allowed += tiles.tolerance.rtol * np.abs(value)
            if not np.all(np.abs(biases[start:end] - value) <= allowed):
                return False
        if not _array_fits(sweeps, hull, tiles, weights[k], k, moved):
            return False
        end = start
    return True


def _array_fits(
    sweeps: Sweeps,
    hull: Hull,
    tiles: Tiles,
    given: NDArray[Any],
    k: int,
    moved: NDArray[np.float64],
) -> bool:
    """Compare the entries of one array that the conventions move most."""
    net = sweeps.network
    s, h = sweeps.sensitivity(k), sweeps.level(sweeps.h, k)
    s[:, hull.samples] = moved
    rows = _largest(np.sum(hull.radii[k], axis=1))
    columns = _largest(np.sum(np.abs(h[:, hull.samples]), axis=1))
    value = s[rows] @ h[columns].T
    own = given.T if net.layout == "keras" else given
    weight = net.weights[k].T if net.layout == "keras" else net.weights[k]
    value += net.objective.weight_decay * weight[np.ix_(rows, columns)]
    bars = tiles.bar_entries(k, rows, columns)
    tolerance = tiles.tolerance
    allowed = bars + tolerance.atol + tolerance.rtol * np.abs(value)
    return bool(np.all(np.abs(own[np.ix_(rows, columns)] - value) <= allowed))


def _largest(sizes: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.argsort(-sizes, kind="stable")[:LOOKED_AT]
