"""Is a Hessian symmetric? The given matrix, its products, and the differences of the gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.function.checks.matrices.measured_entries import precision_of
from fastbp.function.checks.matrices.product_pairs import unequal_entry
from fastbp.function.checks.report_assembly import FunctionCheck
from fastbp.report.wording.digits import told_apart
from fastbp.verdict.rows import bare_row
from fastbp.verdict.tolerance import agreement_of_sums

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbp.function.array_function import VectorFunction
    from fastbp.function.checks.matrices.given_matrix import GivenMatrix
    from fastbp.function.checks.matrices.matrix_check import MatrixCheck
    from fastbp.function.checks.matrices.measured_entries import MeasuredEntries
    from fastbp.function.methods.options import Options
    from fastbp.typing import Mask, Vector

__all__ = ["symmetry_of_matrix", "symmetry_of_product"]


def symmetry_of_matrix(
    function: VectorFunction, matrix: GivenMatrix, found: MatrixCheck, options: Options
) -> FunctionCheck:
    """Compare a given Hessian with its transpose, and the differences with theirs.

    Of the chosen entries, where not all are.

    Two entries may differ by the bars of both: what the noise of the gradient does to differences
    the rounding of a Hessian may do too.
    """
    single = precision_of(function, matrix) == np.float32
    chosen = function.chosen_numbers
    if matrix.form == "operator":
        check = symmetry_of_product(matrix.times, chosen, matrix.name, single, options)
    else:
        atol = (options.atol or 0.0) + 2 * matrix.noise
        check = _of_entries(matrix, found, chosen, _share(options, single), atol)
    if found.entries is None or matrix.form == "sparse" or check.others[0].verdict == "failed":
        return check
    reason = _differences_not_symmetric(function, matrix, found.entries)
    others = [bare_row("gradient", (), 0, "failed", reason)] if reason else []
    return FunctionCheck(others=(*check.others, *others))


def symmetry_of_product(
    product: Callable[[Vector], Vector], chosen: Mask, name: str, single: bool, options: Options
) -> FunctionCheck:
    """Compare <u, H v> with <v, H u>, and find an entry in which they differ."""
    rng = np.random.default_rng((options.seed, 4))
    share = _share(options, single)
    noise = options.noise + (options.atol or 0.0)
    shape = (chosen.size, chosen.size)
    found = unequal_entry(product, product, shape, rng, share, noise, (chosen, chosen))
    if found is None:
        return FunctionCheck(others=(_row(name, ""),))
    i, j, one, other = found
    return FunctionCheck(
        others=(_row(name, _unequal(f"{name}[{i}, {j}]", f"{name}[{j}, {i}]", one, other)),)
    )


def _share(options: Options, single: bool) -> float:
    return max(options.rtol or 0.0, agreement_of_sums(single))


def _row(name: str, reason: str) -> Any:
    return bare_row(f"{name}, symmetry", (), 0, "failed" if reason else "passed", reason)


def _unequal(first: str, second: str, one: float, other: float) -> str:
    told, beside = told_apart(one, other)
    return f"{first} is {told}, but {second} is {beside}"


def _of_entries(
    matrix: GivenMatrix, found: MatrixCheck, chosen: Mask, share: float, atol: float
) -> FunctionCheck:
    bars = found.bars
    if matrix.form == "sparse":
        apart = (matrix.matrix - matrix.matrix.T).tocoo()
        rows, columns, numbers = apart.coords[0], apart.coords[1], apart.data
        sizes = (abs(matrix.matrix) + abs(matrix.matrix.T)).tocsr()
        beside = np.asarray(sizes[rows, columns]).reshape(-1) if numbers.size else numbers
    else:
        numbers = (matrix.matrix - matrix.matrix.T).reshape(-1)
        beside = (np.abs(matrix.matrix) + np.abs(matrix.matrix.T)).reshape(-1)
        rows, columns = (index.reshape(-1) for index in np.indices(matrix.shape))
    with np.errstate(invalid="ignore"):
        allowed = share * beside + 2 * atol + bars[rows] + bars[columns]
        if found.entries is not None and matrix.form != "sparse":
            own = np.where(
                np.isfinite(found.entries.error_bar), found.entries.error_bar + found.entries.hull,
                0.0,
            ).reshape(matrix.shape)  # fmt: skip
            allowed = share * beside + 2 * atol + (own + own.T).reshape(-1)
        excess = np.abs(numbers) - allowed
    wrong = np.isfinite(numbers) & (excess > 0) & chosen[rows] & chosen[columns]
    if not wrong.any():
        return FunctionCheck(others=(_row(matrix.name, ""),))
    worst = int(np.argmax(np.where(wrong, excess, -np.inf)))
    i, j = sorted((int(rows[worst]), int(columns[worst])))
    pair = matrix.column(j)[i], matrix.column(i)[j]
    reason = _unequal(_entry(matrix, i, j), _entry(matrix, j, i), float(pair[0]), float(pair[1]))
    pairs = int(np.count_nonzero(wrong)) // 2
    if pairs > 1:
        reason += f" ({pairs} pairs in all)"
    return FunctionCheck(others=(_row(matrix.name, reason),))


def _entry(matrix: GivenMatrix, row: int, column: int) -> str:
    for block in matrix.blocks:
        if block.holds(row, column):
            return f"{block.name}[{', '.join(map(str, block.index(row, column)))}]"
    raise IndexError(row, column)


def _differences_not_symmetric(
    function: VectorFunction, matrix: GivenMatrix, entries: MeasuredEntries
) -> str:
    """Say where the derivative of the gradient is not symmetric; empty if it is."""
    slope, reach = entries.slope.reshape(matrix.shape), entries.error_bar + entries.hull
    reach = reach.reshape(matrix.shape)
    with np.errstate(invalid="ignore"):
        excess = np.abs(slope - slope.T) - (reach + reach.T)
    wrong = np.isfinite(excess) & (excess > 0)
    if not wrong.any():
        return ""
    worst = int(np.argmax(np.where(wrong, excess, -np.inf)))
    i, j = sorted(divmod(worst, matrix.shape[1]))
    names = _names(function)
    one, other = told_apart(float(slope[i, j]), float(slope[j, i]), 6)
    return (
        f"it is the gradient of no function: by {names[j]} the derivative for {names[i]} changes "
        f"by {one}, but by {names[i]} that for {names[j]} by {other}"
    )


def _names(function: VectorFunction) -> list[str]:
    point = function.point
    return [
        point.entry_name(leaf, entry)
        for leaf, base in enumerate(point.base)
        for entry in range(base.size)
    ]
