"""fastbp answers one question: is my backward pass right.

Compiled backpropagation for ReLU networks and a finite-difference check of every parameter.
Everything public is here; a name is imported when it is first used, so that ``fastbp --help``
need not wait for a compiler to load.

PYTEST_DONT_REWRITE, since pytest would warn where a package with a plugin is imported before it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastbp.errors import (
        DTypeError,
        EvaluationError,
        FastbpError,
        GradientMismatchError,
        NonFiniteError,
        OptionError,
        ProblemFileError,
        ReportFileError,
        ShapeError,
    )
    from fastbp.function.by_reference import by_reference
    from fastbp.function.checks.check_gradient import check_gradient
    from fastbp.function.checks.check_hessian import check_hessian, check_hvp
    from fastbp.function.checks.check_jacobian import check_jacobian
    from fastbp.function.checks.check_products import check_jvp, check_vjp
    from fastbp.function.checks.taylor_test import taylor_test
    from fastbp.function.derivatives.numerical_gradient import NumericalGradient, numerical_gradient
    from fastbp.function.structured.parametrised import parametrised
    from fastbp.function.structured.sets import positive_definite, simplex, sphere, symmetric
    from fastbp.network.checks.check_network import check_network
    from fastbp.network.differences.finite_differences import Differences, finite_differences
    from fastbp.network.gradients import Gradients
    from fastbp.network.network import ForwardPass, Network
    from fastbp.network.problem_file import Problem, load_problem, save_problem
    from fastbp.report import Report, TaylorTest
    from fastbp.runtime.threads import get_num_threads, set_num_threads

__version__ = "0.1.0"

_ROOMS = {
    "errors": (
        "DTypeError",
        "EvaluationError",
        "FastbpError",
        "GradientMismatchError",
        "NonFiniteError",
        "OptionError",
        "ProblemFileError",
        "ReportFileError",
        "ShapeError",
    ),
    "function.by_reference": ("by_reference",),
    "function.checks.check_gradient": ("check_gradient",),
    "function.checks.check_hessian": (
        "check_hessian",
        "check_hvp",
    ),
    "function.checks.check_jacobian": ("check_jacobian",),
    "function.checks.check_products": (
        "check_jvp",
        "check_vjp",
    ),
    "function.checks.taylor_test": ("taylor_test",),
    "function.derivatives.numerical_gradient": (
        "NumericalGradient",
        "numerical_gradient",
    ),
    "function.structured.parametrised": ("parametrised",),
    "function.structured.sets": (
        "positive_definite",
        "simplex",
        "sphere",
        "symmetric",
    ),
    "network.checks.check_network": ("check_network",),
    "network.differences.finite_differences": (
        "Differences",
        "finite_differences",
    ),
    "network.gradients": ("Gradients",),
    "network.network": (
        "ForwardPass",
        "Network",
    ),
    "network.problem_file": (
        "Problem",
        "load_problem",
        "save_problem",
    ),
    "report": (
        "Report",
        "TaylorTest",
    ),
    "runtime.threads": (
        "get_num_threads",
        "set_num_threads",
    ),
}
_MODULES = ("jax", "notebook", "torch")
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "DTypeError",
    "Differences",
    "EvaluationError",
    "FastbpError",
    "ForwardPass",
    "GradientMismatchError",
    "Gradients",
    "Network",
    "NonFiniteError",
    "NumericalGradient",
    "OptionError",
    "Problem",
    "ProblemFileError",
    "Report",
    "ReportFileError",
    "ShapeError",
    "TaylorTest",
    "by_reference",
    "check_gradient",
    "check_hessian",
    "check_hvp",
    "check_jacobian",
    "check_jvp",
    "check_network",
    "check_vjp",
    "finite_differences",
    "get_num_threads",
    "load_problem",
    "numerical_gradient",
    "parametrised",
    "positive_definite",
    "save_problem",
    "set_num_threads",
    "simplex",
    "sphere",
    "symmetric",
    "taylor_test",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its room, or a public module, on first use."""
    if name in _MODULES:
        try:
            return importlib.import_module(f"fastbp.{name}")
        except ModuleNotFoundError as error:  # hasattr, dir and help go on without it
            raise AttributeError(f"fastbp.{name} needs {error.name}: {error}") from error
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'fastbp' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"fastbp.{_ROOM_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted([*__all__, *_MODULES, "__version__"])
