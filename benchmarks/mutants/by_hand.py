"""Changes of more than one expression, or of modules that are not tried otherwise.

Each is a piece of text that stands once in its module, what it becomes, and the tests that judge
it. Most are what an attack on the tests did, and no test noticed then.
"""

from __future__ import annotations

import ast

from .operators import Mutant

__all__ = ["BY_HAND", "by_hand"]

PROOFS = "tests/network/sensitivities"
CLIMB = "fastbp.function.derivatives.climb"
CHOICE = "fastbp.function.derivatives.step_choice"
CERTIFICATE = "fastbp.network.sensitivities.certificate"
NOISE = "fastbp.kernels.sensitivities.rounding_noise"
SLOPES = "tests/function/derivatives"

# Module, text, what it becomes, tests.
BY_HAND = (
    # the two ways to the derivative of the loss are never compared, or hardly
    (CERTIFICATE, "wrong |= _wrong_slopes(sweeps)", "pass", PROOFS),
    (CERTIFICATE, "64 * UNIT_ROUNDOFF * allowed", "640000 * UNIT_ROUNDOFF * allowed", PROOFS),
    (CERTIFICATE, "PROOF_MARGIN = 16.0", "PROOF_MARGIN = 1000.0", PROOFS),
    (CERTIFICATE, "GROSS = 1e-3", "GROSS = 0.1", PROOFS),
    # a defect is said where numbers overflow
    (
        CERTIFICATE,
        "    if not problem and not np.isfinite(thresholds[:, proved]).all():",
        "    problem = problem or _failed_proof(sweeps, np.nan_to_num(thresholds), gaps * 1e99)\n"
        "    if not problem and not np.isfinite(thresholds[:, proved]).all():",
        PROOFS,
    ),
    # what underflows between two layers
    (
        "fastbp.network.sensitivities.number_range",
        "found[:-1] |= (above > 0) & (above < SMALLEST)", "pass", PROOFS,
    ),
    ("fastbp.network.sensitivities.hull", " & ~self.doubts[k]", "", PROOFS),
    (
        "fastbp.network.sensitivities.error_bars",
        "terms += np.multiply.outer(self._largest()[units], self.h_noise[inputs])", "pass", PROOFS,
    ),
    (
        "fastbp.network.sensitivities.error_bars",
        "return max(0.25 * math.sqrt(depth), depth / 64.0)", "return 0.0", PROOFS,
    ),
    # masks are in doubt 32 times nearer to 0
    (
        "fastbp.network.sensitivities.sweeps",
        "margin=MARGIN * self.roundoff", "margin=self.roundoff", PROOFS,
    ),
    (NOISE, "least = 0.5 * (one if one > other else other)", "least = 0.0",
     "tests/kernels/sensitivities"),
    (NOISE, "return max(0.25 * math.sqrt(float(depth)), float(depth) / 64.0)", "return 0.0",
     "tests/kernels/sensitivities"),
    # a tolerance of the user, with bars of float32
    (
        "fastbp.network.checks.by_sensitivities",
        "roundoff=coarser if tolerance is None else UNIT_ROUNDOFF", "roundoff=coarser",
        "tests/network/checks/test_tolerances.py",
    ),
    ("fastbp.verdict.arrays", "AGREEMENT, QUIET, UNEXPLAINED = 0.25, 2.0, 5.0",
     "AGREEMENT, QUIET, UNEXPLAINED = 0.25, 8.0, 5.0", "tests/verdict"),
    ("fastbp.verdict.arrays", "CLOSE_AGREEMENT = 0.01", "CLOSE_AGREEMENT = 0.05", "tests/verdict"),
    # slopes along lines
    (CHOICE, "1.5 * SIGMAS * noise / steps[level]", "1.5 * noise / steps[level]", SLOPES),
    (CHOICE, "side, SIGMAS * noise / steps)", "side, noise / steps)", SLOPES),
    (CHOICE, "2 * np.fmax(changes, before)", "2 * changes", SLOPES),
    (CLIMB, "self._central_candidates(slopes, steps, jumps).covering(hulls)",
     "self._central_candidates(slopes, steps, jumps)", SLOPES),
    (CLIMB, "change > 64 * SIGMAS * self.noise", "change > 6400 * SIGMAS * self.noise", SLOPES),
    (CLIMB, "change > 64 * SIGMAS * self.noise", "change > 64 * self.noise", SLOPES),
    (CLIMB, "np.sign(bends[:-1]) > np.abs(bends[:-1]) / 2",
     "np.sign(bends[:-1]) > np.abs(bends[:-1]) / 200", SLOPES),
    (CLIMB, "self.noise = np.maximum(own, np.maximum(floor, usual))",
     "self.noise = np.zeros_like(own)", SLOPES),
    ("fastbp.function.derivatives.line_slopes", "np.full(centre.shape, shared_noise)",
     "np.full(centre.shape, 0.0)", SLOPES),
)  # fmt: skip


def by_hand(module: str, source: str) -> list[tuple[Mutant, str]]:
    """Return the mutants of a module that are listed here, each with its tests."""
    found = []
    for name, text, other, tests in BY_HAND:
        if name == module:
            before, there, after = source.partition(text)
            if not there or text in after:
                raise ValueError(f"this text does not occur exactly once in {module}: {text}")
            line = before.count("\n") + 1
            shown = " ".join(text.split()), " ".join(other.split())
            found.append((Mutant(module, line, *shown, ast.parse(before + other + after)), tests))
    return found
