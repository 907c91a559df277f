"""The option `entries`: which entries of an argument are differenced, and which are not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.errors import OptionError
from fastbp.function.containers.pytree import take_apart

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastbp.function.containers.point import Point

__all__ = ["Chosen", "chosen_entries"]

NAMES_SHOWN = 10


class Chosen:
    """The real numbers of a point that are differenced.

    Parameters
    ----------
    masks : list of ndarray of bool, each of shape (n,)
        For each leaf.
    """

    def __init__(self, masks: list[NDArray[np.bool_]]) -> None:
        self.masks = masks

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(int(np.count_nonzero(mask)) for mask in self.masks)

    @property
    def note(self) -> str:
        """A sentence for the report."""
        whole = sum(mask.size for mask in self.masks)
        verb = "was" if self.count == 1 else "were"
        return f"{self.count:,} of {whole:,} entries {verb} chosen; the others are not judged"


def chosen_entries(entries: Any, point: Point, seed: int) -> Chosen | None:
    """Return what the option `entries` means for a point; None for all entries.

    Parameters
    ----------
    entries : None, str, sequence of str, int, or nesting of bool
    point : Point
    seed : int
        Of the entries that are drawn.

    Raises
    ------
    OptionError
        If it is of another form, a name matches nothing, or nothing at all is chosen.

    Examples
    --------
    >>> from fastbp.function.containers.point import Point
    >>> point = Point({"b": np.ones(2), "w": np.ones((2, 3))}, "params")
    >>> [mask.sum() for mask in chosen_entries("*['b']", point, 0).masks]
    [np.int64(2), np.int64(0)]
    >>> chosen_entries(["w", "params['b'][1]"], point, 0).count
    7
    >>> chosen_entries(3, point, 0).count
    3
    """
    if entries is None:
        return None
    if isinstance(entries, str):
        masks = _by_name([entries], point)
    elif isinstance(entries, int | np.integer) and not isinstance(entries, bool):
        masks = _drawn(int(entries), point, seed)
    elif _are_names(entries):
        masks = _by_name(list(entries), point)
    else:
        masks = _by_mask(entries, point)
    chosen = Chosen(masks)
    if chosen.count == 0:
        raise OptionError("entries must choose at least one entry.")
    return chosen


def _are_names(entries: Any) -> bool:
    return (
        isinstance(entries, list | tuple | set | frozenset)
        and len(entries) > 0
        and all(isinstance(name, str) for name in entries)
    )


def _drawn(count: int, point: Point, seed: int) -> list[NDArray[np.bool_]]:
    if count < 1:
        raise OptionError(f"entries must be at least 1, not {count}.")
    whole = np.zeros(point.parts[-1].stop, dtype=bool)
    rng = np.random.default_rng((seed, 3))
    whole[rng.choice(whole.size, min(count, whole.size), replace=False)] = True
    return [whole[part] for part in point.parts]


def _by_name(wanted: list[str], point: Point) -> list[NDArray[np.bool_]]:
    masks = [np.zeros(numbers.size, dtype=bool) for numbers in point.base]
    for pattern in wanted:
        found = [leaf for leaf in range(len(masks)) if _matches(pattern, point, leaf)]
        for leaf in found:
            masks[leaf][:] = True
        if not found and not _mark_entry(pattern, point, masks):
            names = ", ".join(point.container.names[:NAMES_SHOWN])
            more = len(masks) - NAMES_SHOWN
            raise OptionError(
                f"entries: {pattern!r} matches none of {names}"
                + (f" and {more} more." if more > 0 else ".")
            )
    return masks


def _matches(pattern: str, point: Point, leaf: int) -> bool:
    """Tell whether a name, or one with * and ?, is that of a leaf; brackets are no wildcards."""
    path = re.sub(r"\['([^']*)'\]", r".\1", point.container.paths[leaf]).lstrip(".")
    glob = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    names = (point.container.names[leaf], point.row_names[leaf], path)
    return any(re.fullmatch(glob, name, re.DOTALL) for name in names)


def _mark_entry(name: str, point: Point, masks: list[NDArray[np.bool_]]) -> bool:
    """Mark one entry by its name, as reports write it: ``w[0, 3]``."""
    match = re.fullmatch(r"(.*)\[ *(\d{1,18}(?: *, *\d{1,18})*) *\]", name, re.DOTALL)
    if match is None:
        return False
    index = tuple(int(part) for part in match[2].split(","))
    for leaf, mask in enumerate(masks):
        shape = point.row_shapes[leaf]
        inside = len(index) == len(shape) and all(map(int.__lt__, index, shape))
        if inside and _matches(match[1], point, leaf):
            mask[int(np.ravel_multi_index(index, shape))] = True
            return True
    return False


def _by_mask(entries: Any, point: Point) -> list[NDArray[np.bool_]]:
    parts = take_apart(entries, "entries")
    given = dict(zip(parts.paths, parts.leaves, strict=True))
    masks = []
    for leaf, (path, shape) in enumerate(
        zip(point.container.paths, point.container.shapes, strict=True)
    ):
        mask = np.asarray(given.pop(path, False))  # what has no mask has no entry that is chosen
        if mask.dtype != bool or mask.shape not in ((), shape):
            raise OptionError(
                f"entries{path} must be True, False or a mask of shape {shape}, not {mask.dtype} "
                f"of shape {mask.shape}."
            )
        masks.append(point.spread(leaf, mask))
    if given:
        raise OptionError(
            f"entries must be names, a number, or masks in the structure of {point.name}; there is "
            f"no array for entries{next(iter(given))}."
        )
    return masks
