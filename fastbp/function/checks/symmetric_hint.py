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
from fastbp.function.evaluation import Function
from fastbp.function.methods.judged import Judged
from fastbp.function.methods.probe import probe_arrays
from fastbp.function.structured.sets import symmetric
from fastbp.function.structured.substitution import Substitution

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbp.function.methods.options import Options

__all__ = ["with_symmetric_hint"]


def with_symmetric_hint(
    check: FunctionCheck,
    f: Callable[[Any], Any],
    point: Point,
    given: GivenLeaves,
    options: Options,
) -> FunctionCheck:
    """Say which of the arrays that failed pass along symmetric matrices.

    It takes some thirty evaluations of f for each symmetric matrix whose gradient is wrong.
    """
    if options.vectorized:
        return check
    failed = {row.name for row in check.rows if row.verdict == "failed" and row.entries > 1}
    notes, evaluations = [], 0
    for leaf, name in enumerate(point.container.names):
        if name not in failed:
            continue
        agrees, more = _agrees_along_symmetric(f, point, leaf, given, options)
        evaluations += more
        if agrees:
            notes.append(
                f"{name} is symmetric, and along symmetric matrices its gradient is right: "
                f"numerical + its transpose = given + its transpose. If f is meant for symmetric "
                f"matrices, mark it: fastbp.symmetric({name})"
            )
    return replace(check, notes=(*check.notes, *notes), evaluations=check.evaluations + evaluations)


def _agrees_along_symmetric(
    f: Callable[[Any], Any], point: Point, leaf: int, given: GivenLeaves, options: Options
) -> tuple[bool, int]:
    array, matrix = given.arrays[leaf], point.leaves[leaf].copy()
    if array is None or array.shape != matrix.shape or array.dtype.kind != "f":
        return False, 0
    if not np.isfinite(array).all():
        return False, 0
    try:
        places = Substitution(symmetric(matrix))
        alone = Function(
            places.function(_OfOneLeaf(f, point, leaf)), Point(places.coordinates, "matrix"), "f"
        )
        projected = GivenLeaves(
            [places.derivative(array)], dtype=given.dtype, noise={0: given.noise.get(leaf, 0.0)}
        )
        once = replace(options, most=1, progress=False)
        found = Judged()
        probe_arrays(found, alone, projected, once)
    except FastbpError:  # no symmetric matrix, or f raises elsewhere
        return False, 0
    return found.rows[0].verdict == "passed", alone.evaluations


class _OfOneLeaf:
    """A function of one leaf, the others as they are at the point."""

    def __init__(self, f: Callable[[Any], Any], point: Point, leaf: int) -> None:
        self.f, self.point, self.leaf = f, point.copy(), leaf

    def __call__(self, matrix: Any) -> Any:
        self.point.restore()
        self.point.leaves[self.leaf][...] = matrix
        return self.f(self.point.argument)
