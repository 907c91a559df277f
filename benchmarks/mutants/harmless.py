"""Changes that no test can notice, and why."""

from __future__ import annotations

__all__ = ["reason_for"]

BLOCKS = "the size of a block, or of what is held at a time: results are the same"
SCALE = "what divides numbers before they are squared, and multiplies the root: it cancels"
MARKED = "any negative number says that nothing was judged"
NEVER_FINITE = "an infinite or NaN number fails the other condition as well"
MASKED = "a factor of what is multiplied by 0, or compared where nothing is judged"
TIED = "the same for all that are compared by it"

# Each name begins with the module; of what follows, the text of the changed expression alone.
HARMLESS: dict[tuple[str, str], str] = {
    ("verdict.entries", "known & np.isfinite(allowed) -> np.isfinite(allowed)"): NEVER_FINITE,
    ("verdict.rows", "error < math.inf and allowed > 0.0 -> allowed > 0.0"): NEVER_FINITE,
    ("verdict.rows", "return (-ratio, 0.0) -> return (-ratio, 1.0)"): TIED,
    (
        "verdict.rows",
        "np.where(np.isinf(ratio), -error, 0.0) -> np.where(np.isinf(ratio), -error, 1.0)",
    ): TIED,
    ("verdict.summary", "rows[0][:, columns.WORST_RATIO] = -1.0 -> "): MARKED,
    ("verdict.summary", "np.where(used, given, 0.0) -> np.where(used, given, 1.0)"): MASKED,
    ("sensitivities.error_bars", "np.where(largest > 0, largest, 1.0) -> "): SCALE,
    (
        "derivatives.line_slopes",
        "(lines.divergence != 0) & ~rough -> lines.divergence != 0",
    ): "where f diverges at the point no jump beside it is found, and lines with steps converge",
    ("derivatives.line_slopes", "LAST_STEP = 2.0 ** (-3) -> LAST_STEP = 2.0 ** (-4)"): (
        "steps grow by 4 from 2**-24 on: 2**-4 is the longest either way"
    ),
    ("propagated_noise", "np.expm1(np.minimum(reach, 1.0)) -> "): (
        "a reach of more than 1 is not looked up there"
    ),
    ("propagated_noise", "np.minimum(0.0, logarithm + reach) -> "): (
        "what a probability can move by is cut at 1 once more"
    ),
    ("propagated_noise", "base.data.custom_gradient(loss, output + step * moved) -> "): (
        "only the size of the change counts"
    ),
    (
        "propagated_noise",
        "0.0 -> 1.0",
    ): "the least of a maximum over numbers, of which there are some",
    ("propagated_noise", "np.where(largest > 0, largest, 1.0) -> "): SCALE,
    ("comparison.chunks", "PLACES = 10 -> "): "columns of a table that nothing reads",
    ("comparison.chunks", "known & (allowed < np.inf) -> allowed < np.inf"): NEVER_FINITE,
    ("comparison.chunks", "c if ratios[c] > least else -1 -> c if ratios[c] > least else -2"): (
        "any negative number says that there is none"
    ),
    ("comparison.chunks", "min(maxima.size, start + width - (column + start) % width) -> start"): (
        "a slice ends where its array does"
    ),
    ("comparison.chunks", "decay_bar != 0 -> decay_bar != 1"): "without decay 0 is added",
    ("comparison.chunks", "hashed(key, index * kept + q) -> "): "other entries are sampled",
    ("comparison.chunks", "hashed(key, index * kept) -> "): "other entries are sampled",
    ("comparison.chunks", "top, column = (-1.0, np.int64(0)) -> "): (
        "less than every ratio, so that the first one takes its place"
    ),
    (
        "comparison.chunks",
        "1 if flags[vectors.ABOVE] != 0 else 0 -> 2",
    ): "only whether there are any is read",
    (
        "comparison.chunks",
        "1 if flags[vectors.NOT_ZERO] != 0 else 0 -> 2",
    ): "only whether there are any is read",
    ("sensitivities.certificate", "usable & ~(gap <= allowed) -> ~(gap <= allowed)"): (
        "what is not usable is taken out two lines below"
    ),
    ("exact_quality", "SEED = 0 -> "): "other random numbers of the same distribution",
    ("exact_quality", "0 -> 1"): "what would be proved is not read there",
    ("step_choice", "level < 2 or not kink.any() -> "): (
        "what is passed over takes time alone: there is no kink, or no shorter step"
    ),
    ("sensitivities.proof", "SHORT = 32 -> "): "the order of a sum: only its rounding differs",
    ("second_slopes", "0 -> 1"): "how many entries are wanted: a table alone does not ask for it",
    ("search.located", "smallest: float = 1.0 -> "): "set before it is read",
    ("sensitivities.hull", "ABSOLUTE_ENTRIES = "): BLOCKS,
    ("sensitivities.hull", "max(1, ABSOLUTE_ENTRIES // weight.shape[1]) -> "): BLOCKS,
    (
        "sensitivities.certificate",
        "np.where((scale > 0) & (scale < np.inf), scale, 1.0) -> ",
    ): SCALE,
    ("sensitivities.certificate", "(scale > 0) & (scale < np.inf) -> "): SCALE,
    (
        "sensitivities.certificate",
        "(slice(half), slice(half, 2 * half)) -> (slice(half), slice(half, 3 * half))",
    ): "a slice ends where its array does",
    ("sensitivities.certificate", "there = (largest > 0) & proved -> "): MASKED,
    ("sensitivities.certificate", "np.isfinite(losses) & (np.abs(losses) < LARGEST) -> np.abs"): (
        NEVER_FINITE
    ),
}


def reason_for(name: str) -> str:
    """Return why a mutant makes no difference; empty if it is not known to make none."""
    module, _, change = name.partition(": ")
    for (end, text), reason in HARMLESS.items():
        if module.endswith(end) and change.startswith(text):
            return reason
    return ""
