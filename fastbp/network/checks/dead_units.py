"""Units that no sample of the batch activates: what a check of the gradient cannot test there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastbp.typing import Floats, Mask

__all__ = ["count_dead_units", "note_on_dead_units"]

LAYERS_NAMED = 5


def count_dead_units(activations: Floats, doubts: Mask) -> int:
    """Count the units of a layer that no sample activates, and of which no mask is in doubt.

    Parameters
    ----------
    activations, doubts : ndarray, shape (units, batch)
    """
    return int(np.count_nonzero(~(activations.any(axis=1) | doubts.any(axis=1))))


def note_on_dead_units(dead: Sequence[int], units: Sequence[int]) -> tuple[str, ...]:
    """Return a sentence on units that are never active, or nothing.

    Parameters
    ----------
    dead, units : sequence of int
        Of each hidden layer, how many of its units no sample activates, and how many it has. A
        unit whose pre-activation may be 0 in some sample is on a kink, and not dead.
    """
    parts = []
    for layer, (count, every) in enumerate(zip(dead, units, strict=True)):
        if count:
            named = "unit" if every == 1 else "units"
            parts.append(f"{count:,} of {every:,} {named} of layer {layer}")
    if not parts:
        return ()
    more = len(parts) - LAYERS_NAMED
    named = ", ".join(parts[:LAYERS_NAMED]) + (f" and some of {more} more" if more > 0 else "")
    return (
        f"never active in this batch: {named}; through them the loss depends on no weight or bias, "
        "so that mistakes there may not show",
    )
