"""What a way of checking hands to the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fastbp.report import ArrayReport, Failure, Kink
    from fastbp.report.model import Certificate

__all__ = ["Outcome"]


@dataclass(slots=True, eq=False)
class Outcome:
    """What a check found.

    Attributes
    ----------
    rows : list of ArrayReport
        Of every array, in the order of the parameters.
    failures : list of tuple of Failure
        The worst wrong entries of each array.
    evaluations : int
        How many losses were evaluated.
    scheme, delta : str or None, float or None
        Of a replay.
    certificate : Certificate or None
    doubtful : tuple of int
        Pre-activations in doubt, of each hidden layer.
    convention : str
        Which derivative of the ReLU at 0 fits all arrays; empty where it makes no difference.
    kink : Kink or None
        An entry on a kink, with its slopes.
    maps : dict of str to ndarray
        Of each weight array, the largest error over what is allowed, by cells.
    samples : dict of str to ndarray, shape (some, 5)
        Of each weight array, some random entries: place, given, numerical, bar and radius.
    """

    rows: list[ArrayReport]
    failures: list[tuple[Failure, ...]]
    evaluations: int
    scheme: str | None = None
    delta: float | None = None
    certificate: Certificate | None = None
    doubtful: tuple[int, ...] = ()
    convention: str = ""
    kink: Kink | None = None
    maps: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    samples: dict[str, NDArray[np.float64]] = field(default_factory=dict)
