"""A Jacobian or Hessian as it is given: dense, sparse, an operator, or blocks, as one matrix.

Rows are the real numbers of all leaves of the result, columns those of all leaves of the argument,
in the order of their names; each array in C order. So an array of shape ``output.shape +
input.shape`` and the flattened one of two axes are the same numbers in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.errors import DTypeError, ShapeError
from fastbp.function.containers.leaf_forms import read_leaf
from fastbp.function.containers.pytree import flattened
from fastbp.runtime.user_code import called_twice, calling, noise_of_calls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fastbp.function.array_function import VectorFunction
    from fastbp.function.containers.point import Point
    from fastbp.typing import Indices, Vector

    Shape = tuple[int, ...]

__all__ = ["Block", "GivenMatrix", "Sides", "is_function", "product_of", "read_matrix"]

FORMS = "an array, a sparse array, a LinearOperator or a function that returns one"
FLOATS = (np.dtype(np.float64), np.dtype(np.float32))


@dataclass(frozen=True, slots=True)
class Sides:
    """What the rows and the columns of a matrix are.

    Attributes
    ----------
    outputs, inputs : list of str
        The names of the leaves of the result and of the argument, without the name of the whole.
    output_shapes, input_shapes : list of tuple of int
        Their shapes.
    """

    outputs: list[str]
    inputs: list[str]
    output_shapes: list[Shape]
    input_shapes: list[Shape]

    @classmethod
    def of(cls, function: VectorFunction) -> Sides:
        """Return those of a function."""
        point = function.point
        return cls(
            [name.removeprefix(function.result) for name in function.output.names],
            [name.removeprefix(point.name) for name in point.container.names],
            function.output.shapes,
            point.container.shapes,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """How many rows and columns there are."""
        return _size(self.output_shapes), _size(self.input_shapes)


@dataclass(frozen=True, slots=True)
class Block:
    """One array of what was given, in its place in the whole matrix.

    Attributes
    ----------
    name : str
        As the report calls it.
    rows, columns : slice
        Its place.
    output_shape, input_shape : tuple of int
        What its axes are.
    """

    name: str
    rows: slice
    columns: slice
    output_shape: Shape
    input_shape: Shape

    @property
    def shape(self) -> Shape:
        """Its shape as it was given."""
        return (*self.output_shape, *self.input_shape)

    @property
    def is_flattened(self) -> bool:
        """Tell whether it has two axes in place of those of result and argument."""
        return len(self.output_shape) == len(self.input_shape) == 1

    def holds(self, rows: Any, columns: Any) -> Any:
        """Tell which entries of the whole matrix are in it."""
        return (
            (rows >= self.rows.start) & (rows < self.rows.stop)
            & (columns >= self.columns.start) & (columns < self.columns.stop)
        )  # fmt: skip

    def index(self, row: int, column: int) -> Shape:
        """Return the index, in what was given, of an entry of the whole matrix."""
        first = np.unravel_index(row - self.rows.start, self.output_shape)
        second = np.unravel_index(column - self.columns.start, self.input_shape)
        return tuple(int(i) for i in (*first, *second))

    def places(self, rows: Indices, columns: Indices) -> Indices:
        """Return the places, in C order of what was given, of entries of the whole matrix."""
        width = self.columns.stop - self.columns.start
        places: Indices = (rows - self.rows.start) * width + (columns - self.columns.start)
        return places


class GivenMatrix:
    """A given matrix as one of shape (rows, columns).

    Parameters
    ----------
    form : {"dense", "sparse", "operator"}
    matrix : ndarray, scipy.sparse.csc_array or LinearOperator
    blocks : sequence of Block
        The arrays that it was given as.
    name : str
        What it is called.
    findings : list of str
        What a function that returned it does that it should not.

    Attributes
    ----------
    noise : float
        By how much its entries differ from call to call, where noise is allowed.
    """

    def __init__(
        self, form: str, matrix: Any, blocks: Sequence[Block], name: str, findings: Sequence[str]
    ) -> None:
        self.form, self.matrix, self.blocks, self.name = form, matrix, list(blocks), name
        self.findings, self.noise = list(findings), 0.0
        self.shape: tuple[int, int] = matrix.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 if it was computed in that."""
        return np.dtype(np.float32 if self.matrix.dtype == np.float32 else np.float64)

    def times(self, vector: Vector) -> Vector:
        """Return its product with a vector, in float64.

        In sums of NumPy's own, where the matrix is dense: BLAS adds in another order with another
        number of threads. Columns that the vector does not touch add nothing, whatever they hold.
        """
        moving = np.flatnonzero(vector)
        if self.form == "operator":
            return product_of(self.matrix.matvec, vector, self.shape[0], f"{self.name}.matvec")
        part, some = self._columns(moving), vector[moving]
        with np.errstate(all="ignore"):
            if self.form == "sparse":
                return np.asarray(part @ some, dtype=np.float64)
            return _sums(part, some)

    def sizes_times(self, vector: Vector) -> Vector:
        """Return the sum of the sizes of the terms of `times`; of an operator, that of its sum."""
        if self.form == "operator":
            return np.abs(self.times(vector))
        moving = np.flatnonzero(vector)
        part, some = abs(self._columns(moving)), np.abs(vector[moving])
        with np.errstate(all="ignore"):
            if self.form == "sparse":
                return np.asarray(part @ some, dtype=np.float64)
            return _sums(part, some)

    def column(self, place: int) -> Vector:
        """Return one column, zeros included, in its own precision but for an operator."""
        if self.form == "dense":
            return np.ascontiguousarray(self.matrix[:, place])
        if self.form == "operator":
            unit = np.zeros(self.shape[1])
            unit[place] = 1.0
            return self.times(unit)
        column = np.zeros(self.shape[0], dtype=self.matrix.dtype)
        rows, part = self.entries_of(place)
        column[rows] = self.matrix.data[part]
        return column

    def entries_of(self, place: int) -> tuple[NDArray[np.integer[Any]], slice]:
        """Return the rows of the entries of a column of a sparse matrix, and where they are."""
        part = slice(int(self.matrix.indptr[place]), int(self.matrix.indptr[place + 1]))
        return self.matrix.indices[part], part

    def _columns(self, moving: NDArray[np.int64]) -> Any:
        if moving.size == self.shape[1]:
            return self.matrix
        if moving.size and moving[-1] - moving[0] == moving.size - 1:
            return self.matrix[:, moving[0] : moving[-1] + 1]
        return self.matrix[:, moving]

    def as_dense(self) -> GivenMatrix:
        """Return an operator as a dense matrix, by one product for each column."""
        columns = [self.column(place) for place in range(self.shape[1])]
        dense = np.stack(columns, axis=1) if columns else np.zeros(self.shape)
        return GivenMatrix("dense", dense, self.blocks, self.name, self.findings)


def _sums(matrix: NDArray[np.floating], vector: Vector) -> Vector:
    """Return a product in NumPy's own sums."""
    sums: Vector = np.einsum("ij,j->i", matrix, vector, dtype=np.float64)
    return sums


def product_of(product: Any, vector: Vector, size: int, name: str) -> Vector:
    """Return what an operator makes of a vector, as one of float64."""
    with calling(name):
        result = np.asarray(product(vector.copy()))
    if result.size != size or result.dtype.kind not in "fiu":
        raise ShapeError(
            f"{name} must return {size} real numbers, not {result.dtype} of shape {result.shape}."
        )
    return result.reshape(-1).astype(np.float64)


def is_sparse(value: Any) -> bool:
    """Tell whether something is a sparse array or matrix of SciPy."""
    return hasattr(value, "tocsc") and hasattr(value, "nnz")


def is_operator(value: Any) -> bool:
    """Tell whether something is a LinearOperator, or like one."""
    return hasattr(value, "matvec") and hasattr(value, "shape") and not is_sparse(value)


def is_function(given: Any) -> bool:
    """Tell whether something is a function that returns a matrix."""
    return callable(given) and not is_operator(given) and not is_sparse(given)


def read_matrix(given: Any, name: str, sides: Sides, point: Point, noise: float) -> GivenMatrix:
    """Return a matrix in whatever form it is given.

    Parameters
    ----------
    given : array, sparse array, operator, nesting of arrays and sparse arrays, or callable
        Also a function that returns one of these at the point: it is called twice.
    name : str
        What it is called.
    sides : Sides
        What its rows and columns must be.
    point : Point
        Where.
    noise : float
        By how much the entries may differ from one call to the next.

    Raises
    ------
    DTypeError, ShapeError
        If it is something else, or does not fit.
    EvaluationError
        If the function raises.
    """
    if not is_function(given):
        return _read(given, name, sides, [])
    results: list[Any] = []

    def call() -> tuple[list[str], list[Any], list[str]]:
        argument, changed = point.for_derivative()
        with calling(name):
            result = given(argument)
        parts = flattened(result, name)
        if not results:
            results.append(parts.rebuilt([_copied(leaf) for leaf in parts.leaves]))
        pairs = zip(parts.leaves, parts.names, strict=True)
        return parts.names, [_numbers(leaf, own) for leaf, own in pairs], changed()

    twice = called_twice(call, noise=noise)
    findings = []
    if twice.changed:
        findings.append(f"{name} changed its argument: {', '.join(twice.changed)}")
    if twice.differing:
        findings.append(f"{name}, called twice, {twice.differing}")
    matrix = _read(results[0], name, sides, findings)
    if noise and twice.apart:
        matrix.noise = max(noise_of_calls(call, twice.arrays))
    return matrix


def _numbers(leaf: Any, name: str) -> Any:
    """Return the numbers that two calls are compared by."""
    if is_sparse(leaf):  # one of another number of axes is a finding
        return leaf.tocsc().data if len(leaf.shape) == 2 else leaf.tocoo().data
    return None if is_operator(leaf) else np.asarray(read_leaf(leaf, name)[0])


def _copied(leaf: Any) -> Any:
    if is_operator(leaf):
        return leaf
    return leaf.copy() if hasattr(leaf, "copy") else leaf


def _read(given: Any, name: str, sides: Sides, findings: list[str]) -> GivenMatrix:
    parts = flattened(given, name)
    if parts.names == [name]:
        return _read_whole(parts.leaves[0], name, sides, findings)
    if not parts.names:
        came = "None" if given is None else f"an empty {type(given).__name__}"
        raise DTypeError(f"{name} must be {FORMS}, not {came}.")
    one_block = len(sides.outputs) == len(sides.inputs) == 1
    if one_block and isinstance(given, list | tuple) and _are_numbers(parts.leaves):
        try:
            rows = np.array(given, dtype=np.float64)
        except ValueError as error:
            raise ShapeError(f"{name} must be a list of rows of one length.") from error
        except OverflowError as error:
            raise DTypeError(f"{name} must hold numbers in the range of float64.") from error
        return _read_whole(rows, name, sides, findings)
    return _read_blocks(dict(zip(parts.names, parts.leaves, strict=True)), name, sides, findings)


def _are_numbers(leaves: Sequence[Any]) -> bool:
    return all(isinstance(leaf, int | float) and not isinstance(leaf, bool) for leaf in leaves)


def _read_whole(given: Any, name: str, sides: Sides, findings: list[str]) -> GivenMatrix:
    rows, columns = sides.shape
    flat = Block(name, slice(0, rows), slice(0, columns), (rows,), (columns,))
    full = None
    if len(sides.outputs) == len(sides.inputs) == 1:
        full = Block(name, flat.rows, flat.columns, sides.output_shapes[0], sides.input_shapes[0])
    if is_operator(given):
        if tuple(given.shape) != sides.shape:
            raise ShapeError(f"{name} must have shape {sides.shape}, not {tuple(given.shape)}.")
        if given.dtype is not None and np.dtype(given.dtype).kind not in "fiu":
            raise DTypeError(f"{name} must be an operator of real numbers, not of {given.dtype}.")
        return GivenMatrix("operator", given, [flat], name, findings)
    form, matrix = _two_axes(given, name, flat, full)
    chosen = full if full is not None and np.shape(given) == full.shape else flat
    if form == "sparse":
        chosen = flat
    return GivenMatrix(form, matrix, [chosen], name, findings)


def _two_axes(given: Any, name: str, flat: Block, full: Block | None) -> tuple[str, Any]:
    """Return a dense array of two axes, or a sparse one by columns."""
    if is_sparse(given):
        if tuple(given.shape) != flat.shape:
            raise ShapeError(_shapes_wanted(name, flat, None, tuple(given.shape)))
        _require_floats(given.dtype, name)
        matrix = given.tocsc().copy()
        matrix.sum_duplicates()
        return "sparse", matrix
    given, _ = read_leaf(given, name)
    if not isinstance(given, np.ndarray | np.generic | float):
        raise DTypeError(f"{name} must be {FORMS}, not {type(given).__name__}.")
    array = np.asarray(given)
    _require_floats(array.dtype, name)
    if array.shape != flat.shape and (full is None or array.shape != full.shape):
        raise ShapeError(_shapes_wanted(name, flat, full, array.shape))
    return "dense", array.reshape(flat.shape).copy()


def _require_floats(dtype: np.dtype[Any], name: str) -> None:
    if dtype not in FLOATS:
        raise DTypeError(f"{name} must be float64 or float32, not {dtype}.")


def _shapes_wanted(name: str, flat: Block, full: Block | None, came: Shape) -> str:
    wanted = str(flat.shape)
    if full is not None and full.shape != flat.shape:
        wanted = f"{full.shape} or {wanted}"
    hint = ""
    if full is not None and came == (*full.input_shape, *full.output_shape):
        hint = " It seems to be transposed: the result comes first."
    elif came == flat.shape[::-1]:
        hint = " It seems to be transposed: rows are the numbers of the result."
    return f"{name} must have shape {wanted}, not {came}.{hint}"


def _read_blocks(
    leaves: dict[str, Any], name: str, sides: Sides, findings: list[str]
) -> GivenMatrix:
    """Put a nesting, of the structure of the result and in each leaf of the argument, together."""
    blocks, arrays, row = [], [], 0
    for output, output_shape in zip(sides.outputs, sides.output_shapes, strict=True):
        column, line = 0, []
        rows = slice(row, row + _size([output_shape]))
        for own, input_shape in zip(sides.inputs, sides.input_shapes, strict=True):
            called = f"{name}{output}{own}"
            if called not in leaves:
                raise ShapeError(
                    f"{name} must be one matrix, or hold an array for each leaf of the result by "
                    f"each leaf of the argument: there is none for {called}."
                )
            columns = slice(column, column + _size([input_shape]))
            given = leaves.pop(called)
            if is_operator(given):
                raise DTypeError(f"{called} must be an array or a sparse array, not an operator.")
            flat = Block(called, rows, columns, (_size([output_shape]),), (_size([input_shape]),))
            full = Block(called, rows, columns, output_shape, input_shape)
            line.append(_two_axes(given, called, flat, full))
            natural = not is_sparse(given) and np.shape(given) == full.shape
            blocks.append(full if natural else flat)
            column = columns.stop
        arrays.append(line)
        row = rows.stop
    if leaves:
        raise ShapeError(f"{name} must not hold {', '.join(leaves)}: there is no such leaf.")
    if not any(form == "sparse" for line in arrays for form, _ in line):
        return GivenMatrix(
            "dense", np.block([[array for _, array in line] for line in arrays]), blocks, name,
            findings,
        )  # fmt: skip
    from scipy import sparse

    whole = sparse.block_array([[sparse.csc_array(array) for _, array in line] for line in arrays])
    return GivenMatrix("sparse", whole.tocsc(), blocks, name, findings)


def _size(shapes: Sequence[Shape]) -> int:
    return int(sum(np.prod(shape, dtype=np.int64) for shape in shapes))
