"""Units that no sample of the batch activates: what a check of the gradient cannot test there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastbp.typing import Floats, Mask

__all__ = ["note_on_dead_units"]

LAYERS_NAMED = 5


def note_on_dead_units(hidden: Iterable[tuple[Floats, Mask]]) -> tuple[str, ...]:
    """Return a sentence on units that are never active, or nothing.

    Parameters
    ----------
    hidden : iterable of (ndarray, ndarray), shape (units, batch) each
        Of each hidden layer the activations, and where their masks are in doubt: a unit whose
        pre-activation may be 0 is on a kink, and not dead.
    """
    parts = []
    for layer, (activations, doubts) in enumerate(hidden):
        dead = ~(activations.any(axis=1) | doubts.any(axis=1))
        count = int(np.count_nonzero(dead))
        if count:
            units = "unit" if dead.size == 1 else "units"
            parts.append(f"{count:,} of {dead.size:,} {units} of layer {layer}")
    if not parts:
        return ()
    more = len(parts) - LAYERS_NAMED
    named = ", ".join(parts[:LAYERS_NAMED]) + (f" and some of {more} more" if more > 0 else "")
    return (
        f"never active in this batch: {named}; through them the loss depends on no weight or bias, "
        "so that mistakes there may not show",
    )
