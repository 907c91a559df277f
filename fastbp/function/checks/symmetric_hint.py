"""Symmetric matrices that were perturbed entry by entry, recognised.

A function of symmetric matrices may read one triangle only, as Cholesky factorisations do, and its
gradient may be given as a symmetric matrix, or by pairs of entries. By single entries the two then
disagree, but along symmetric directions they agree: N + Nᵀ = G + Gᵀ.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.errors import FastbpError
from fastbp.function.checks.report_assembly import FunctionCheck
from fastbp.function.containers.given_gradient import GivenLeaves
from fastbp.function.containers.point import Point
from fastbp.function.domain import Domain
from fastbp.function.evaluation import Function
from fastbp.function.methods.judged import Judged
from fastbp.function.methods.probe import probe_arrays
from fastbp.function.structured.sets import symmetric
from fastbp.function.structured.substitution import Substitution
from fastbp.runtime.account import Account

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbp.function.methods.options import Options

__all__ = ["with_symmetric_hint"]

AT_THE_POINT = 2  # evaluations that are made whatever is allowed


def with_symmetric_hint(
    check: FunctionCheck,
    f: Callable[[Any], Any],
    function: Function,
    given: GivenLeaves,
    options: Options,
) -> FunctionCheck:
    """Say which of the arrays that failed pass along symmetric matrices.

    It takes some thirty evaluations of f for each symmetric matrix whose gradient is wrong, within
    the bounds of f and what its account has left.
    """
    if options.vectorized:
        return check
    failed = {row.name for row in check.rows if row.verdict == "failed" and row.entries > 1}
    notes, evaluations = [], 0
    for leaf, name in enumerate(function.point.container.names):
        if name not in failed or function.account.stopped is not None:
            continue
        agrees, more = _agrees_along_symmetric(f, function, leaf, given, options)
        function.account.spend(more)
        evaluations += more
        if agrees:
            notes.append(
                f"{name} is symmetric, and along symmetric matrices its gradient is right: "
                f"numerical + its transpose = given + its transpose. If f is meant for symmetric "
                f"matrices, mark it: fastbp.symmetric({name})"
            )
    return replace(check, notes=(*check.notes, *notes), evaluations=check.evaluations + evaluations)


def _agrees_along_symmetric(
    f: Callable[[Any], Any], function: Function, leaf: int, given: GivenLeaves, options: Options
) -> tuple[bool, int]:
    point, account = function.point, function.account
    array, matrix = given.arrays[leaf], point.leaves[leaf].copy()
    if array is None or array.shape != matrix.shape or array.dtype.kind != "f":
        return False, 0
    if not np.isfinite(array).all():
        return False, 0
    if account.evaluations_left < AT_THE_POINT or account.seconds_left <= 0:
        return False, 0
    # Without the checkpoint: its values are of another function.
    left = Account(
        seconds=account.seconds_left, evaluations=account.evaluations_left,
        holds_interrupts=account.holds_interrupts,
    )  # fmt: skip
    try:
        places = Substitution(symmetric(matrix))
        alone = Function(
            places.function(_OfOneLeaf(f, point, leaf)), Point(places.coordinates, "matrix"), "f",
            left,
        )  # fmt: skip
        alone.domain = _along_symmetric(function.domain, leaf, matrix.shape)
        projected = GivenLeaves(
            [places.derivative(array)], dtype=given.dtype, noise={0: given.noise.get(leaf, 0.0)}
        )
        once = replace(options, most=1, progress=False)
        found = Judged()
        probe_arrays(found, alone, projected, once)
    except FastbpError:  # no symmetric matrix, or f raises elsewhere
        return False, left.spent
    if left.stopped is not None and left.stopped.interrupt is not None:
        account.stop(left.stopped)
    return 0 in found.rows and found.rows[0].verdict == "passed", left.spent


def _along_symmetric(domain: Domain, leaf: int, shape: tuple[int, ...]) -> Domain:
    """Return the domain of one leaf; both entries of a pair are within the bounds of both."""
    scales = None if domain.scales is None else [domain.scales[leaf]]
    if domain.lower is None or domain.upper is None:
        return Domain(scales=scales)
    lower, upper = domain.lower[leaf].reshape(shape), domain.upper[leaf].reshape(shape)
    lower = np.maximum(lower, np.swapaxes(lower, -1, -2))
    upper = np.minimum(upper, np.swapaxes(upper, -1, -2))
    return Domain([lower.reshape(-1)], [upper.reshape(-1)], scales)


class _OfOneLeaf:
    """A function of one leaf, the others as they are at the point."""

    def __init__(self, f: Callable[[Any], Any], point: Point, leaf: int) -> None:
        self.f, self.point, self.leaf = point.evaluated_by(f), point, leaf

    def __call__(self, matrix: Any) -> Any:
        own = self.point.copy()  # which f may keep, or change
        own.restore()
        own.leaves[self.leaf][...] = matrix
        return self.f(own.argument)
