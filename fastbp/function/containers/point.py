"""The argument of a function as real numbers: a working copy beside the point."""

from __future__ import annotations

import inspect
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.errors import ShapeError
from fastbp.function.containers.leaf_forms import JaxForm, MatrixForm, SparseForm
from fastbp.function.containers.pytree import Container, require_leaves, take_apart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

__all__ = ["Point", "argument_name", "consecutive", "described_precision"]


DOUBLE_UNIT = float(np.finfo(np.float64).eps) / 2
SINGLE_UNIT = float(np.finfo(np.float32).eps) / 2
# A result in single precision and one in double are no farther apart, relative to the largest.
MOST_APART = 2.0**-7


def argument_name(function: Callable[..., Any], otherwise: str = "at") -> str:
    """Return what a function calls its first argument: that is how the report names the arrays.

    Examples
    --------
    >>> argument_name(lambda params: 0.0)
    'params'
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return otherwise
    named = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return parameters[0].name if parameters and parameters[0].kind in named else otherwise


class Point:
    """A working copy of a nested argument, every real number of it within reach.

    Parameters
    ----------
    at : nesting of arrays and scalars
        Validated; never changed.
    name : str
        What the whole is called.
    double : bool
        Whether float32 leaves become float64.
    members : dict of str to str, optional
        What its members are called, by their paths, where each is an argument of its own.

    Attributes
    ----------
    container : Container
        The names, leaves and structure of `at`.
    base : list of ndarray, each of shape (n,)
        The real numbers of each leaf, in its precision here; a complex number is two.
    flat : list of ndarray, each of shape (n,)
        The same, in the working copy.
    fixed : nesting of arrays or None
        What the function gets, if that is always the same object: None where a leaf is a scalar,
        or made anew of the working copy.
    """

    def __init__(
        self,
        at: Any,
        name: str,
        *,
        double: bool = True,
        members: Mapping[str, str] | None = None,
    ) -> None:
        self.at, self.name, self.double, self.members = at, name, double, members or {}
        self.container: Container = take_apart(at, name).holding().named(self.members)
        self._leaves = [_working_copy(leaf, double) for leaf in self.container.leaves]
        self.flat = [real_numbers(leaf) for leaf in self._leaves]
        self.base = [numbers.copy() for numbers in self.flat]
        self._scalars = [not isinstance(leaf, np.ndarray) for leaf in self.container.leaves]
        made_anew = any(form is not None and not form.shares for form in self.container.forms)
        self.fixed = (
            None if made_anew or any(self._scalars) else self.container.rebuilt(self._leaves)
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as the argument itself: optree must meet the dataclasses where it arrives."""
        return _point_of, (self.at, self.name, self.double, self.members)

    @property
    def argument(self) -> Any:
        """What the function gets: the working copy, scalars as scalars."""
        if self.fixed is not None:
            return self.fixed
        leaves = [
            _scalar_like(leaf, array) if scalar else array
            for leaf, array, scalar in zip(
                self.container.leaves, self._leaves, self._scalars, strict=True
            )
        ]
        return self.container.rebuilt(leaves)

    @property
    def leaves(self) -> list[NDArray[Any]]:
        """The arrays of the working copy, a scalar as one without axes."""
        return self._leaves

    @property
    def dtypes(self) -> list[np.dtype[Any]]:
        """The dtype of each leaf of the working copy."""
        return [leaf.dtype for leaf in self._leaves]

    @cached_property
    def row_names(self) -> list[str]:
        """What the report calls each leaf: complex ones are pairs of real numbers there."""
        return [
            f"{name} (real, imag)" if dtype.kind == "c" else name
            for name, dtype in zip(self.container.names, self.dtypes, strict=True)
        ]

    @cached_property
    def row_shapes(self) -> list[tuple[int, ...]]:
        """The shape of each leaf in the report: complex ones have one more axis, of two."""
        return [
            (*shape, 2) if dtype.kind == "c" else shape
            for shape, dtype in zip(self.container.shapes, self.dtypes, strict=True)
        ]

    @property
    def precision(self) -> str:
        """What the user's arrays and the working copy hold, as a report says it."""
        given = [np.asarray(leaf).dtype for leaf in self.container.leaves]
        return described_precision(map(_real_name, given), map(_real_name, self.dtypes))

    @property
    def single(self) -> bool:
        """Tell whether there is float32 in the working copy."""
        return any(numbers.dtype == np.float32 for numbers in self.flat)

    @cached_property
    def parts(self) -> list[slice]:
        """Where the real numbers of each leaf are in one vector of all."""
        return consecutive(base.size for base in self.base)

    def spread(self, leaf: int, array: NDArray[Any]) -> NDArray[Any]:
        """Return what stands for a leaf or each of its entries as one for each real number."""
        whole = np.broadcast_to(array, self.container.shapes[leaf]).reshape(-1)
        # A complex number is two real ones.
        return np.repeat(whole, self.base[leaf].size // max(whole.size, 1))

    def repeated(self, count: int) -> list[NDArray[Any]]:
        """Return the leaves of a number of points: each with one more axis, the first."""
        return [
            np.repeat(base.view(dtype).reshape(1, *shape), count, axis=0)
            for base, dtype, shape in zip(
                self.base, self.dtypes, self.container.shapes, strict=True
            )
        ]

    def as_given(self) -> Point:
        """Return a fresh copy in the precision of the user's arrays, for the user's own derivative.

        It is the derivative that the user computes which is in question, and it may use constants
        in float32, although f may be differenced in float64.
        """
        return Point(self.at, self.name, double=False, members=self.members)

    def evaluated_by(self, f: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function for arguments like this one: JAX in 64 bits where they are double."""
        wide = any(dtype in (np.float64, np.complex128) for dtype in self.dtypes)
        if wide and any(isinstance(form, JaxForm) for form in self.container.forms):
            return _In64Bits(f)
        return f

    def for_derivative(self) -> tuple[Any, Callable[[], list[str]]]:
        """Return a fresh argument for the user's own derivative, and what tells what it changed.

        In the user's precision, and with arrays that lie in memory as the user's do: a derivative
        may be wrong for one layout alone.
        """
        own = self.as_given()
        given = self.container.leaves
        if all(np.asarray(leaf).flags.c_contiguous for leaf in given):
            return own.argument, own.changed
        leaves = [_copy_in_layout(leaf) if isinstance(leaf, np.ndarray) else leaf for leaf in given]

        def changed() -> list[str]:
            return [
                name
                for name, leaf, former in zip(self.container.names, leaves, given, strict=True)
                if not np.array_equal(leaf, former, equal_nan=True)
            ]

        return self.container.rebuilt(leaves), changed

    def copy(self) -> Point:
        """Return the same point with a working copy of its own."""
        other = object.__new__(Point)
        vars(other).update(vars(self))
        other.renew()
        return other

    def renew(self) -> None:
        """Take other memory for the working copy: the former belongs to whoever has kept it."""
        self._leaves = [leaf.copy() for leaf in self._leaves]
        self.flat = [real_numbers(leaf) for leaf in self._leaves]
        if self.fixed is not None:
            self.fixed = self.container.rebuilt(self._leaves)

    def is_scalar(self, leaf: int) -> bool:
        """Tell whether a leaf is a number and no array."""
        return self._scalars[leaf]

    def restore(self) -> None:
        """Put the working copy back to the point."""
        for numbers, base in zip(self.flat, self.base, strict=True):
            numbers[:] = base

    def changed(self) -> list[str]:
        """Return the names of leaves whose working copy is not as it should be."""
        return [
            name
            for name, numbers, base in zip(self.container.names, self.flat, self.base, strict=True)
            if not np.array_equal(numbers, base, equal_nan=True)
        ]

    def entry_name(self, leaf: int, entry: int) -> str:
        """Return an entry as one writes it in Python."""
        shape = np.shape(self.container.leaves[leaf])
        name, part = self.container.names[leaf], ""
        if self._leaves[leaf].dtype.kind == "c":
            entry, imaginary = divmod(entry, 2)
            part = ".imag" if imaginary else ".real"
        index = ", ".join(str(int(i)) for i in np.unravel_index(entry, shape))
        return f"{name}[{index}]{part}" if index else f"{name}{part}"


def _point_of(at: Any, name: str, double: bool, members: Mapping[str, str]) -> Point:
    return Point(at, name, double=double, members=members)


class _In64Bits:
    """A function that is called with JAX in its 64-bit mode."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.__name__ = getattr(function, "__name__", type(function).__name__)

    def __call__(self, *arguments: Any) -> Any:
        import jax

        with jax.enable_x64(True):
            return self.function(*arguments)


def _working_copy(leaf: Any, double: bool) -> NDArray[Any]:
    array = np.asarray(leaf)
    dtype = np.result_type(array.dtype, np.float64) if double else array.dtype
    # order="C" also for Fortran arrays: the flat view must see the same memory.
    return np.array(array, dtype=dtype, order="C")


def _copy_in_layout(array: NDArray[Any]) -> NDArray[Any]:
    """Return a copy with the same strides: order, gaps, reversed and expanded axes."""
    reach = [
        (length - 1) * stride for length, stride in zip(array.shape, array.strides, strict=True)
    ]
    if array.size == 0:
        return array.copy()
    first = -sum(min(0, extent) for extent in reach)
    memory = bytearray(first + sum(max(0, extent) for extent in reach) + array.itemsize)
    copied: NDArray[Any] = np.ndarray(array.shape, array.dtype, memory, first, array.strides)
    copied[...] = array
    return copied


def _real_name(dtype: np.dtype[Any]) -> str:
    return str(np.empty(0, dtype).real.dtype)


def described_precision(given: Iterable[str], differenced: Iterable[str]) -> str:
    """Say of which dtypes arguments are, and in which they are differenced.

    Examples
    --------
    >>> described_precision(["float64", "float32", "float32"], ["float64"])
    'float32, float64, differenced in float64'
    >>> described_precision(["float32"], ["float32"])
    'float32'
    """
    own, used = (", ".join(sorted(set(names))) for names in (given, differenced))
    return own if own == used else f"{own}, differenced in {used}"


def consecutive(sizes: Iterable[int]) -> list[slice]:
    """Return where arrays of these sizes are in one vector, one after the other.

    Examples
    --------
    >>> consecutive([2, 0, 3])
    [slice(0, 2, None), slice(2, 2, None), slice(2, 5, None)]
    """
    ends = [0, *accumulate(sizes)]
    return [slice(*both) for both in pairwise(ends)]


def real_numbers(leaf: NDArray[Any]) -> NDArray[Any]:
    """Return a flat view of the real numbers of a contiguous array: a complex one has two."""
    flat = leaf.reshape(-1)
    return flat.view(flat.real.dtype) if leaf.dtype.kind == "c" else flat


def _scalar_like(leaf: Any, array: NDArray[Any]) -> Any:
    return array[()] if isinstance(leaf, np.generic) else array.item()


def make_point(
    function: Callable[[Any], Any],
    at: Any,
    name: str,
    *,
    vectorized: bool = False,
    complex_too: bool = False,
    members: Mapping[str, str] | None = None,
) -> Point:
    """Return the point in float64, or in its own precision where the function refuses float64."""
    container = take_apart(at, name).holding().named(members or {})
    require_leaves(container, name, complex_too=complex_too)
    if vectorized and _unbatchable(container):
        bad = container.names[_unbatchable(container)[0]]
        raise ShapeError(f"{bad} must be an array for a vectorized function, or a tensor.")
    point = Point(at, name, members=members)
    own = point.as_given()
    if not own.single:
        return point
    try:
        with np.errstate(all="ignore"):
            batch = point.repeated(1) if vectorized else None
            argument = point.copy().argument if batch is None else point.container.rebuilt(batch)
            evaluated = point.evaluated_by(function)
            result = evaluated(argument)
            # Random numbers of JAX are other ones in 64 bits: then f is another function.
            in_both_modes = evaluated is function or vectorized
            if not in_both_modes and not _nearly_equal(function(own.copy().argument), result):
                return own
    except Exception:  # whatever it does not like about float64
        return own
    return point


def _unbatchable(container: Container) -> list[int]:
    """Return the leaves that have no axis for many points: matrices and sparse arrays."""
    return [
        leaf
        for leaf, form in enumerate(container.forms)
        if isinstance(form, MatrixForm | SparseForm)
    ]


def _nearly_equal(one: Any, other: Any) -> bool:
    """Tell whether two results differ by no more than the rounding of single precision may do."""
    pairs = zip(take_apart(one, "output").leaves, take_apart(other, "output").leaves, strict=True)
    for first, second in pairs:
        a, b = np.asarray(first), np.asarray(second)
        largest = float(np.max(np.abs(b), initial=0.0))
        if a.shape != b.shape or not np.allclose(
            a, b, rtol=0.0, atol=MOST_APART * largest, equal_nan=True
        ):
            return False
    return True
