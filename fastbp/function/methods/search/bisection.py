"""Halving a segment where two things disagree, down to single places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["bisect", "halved"]


class Segment(Protocol):
    """Some neighbouring places, from `start` up to `stop`."""

    @property
    def start(self) -> int:
        """The first place."""

    @property
    def stop(self) -> int:
        """The place behind the last."""


AnySegment = TypeVar("AnySegment", bound=Segment)


def bisect(
    whole: AnySegment,
    halves: Callable[[AnySegment], Sequence[AnySegment]],
    disagrees: Callable[[AnySegment], bool],
    examine: Callable[[int], None],
) -> None:
    """Halve a segment, and go on where two things disagree, down to single places.

    Parameters
    ----------
    whole : Segment
        Where to begin; as a `range`, for example.
    halves : callable
        Both halves of a segment, in the order in which they are followed.
    disagrees : callable
        Whether a segment is followed. Asked when everything before it has been followed.
    examine : callable
        What is done with a single place.

    Examples
    --------
    >>> numbers = [0, 3, 0, 0, 5, 0]
    >>> bisect(range(6), halved, lambda part: any(numbers[i] for i in part), print)
    1
    4
    """
    waiting = [whole]
    while waiting:
        segment = waiting.pop()
        if not disagrees(segment):
            continue
        if segment.stop - segment.start == 1:
            examine(segment.start)
        else:
            waiting += reversed(halves(segment))


def halved(places: range) -> tuple[range, range]:
    """Return both halves of a range, the first one first."""
    middle = len(places) // 2
    return places[:middle], places[middle:]
