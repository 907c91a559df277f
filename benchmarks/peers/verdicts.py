"""Who passes right gradients and finds wrong ones, and in what time: five functions, six gradients.

The functions are written once, for NumPy, torch and JAX; a gradient is torch's or JAX's, changed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .available import installed
from .report import Section, duration
from .timing import interleaved

ENTRIES = 20
LARGEST_ERROR = 1e-6  # of check_grad's norm, relative to that of the gradient: it has no verdict

FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "tanh": lambda xp, x: xp.sum(xp.tanh(x) ** 2, 0),
    "Rosenbrock": lambda xp, x: xp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2, 0),
    "log-sum-exp": lambda xp, x: xp.log(xp.sum(xp.exp(x), 0)),
    "product": lambda xp, x: xp.exp(xp.sum(xp.log(x**2 + 1), 0) / ENTRIES),
    "waves": lambda xp, x: xp.sum(xp.sin(3 * x) * x, 0),
}

# What a gradient is multiplied by, entry by entry.
FACTORS = {
    "right": np.ones(ENTRIES),
    "one entry off by 1e-3": np.where(np.arange(ENTRIES) == 7, 1.001, 1.0),
    "all by 1e-5": np.full(ENTRIES, 1 + 1e-5),
    "all by 1e-7": np.full(ENTRIES, 1 + 1e-7),
    "last entry 0": np.where(np.arange(ENTRIES) == ENTRIES - 1, 0.0, 1.0),
}
IGNORES = "cotangent ignored"


@dataclass
class Case:
    """A function with a gradient of its own, for whoever takes it."""

    function: Callable[[Any, Any], Any]
    factor: np.ndarray
    ignores: bool
    at: np.ndarray

    def value(self, x: Any) -> Any:
        return self.function(np, x)

    def gradient(self, x: Any) -> Any:
        import torch

        leaf = torch.tensor(x, requires_grad=True)
        (gradient,) = torch.autograd.grad(self.function(torch, leaf), leaf)
        return gradient.numpy() * self.factor

    def for_torch(self) -> Any:
        """Return an autograd.Function with this gradient."""
        import torch

        factor, ignores, function = torch.tensor(self.factor), self.ignores, self.function

        class Own(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, x: Any) -> Any:
                ctx.save_for_backward(x)
                return function(torch, x)

            @staticmethod
            def backward(ctx: Any, *incoming: Any) -> Any:
                with torch.enable_grad():
                    leaf = ctx.saved_tensors[0].detach().requires_grad_()
                    (gradient,) = torch.autograd.grad(function(torch, leaf), leaf)
                return gradient * factor * (1 if ignores else incoming[0])

        return Own.apply

    def for_jax(self) -> Any:
        """Return a custom_vjp with this gradient."""
        import jax

        factor, ignores = self.factor, self.ignores

        @jax.custom_vjp
        def own(x: Any) -> Any:
            return self.function(jax.numpy, x)

        def backward(x: Any, incoming: Any) -> tuple[Any]:
            gradient = jax.grad(lambda at: self.function(jax.numpy, at))(x)
            return (gradient * factor * (1 if ignores else incoming),)

        own.defvjp(lambda x: (own(x), x), backward)
        return own


def cases() -> dict[str, list[Case]]:
    """Return the cases, by what is the matter with their gradients."""
    at = np.random.default_rng(5).normal(size=ENTRIES)
    found = {
        what: [Case(f, factor, False, at) for f in FUNCTIONS.values()]
        for what, factor in FACTORS.items()
    }
    found[IGNORES] = [Case(f, FACTORS["right"], True, at) for f in FUNCTIONS.values()]
    return found


def checkers() -> dict[str, Callable[[Case], bool]]:
    """Return every peer: does it pass the gradient of a case?"""
    import torch

    import fastbp.torch

    def gradcheck(case: Case, *, fast: bool) -> bool:
        leaf = torch.tensor(case.at, requires_grad=True)
        check = torch.autograd.gradcheck
        return bool(check(case.for_torch(), leaf, raise_exception=False, fast_mode=fast))

    def check_function(case: Case) -> bool:
        at = torch.tensor(case.at)
        return fastbp.torch.check_function(case.for_torch(), at, seed=0).verdict == "passed"

    def check_gradient(case: Case) -> bool:
        report = fastbp.check_gradient(case.value, case.gradient, case.at, seed=0)
        return report.verdict == "passed"

    found: dict[str, Callable[[Case], bool]] = {
        "fastbp.torch.check_function": check_function,
        "fastbp.check_gradient": check_gradient,
        "gradcheck, slow": lambda case: gradcheck(case, fast=False),
        "gradcheck, fast": lambda case: gradcheck(case, fast=True),
    }
    if installed("jax"):
        found["jax check_grads"] = _jax_passes
    if installed("scipy"):
        found["scipy check_grad"] = _check_grad_passes
        found["scipy.differentiate"] = _differentiate_passes
    return found


def _jax_passes(case: Case) -> bool:
    import jax
    from jax.test_util import check_grads

    with jax.enable_x64(True):
        try:
            check_grads(case.for_jax(), (jax.numpy.asarray(case.at),), order=1, modes=["rev"])
        except AssertionError:
            return False
    return True


def _check_grad_passes(case: Case) -> bool:
    from scipy.optimize import check_grad

    error = check_grad(case.value, case.gradient, case.at)
    return bool(error <= LARGEST_ERROR * np.linalg.norm(case.gradient(case.at)))


def _differentiate_passes(case: Case) -> bool:
    """Compare with its derivative, within ten times its own error estimate."""
    from scipy.differentiate import jacobian

    found = jacobian(case.value, case.at)
    return bool(np.all(np.abs(case.gradient(case.at) - found.df) <= 10 * found.error + 1e-12))


def compare_verdicts(rounds: int) -> Section:
    """Return the table: time for one right gradient, and how many of five each passes or finds."""
    everything = cases()
    section = Section(
        f"Right and wrong gradients of five functions of {ENTRIES} entries",
        ["check", "time", "right passed", *(f"{name}, found" for name in list(everything)[1:])],
    )
    if not installed("torch"):
        section.notes.append("torch is not installed.")
        return section
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peers = checkers()
        verdicts = {
            name: [[passes(case) for case in some] for some in everything.values()]
            for name, passes in peers.items()
        }
        timings = interleaved(
            {
                name: lambda passes=passes: [passes(case) for case in everything["right"]]
                for name, passes in peers.items()
            },
            rounds,
        )
    for name, (right, *wrong) in verdicts.items():
        found = [f"{sum(not passed for passed in some)} of {len(some)}" for some in wrong]
        if name.startswith(("scipy", "fastbp.check")):
            found[-1] = ""  # a gradient, and no backward pass: there is no cotangent
        passed = f"{sum(right)} of {len(right)}"
        section.rows.append([name, duration(timings[name], len(right)), passed, *found])
    section.notes.append(
        f"Time: of one check. scipy's check_grad returns a norm: more than {LARGEST_ERROR:g} of "
        "the gradient counts as found; scipy.differentiate estimates its error: ten times that "
        "counts."
    )
    return section
