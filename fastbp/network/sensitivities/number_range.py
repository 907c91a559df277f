"""The range of numbers in which products keep their digits, and which layer leaves it."""

from __future__ import annotations

import numpy as np

from fastbp.typing import Floats, Mask, Vector

__all__ = ["LARGEST", "SMALLEST", "faint_samples", "out_of_range", "smallest_of"]

# Numbers beyond are near the ends of the range, where products lose digits or overflow.
SMALLEST, LARGEST = 1e-290, 1e290


def smallest_of(roundoff: float) -> float:
    """Return the number below which a computation of that roundoff loses digits."""
    single = np.finfo(np.float32)
    return float(single.tiny) if roundoff == float(single.eps) / 2 else SMALLEST


def faint_samples(s_norms: Floats, widest: Vector) -> Mask:
    """Tell where s is below the range, or may have become 0 by that.

    Parameters
    ----------
    s_norms : float64, shape (layers, batch)
        Norms of s over the units.
    widest : float64, shape (layers - 1,)
        The largest norm of a column of W, for each layer but the first.

    Returns
    -------
    bool, shape (layers, batch)
    """
    found: Mask = (s_norms > 0) & (s_norms < SMALLEST)
    with np.errstate(over="ignore"):  # what is infinite is not faint
        above = widest[:, None] * s_norms[1:]
    found[:-1] |= (above > 0) & (above < SMALLEST)
    return found


def out_of_range(
    h_norms: Floats,
    xi_norms: Floats,
    s_norms: Floats,
    z_norms: Floats,
    faint: Mask,
    *,
    smallest: float = SMALLEST,
) -> str:
    """Say which layer's numbers leave the range 1e-290 to 1e290, if any do.

    Samples whose numbers are smaller than that do not matter beside others that are not.

    Parameters
    ----------
    h_norms, xi_norms : float64, shape (layers + 1, batch)
        Norms of every level and of its noise over the units.
    s_norms, z_norms : float64, shape (layers, batch)
        Those of the sensitivities.
    faint : bool, shape (layers, batch)
        As `faint_samples` returns it.
    smallest : float
        Of `smallest_of`. What float32 calls 0 anyway may be below 1e-290.
    """
    wanted = smallest <= SMALLEST
    large = _too_large(h_norms) | _too_large(xi_norms)
    small = wanted & np.all((h_norms > 0) & (h_norms < SMALLEST), axis=1)
    if (large | small).any():
        level = int(np.argmax(large | small))
        where = "the inputs" if level == 0 else f"layer {level - 1}"
        if large[level]:
            return f"overflow: the pre-activations of {where} leave the range of numbers"
        return f"underflow: the activations of {where} are below 1e-290"
    large = _too_large(s_norms) | _too_large(z_norms)
    lost = np.logical_or.accumulate(faint[::-1], axis=0)[::-1]  # in this layer or one above
    small = wanted & lost.any(axis=1) & (lost | (s_norms[-1] == 0)).all(axis=1)
    if (large | small).any():
        layer = len(s_norms) - 1 - int(np.argmax((large | small)[::-1]))
        if large[layer]:
            return f"overflow: the sensitivities of layer {layer} leave the range of numbers"
        return f"underflow: the sensitivities of layer {layer} are below 1e-290"
    return ""


def _too_large(sizes: Floats) -> Mask:
    """Tell in which rows a number is too large, or none."""
    found: Mask = ~np.all(sizes <= LARGEST, axis=1)
    return found
