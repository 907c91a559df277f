"""The modules that decide on a verdict, and the tests that judge them."""

from __future__ import annotations

__all__ = ["TARGETS"]

VERDICT = ("tests/verdict",)
PROOFS = ("tests/network/sensitivities", "tests/kernels/sensitivities")
NETWORKS = ("tests/network/checks", "tests/network/differences")
SLOPES = ("tests/function/derivatives",)

# Of the tests, those that are quick in plain Python.
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
    "fastbp.kernels.comparison.chunks": NETWORKS,
    # certificate, hull, error bars, range
    "fastbp.network.sensitivities.certificate": PROOFS,
    "fastbp.network.sensitivities.error_bars": PROOFS,
    "fastbp.network.sensitivities.hull": PROOFS,
    "fastbp.network.sensitivities.loss_slopes": PROOFS,
    "fastbp.network.sensitivities.number_range": PROOFS,
    "fastbp.kernels.sensitivities.proof": PROOFS,
    "fastbp.kernels.sensitivities.rounding_noise": (*PROOFS, *NETWORKS),
    # what rounding makes of an array, and of a replay
    "fastbp.network.checks.rounded_gradients": NETWORKS,
    "fastbp.network.differences.exact_quality": NETWORKS,
    "fastbp.network.differences.propagated_noise": NETWORKS,
    "fastbp.network.differences.quotient_noise": NETWORKS,
    # slopes of any function: noise and the choice of steps
    "fastbp.function.derivatives.climb": SLOPES,
    "fastbp.function.derivatives.divergence": SLOPES,
    "fastbp.function.derivatives.lines": SLOPES,
    "fastbp.function.derivatives.line_slopes": SLOPES,
    "fastbp.function.derivatives.noise.distant_jumps": SLOPES,
    "fastbp.function.derivatives.noise.evaluation_noise": SLOPES,
    "fastbp.function.derivatives.noise.hidden_noise": SLOPES,
    "fastbp.function.derivatives.second_slopes": SLOPES,
    "fastbp.function.derivatives.step_choice": SLOPES,
    # from a direction to the wrong entries
    "fastbp.function.methods.bisection": ("tests/function/methods",),
}
