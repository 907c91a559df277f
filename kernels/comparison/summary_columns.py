"""What is summed up of a tile, as columns of a table: counts, sums, and the worst entry.

Of a whole array they are the fields of a summary, which says what each of them means.
"""

from __future__ import annotations

(
    WRONG, ZERO, KINKS, LEFT_OUT, ABOVE_NOISE, BROKEN, NOT_FINITE, NOT_ZERO, LARGEST_ALLOWED,
    PRODUCT, SQUARE,
    WORST_RATIO, WORST_PLACE, WORST_GIVEN, WORST_VALUE, WORST_BAR, WORST_RADIUS,
    PROOF,
) = range(18)  # fmt: skip
SUMMARY_COLUMNS = 18
