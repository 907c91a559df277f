"""What random directions tell about one array."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fastbp.function.derivatives.lines import Lines

__all__ = ["DETECTABLE", "POOR", "Located", "bar_of"]

# A direction tells less than the others where so many times as much is allowed along it.
POOR = 16.0
# A single error is seen where it is so many times what a direction allows: half of it moves along.
DETECTABLE = 4


@dataclass(slots=True, eq=False)
class Located:
    """What the directions tell about one array.

    Attributes
    ----------
    indices : list of int
        The wrong entries that were found.
    lines : list of Lines
        Their measurements, of one line each.
    slopes, given, allowed : list of float
        Along each direction: the derivative, what the gradient says, and by how much the two may
        differ.
    noise : list of float
        The part of that which is not due to kinks.
    complete : bool
        Whether what was found explains every difference along the directions.
    undecided : bool
        Whether every direction shows a difference that may come from kinks, which were not all
        found.
    smallest : float
        The smallest component of an entry, relative to the usual one.
    alone : dict of int to Lines
        The measurements of entries that are right, or on kinks, and that no direction moves.
    unjudged : dict of int to Lines
        Those of entries by which f has no derivative, as at a jump: no direction moves these.
    unsure : bool
        Whether one of these may be wrong by what a direction disagreed by: alone its bar is larger.
    """

    indices: list[int] = field(default_factory=list)
    lines: list[Lines] = field(default_factory=list)
    slopes: list[float] = field(default_factory=list)
    given: list[float] = field(default_factory=list)
    allowed: list[float] = field(default_factory=list)
    noise: list[float] = field(default_factory=list)
    complete: bool = True
    undecided: bool = False
    smallest: float = 1.0
    alone: dict[int, Lines] = field(default_factory=dict)
    unjudged: dict[int, Lines] = field(default_factory=dict)
    unsure: bool = False

    @property
    def detectable(self) -> float:
        """A single error above this shows along every good direction: half of it does at least.

        Or in the measurement of that entry alone.
        """
        along = DETECTABLE * max(self.allowed[place] for place in self.good) / self.smallest
        return max([along, *(2 * bar_of(line) for line in self.alone.values())])

    @property
    def resolved_alone(self) -> bool:
        """Tell whether an entry measured alone has a kink, or a derivative above its bar."""
        return self.kinks > 0 or any(
            abs(float(line.slope[0])) > bar_of(line) for line in self.alone.values()
        )

    @property
    def kinks(self) -> int:
        """How many entries that were measured alone are on kinks."""
        return sum(bool(line.kink[0]) for line in self.alone.values())

    @property
    def good(self) -> list[int]:
        """The directions that tell as much as the others; all where nothing is finite."""
        usual = float(np.median(self.allowed))
        return [place for place, allowed in enumerate(self.allowed) if not allowed > POOR * usual]


def bar_of(line: Lines) -> float:
    """Return how far the given derivative by an entry that was measured alone may be off."""
    return float(line.error_bar[0] + line.hull[0])
