"""Which operand of a product stays in the nearest cache while the other one streams past it.

A strip of MR rows of A takes half the bytes of a panel of B, so where a panel fits into the L1
cache, half as many bytes come from the L2 cache for each product.  Only the order of the tiles is
chosen here, so that every processor computes the same bits.
"""

from __future__ import annotations

import os

from .cache_sizes import L1_BYTES

ENVIRONMENT = "FASTBP_PRODUCT_ORDER"  # for tests and benchmarks: which operand stays
PANEL, STRIP = "panel", "strip"
SHARE_OF_L1 = 0.75  # the rest is for the strip that streams past, and for C


def panel_stays(panel_bytes: int) -> bool:
    """Tell whether a panel of B of so many bytes stays, or else a strip of A."""
    forced = os.environ.get(ENVIRONMENT)
    if forced is not None and forced not in (PANEL, STRIP):
        raise ImportError(f"{ENVIRONMENT} must be {PANEL!r} or {STRIP!r}, not {forced!r}.")
    if forced is not None:
        return forced == PANEL
    return panel_bytes <= SHARE_OF_L1 * L1_BYTES
