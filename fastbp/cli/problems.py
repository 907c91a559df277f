"""What is checked: problem files, and functions that return a problem."""

from __future__ import annotations

import inspect
import os
import re
from typing import TYPE_CHECKING, Any

from fastbp.cli.named_function import call_of, modules_from_here, named_function
from fastbp.cli.outputs.checked import Checked
from fastbp.errors import FastbpError, OptionError

if TYPE_CHECKING:
    import argparse

    from fastbp.report import Report

__all__ = ["check_problem"]

NAMED_FUNCTION = re.compile(r"[\w.]+:[\w.]+")
WANTED = (
    "must return f, gradient and at, or a network, x and y (and gradients), a fastbp.Problem "
    "or a fastbp.Report"
)


def check_problem(name: str, options: argparse.Namespace) -> Checked:
    """Load and check a problem; what is wrong with the input is kept beside its name."""
    source = None
    try:
        if os.path.exists(name) or not NAMED_FUNCTION.fullmatch(name):
            return check_file(name, options)
        with modules_from_here():
            function = named_function(name)
            source = source_of(function)
            report, own = check_returned(name, call_of(name, function), options)
        return Checked(name, report, own=own, source=source)
    except FastbpError as error:
        return Checked(name, None, complaint=str(error), source=source)


def check_file(path: str, options: argparse.Namespace) -> Checked:
    """Check the gradient in a problem file, or fastbp's own."""
    from fastbp.network.problem_file import load_problem

    problem = load_problem(path)
    own = problem.gradients is None
    return Checked(path, checked_network(problem, options), own=own)


def check_returned(name: str, returned: Any, options: argparse.Namespace) -> tuple[Report, bool]:
    """Check what a function has returned; whether it is our own backward pass that is checked."""
    from fastbp.function.checks.check_gradient import check_gradient
    from fastbp.network.network import Network
    from fastbp.network.problem_file import Problem
    from fastbp.report import Report

    if isinstance(returned, Report):
        return returned, False
    if isinstance(returned, Problem):
        return checked_network(returned, options), returned.gradients is None
    if isinstance(returned, tuple) and returned and isinstance(returned[0], Network):
        if len(returned) not in (3, 4):
            raise OptionError(
                f"{name} {WANTED}, not a tuple of a network and {len(returned) - 1} more."
            )
        net, x, y, gradients = returned if len(returned) == 4 else (*returned, None)
        return checked_network(Problem(net, x, y, gradients), options), gradients is None
    if isinstance(returned, tuple) and len(returned) == 3:
        f, gradient, at = returned
        if not callable(f):
            raise OptionError(f"{name} must return f first, a function, not {described(f)}.")
        return check_gradient(f, gradient, at, **shared_options(options, "auto")), False
    raise OptionError(f"{name} {WANTED}, not {described(returned)}.")


def checked_network(problem: Any, options: argparse.Namespace) -> Report:
    """Check the gradient of a network, or fastbp's own."""
    from fastbp.network.checks.check_network import check_network

    return check_network(
        problem.net,
        problem.x,
        problem.y,
        problem.gradients,
        **shared_options(options, "certified"),
    )


def shared_options(options: argparse.Namespace, method: str) -> dict[str, Any]:
    """Return the options that both kinds of checks have, with a default method."""
    return {
        "method": method if options.method is None else options.method,
        "rtol": options.rtol,
        "atol": options.atol,
        "seed": options.seed,
    }


def described(value: Any) -> str:
    """Say what kind of a thing a value is."""
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return "None" if value is None else f"of type {type(value).__name__}"


def source_of(function: Any) -> tuple[str, int] | None:
    """Return the file, relative to where the program runs, and the first line of a function.

    Of a decorated function they are its own, where its decorator tells (`functools.wraps`).
    """
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None or not os.path.isabs(code.co_filename):
        return None
    try:
        path = os.path.relpath(code.co_filename)
    except ValueError:  # on another drive of Windows
        return None
    return path.replace(os.sep, "/"), code.co_firstlineno
