"""Which derivative of the ReLU at 0 a given gradient follows: 0, 1/2, 1, or none; and where.

Looked at are the entries that conventions move most, of each array.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastbp.network.checks.one_sided import slopes_beside, with_convention
from fastbp.report import Kink
from fastbp.typing import Array, Floats, Indices
from fastbp.verdict.tolerance import allowed_difference

if TYPE_CHECKING:
    from fastbp.network.network import Network
    from fastbp.network.sensitivities.hull import Hull
    from fastbp.verdict.tolerance import Tolerance


__all__ = ["Seen", "fitting_convention", "most_moved", "worst_kink"]

CONVENTIONS = (("0", 0.0), ("1/2", 0.5), ("1", 1.0))
LOOKED_AT = 24  # rows, and columns, of an array


@dataclass(slots=True, eq=False)
class Seen:
    """Some entries of one array, units by inputs; one column for biases.

    Attributes
    ----------
    name, shape : str, tuple of int
        Of the array, as the user has it.
    k : int
        The layer.
    units : int64, shape (m,)
    inputs : int64, shape (n,), or None
        None for biases.
    given, value, bar, radius : shape (m, n)
        The given entries, the derivatives with the centre of the hull, their bars, and the radii.
    """

    name: str
    shape: tuple[int, ...]
    k: int
    units: Indices
    inputs: Indices | None
    given: Array
    value: Floats
    bar: Floats
    radius: Floats


def most_moved(hull: Hull, k: int) -> tuple[Indices, Indices]:
    """Return the units and the inputs of layer k that masks in doubt move most."""
    sizes = np.sum(hull.radii[k], axis=1), np.sum(np.abs(hull.inputs[k]), axis=1)
    units, inputs = (np.argsort(-size, kind="stable")[:LOOKED_AT] for size in sizes)
    return units, inputs


def fitting_convention(net: Network, hull: Hull, seen: list[Seen], tolerance: Tolerance) -> str:
    """Try the conventions as a whole.

    Parameters
    ----------
    net : Network
        In float64.
    hull : Hull
        With affected samples.
    seen : list of Seen
    tolerance : Tolerance
        What is allowed beyond the bars.

    Returns
    -------
    str
        "0", "1/2", "1", several of them ("0 and 1"), or "none"; empty where it makes no
        difference.
    """
    fitting = []
    for name, share in CONVENTIONS:
        moved = with_convention(net, hull, share)
        changes = [own - centre for own, centre in zip(moved, hull.centres, strict=True)]
        if all(_fits(part, hull, changes[part.k], tolerance) for part in seen):
            fitting.append(name)
    if len(fitting) == len(CONVENTIONS):
        return ""
    return " and ".join(fitting) if fitting else "none"


def _fits(seen: Seen, hull: Hull, change: Floats, tolerance: Tolerance) -> bool:
    own = change[seen.units]
    if seen.inputs is None:
        value = seen.value + own.sum(axis=1, keepdims=True)
    else:
        value = seen.value + own @ hull.inputs[seen.k][seen.inputs].T
    allowed = allowed_difference(value, seen.bar, tolerance)
    return bool(np.all(np.abs(seen.given - value) <= allowed))


def worst_kink(net: Network, hull: Hull, seen: list[Seen], tolerance: Tolerance) -> Kink | None:
    """Return the entry on a kink that lies furthest from the middle of its hull, and its slopes.

    Parameters
    ----------
    net, hull, seen, tolerance : Network, Hull, list of Seen, Tolerance
        As of `fitting_convention`.

    Returns
    -------
    Kink or None
        None where none of the entries is on a kink.
    """
    chosen, furthest = None, -1.0
    for part in seen:
        with np.errstate(over="ignore", invalid="ignore"):
            away = np.abs(part.given.astype(np.float64) - part.value)
        usable = (part.radius > part.bar) & np.isfinite(away)
        if usable.any():
            place = np.unravel_index(np.argmax(np.where(usable, away, -1.0)), away.shape)
            if away[place] > furthest:
                chosen, furthest = (part, place), float(away[place])
    return None if chosen is None else _kink(net, hull, *chosen, tolerance)


def _kink(
    net: Network, hull: Hull, seen: Seen, place: tuple[np.intp, ...], tolerance: Tolerance
) -> Kink:
    unit = int(seen.units[place[0]])
    column = None if seen.inputs is None else int(seen.inputs[place[1]])
    given, value, bar, radius = (
        float(array[place]) for array in (seen.given, seen.value, seen.bar, seen.radius)
    )
    index = tuple(int(n) for n in np.unravel_index(unit, seen.shape))
    if column is not None:
        index = (column, unit) if net.layout == "keras" else (unit, column)
    left, right = slopes_beside(net, hull, seen.k, unit, column, value)
    allowed = allowed_difference(value, bar, tolerance)
    return Kink(
        seen.name, index, given, left, right, bar,
        _remark(given, left, right, allowed, abs(given - value) <= allowed + radius),
    )  # fmt: skip


def _remark(given: float, left: float, right: float, allowed: float, inside: bool) -> str:
    """Say in words how a given entry stands to the two slopes."""
    at_left, at_right = abs(given - left) <= allowed, abs(given - right) <= allowed
    if abs(left - right) <= allowed:
        if at_left:
            return "which is the derivative"
        if inside:
            return "which follows a convention, but is not the derivative here"
        return "which no convention gives"
    if at_left or at_right:
        return f"which is the slope to the {'left' if at_left else 'right'}"
    if not inside:
        return "which no convention gives"
    between = min(left, right) <= given <= max(left, right)
    return "which lies between them" if between else "which some convention gives"
