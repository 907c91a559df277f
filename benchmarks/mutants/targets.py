"""The modules that decide on a verdict, and the tests that judge them."""

from __future__ import annotations

__all__ = ["TARGETS"]

VERDICT = ("tests/verdict",)
PROOFS = ("tests/network/sensitivities", "tests/kernels/sensitivities")
KERNELS = ("tests/kernels/sensitivities",)
SLOPES = "tests/function/derivatives/test_"
NOISE = ("tests/function/derivatives/noise",)
SEARCH = ("tests/function/methods", "tests/function/checks/test_check_gradient.py")
CHECKS, DIFFERENCES = "tests/network/checks/test_", "tests/network/differences/test_"

# Of the tests, those that are quick in plain Python; where a file has them all, that alone.
TARGETS: dict[str, tuple[str, ...]] = {
    # the verdict
    "fastbp.verdict.agreement": VERDICT,
    "fastbp.verdict.arrays": VERDICT,
    "fastbp.verdict.blocks": VERDICT,
    "fastbp.verdict.entries": VERDICT,
    "fastbp.verdict.rows": VERDICT,
    "fastbp.verdict.summary": VERDICT,
    "fastbp.verdict.tolerance": VERDICT,
    # comparison with s h^T
    "fastbp.kernels.comparison.chunks": (
        "tests/kernels/comparison",
        f"{CHECKS}tile_comparison.py",
    ),
    # certificate, hull, error bars, range
    "fastbp.network.sensitivities.certificate": PROOFS,
    "fastbp.network.sensitivities.error_bars": PROOFS,
    "fastbp.network.sensitivities.hull": PROOFS,
    "fastbp.network.sensitivities.loss_slopes": PROOFS,
    "fastbp.network.sensitivities.number_range": PROOFS,
    "fastbp.kernels.sensitivities.proof": KERNELS,
    "fastbp.kernels.sensitivities.rounding_noise": KERNELS,
    # what rounding makes of an array, and of a replay
    "fastbp.network.checks.rounded_gradients": (f"{CHECKS}rounded_gradients.py",),
    "fastbp.network.differences.exact_quality": (f"{DIFFERENCES}exact_quality.py",),
    "fastbp.network.differences.propagated_noise": (
        f"{DIFFERENCES}formulas_of_propagated_noise.py",
    ),
    "fastbp.network.differences.quotient_noise": (f"{DIFFERENCES}quotient_noise.py",),
    # slopes of any function: noise and the choice of steps
    "fastbp.function.derivatives.climb": (
        f"{SLOPES}climb.py",
        f"{SLOPES}climb_results.py",
        f"{SLOPES}climb_tables.py",
    ),
    "fastbp.function.derivatives.divergence": (f"{SLOPES}divergence.py",),
    "fastbp.function.derivatives.lines": (f"{SLOPES}lines.py",),
    "fastbp.function.derivatives.line_slopes": (
        f"{SLOPES}climb.py",
        f"{SLOPES}line_slopes.py",
        f"{SLOPES}numerical_gradient.py",
    ),
    "fastbp.function.derivatives.noise.distant_jumps": NOISE,
    "fastbp.function.derivatives.noise.evaluation_noise": NOISE,
    "fastbp.function.derivatives.noise.hidden_noise": (*NOISE, f"{SLOPES}line_slopes.py"),
    "fastbp.function.derivatives.second_slopes": (
        f"{SLOPES}second_slopes.py",
        "tests/function/methods/search/test_leaf_search.py",
    ),
    "fastbp.function.derivatives.step_choice": (
        f"{SLOPES}climb.py",
        f"{SLOPES}climb_results.py",
        f"{SLOPES}step_choice.py",
    ),
    # from a direction to the wrong entries
    "fastbp.function.methods.search.bisection": SEARCH,
    "fastbp.function.methods.search.inward": SEARCH,
    "fastbp.function.methods.search.located": SEARCH,
    "fastbp.function.methods.search.leaf_search": SEARCH,
    "fastbp.function.methods.search.wrong_arrays": SEARCH,
    "fastbp.function.methods.search.wrong_entries": SEARCH,
}
