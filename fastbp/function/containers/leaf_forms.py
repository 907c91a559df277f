"""Leaves that are no arrays of NumPy: read as numbers, and made again from numbers.

A tensor, an array of JAX, a matrix or a sparse array becomes an array of NumPy, and a form that
makes the like of it from other numbers. Nothing is imported here: who brings a tensor of torch has
imported torch.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fastbp.errors import DTypeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Form", "JaxForm", "SparseForm", "read_leaf"]

PLAIN = (np.ndarray, float, int, bool, complex, np.float64, np.float32)
# Formats of scipy.sparse whose numbers are one array, `data`.
SPARSE_FORMATS = ("csr", "csc", "coo", "bsr", "dia")


class Form(Protocol):
    """What a leaf is made into again.

    Attributes
    ----------
    shares : bool
        Whether the leaf sees every later change of the array that it is made of.
    suffix : str
        What follows the name of the leaf in the name of its numbers.
    """

    shares: bool
    suffix: str

    def leaf(self, array: NDArray[Any]) -> Any:
        """Return a leaf that holds these numbers."""

    def plain(self, array: NDArray[Any]) -> Any:
        """Return what holds these numbers in a result of ours: no tensor, no array of JAX."""


class MatrixForm:
    """A matrix of NumPy: ``*`` is its product."""

    shares, suffix = True, ""

    def leaf(self, array: NDArray[Any]) -> Any:
        """Return a view."""
        return array.view(np.matrix)

    def plain(self, array: NDArray[Any]) -> Any:
        """Return the array."""
        return array


class TensorForm:
    """A tensor of torch, on the device of the given one; it requires a gradient if that does."""

    # A new tensor for each call, which shares memory on the CPU: so a change by f is seen.
    shares, suffix = False, ""

    def __init__(self, tensor: Any) -> None:
        self.device, self.requires_grad = tensor.device, bool(tensor.requires_grad)
        self.sparse = tensor.layout != sys.modules["torch"].strided

    def leaf(self, array: NDArray[Any]) -> Any:
        """Return a new tensor."""
        torch = sys.modules["torch"]
        with torch.no_grad():
            tensor = torch.from_numpy(np.asarray(array)).to(self.device)
        return tensor.requires_grad_(self.requires_grad)

    def plain(self, array: NDArray[Any]) -> Any:
        """Return the array."""
        return array


class JaxForm:
    """An array of JAX, on the devices of the given one."""

    shares, suffix = False, ""

    def __init__(self, array: Any) -> None:
        # Where JAX chose the device it may choose again.
        self.sharding = array.sharding if getattr(array, "committed", True) else None

    def leaf(self, array: NDArray[Any]) -> Any:
        """Return a new array, in double precision where the numbers are."""
        jax = sys.modules["jax"]
        # On the CPU JAX may take over the memory, which here is changed afterwards.
        own = np.array(array)
        with jax.enable_x64(own.dtype.itemsize >= (16 if own.dtype.kind == "c" else 8)):
            if self.sharding is None:
                return jax.numpy.asarray(own)
            return jax.device_put(own, self.sharding)

    def plain(self, array: NDArray[Any]) -> Any:
        """Return the array."""
        return array


class SparseForm:
    """A sparse array or matrix of SciPy: its `data` are the numbers, its structure is kept."""

    shares, suffix = False, ".data"

    def __init__(self, matrix: Any) -> None:
        self.template = matrix.copy()

    def leaf(self, array: NDArray[Any]) -> Any:
        """Return a new one with these numbers."""
        made = self.template.copy()
        made.data = np.array(array).reshape(self.template.data.shape)
        return made

    plain = leaf

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the whole."""
        return tuple(int(length) for length in self.template.shape)

    def same_structure(self, other: Any) -> bool:
        """Tell whether another form has its numbers at the same places."""
        if type(other) is not SparseForm or other.shape != self.shape:
            return False
        if other.template.format != self.template.format:
            return False
        if other.template.data.shape != self.template.data.shape:
            return False
        return all(
            np.array_equal(one, two) for one, two in zip(self.places(), other.places(), strict=True)
        )

    def places(self) -> list[NDArray[np.int64]]:
        """Return which of the numbers are entries, and then their indices along each axis.

        The blocks of DIA reach beyond the matrix; these numbers are none of its entries.
        """
        size = self.template.data.size
        numbered = self.leaf(np.arange(1, size + 1, dtype=np.float64)).tocoo()
        axes = getattr(numbered, "coords", None) or (numbered.row, numbered.col)
        return [np.asarray(part).astype(np.int64) for part in (numbered.data - 1, *axes)]

    def gathered(self, whole: Any) -> NDArray[Any]:
        """Return the numbers that a whole matrix, dense or sparse, has at these places."""
        which, *index = self.places()
        if hasattr(whole, "tocsr") and len(index) == 2:
            found = np.asarray(whole.tocsr()[index[0], index[1]]).reshape(-1)
        else:
            dense = whole.toarray() if hasattr(whole, "toarray") else np.asarray(whole)
            found = dense[tuple(index)]
        numbers: NDArray[Any] = np.zeros(self.template.data.size, dtype=found.dtype)
        numbers[which] = found
        return numbers.reshape(self.template.data.shape)

    def __eq__(self, other: object) -> bool:
        """Tell whether both make the same structures."""
        return self.same_structure(other)

    def __hash__(self) -> int:
        """Hash what is cheap to compare."""
        return hash((self.shape, self.template.format))


def read_leaf(leaf: Any, name: str) -> tuple[Any, Form | None]:
    """Return a leaf as an array or number, and what makes the like of it; None for NumPy's own.

    What is unknown comes back as it is.

    Raises
    ------
    DTypeError
        If it cannot be read.

    Examples
    --------
    >>> read_leaf(np.ones(2), "x")[1] is None
    True
    >>> numbers, form = read_leaf(np.ones((1, 2)).view(np.matrix), "x")
    >>> type(numbers).__name__, type(form.leaf(numbers)).__name__
    ('ndarray', 'matrix')
    """
    kind = type(leaf)
    if kind in PLAIN or isinstance(leaf, np.generic):
        return leaf, None
    if isinstance(leaf, np.ndarray):
        return _read_subclass(leaf, name)
    jax, torch = _loaded("jax", "Array"), _loaded("torch", "Tensor")
    if jax is not None and isinstance(leaf, jax.Array):
        return _read_jax(leaf, name)
    if torch is not None and isinstance(leaf, torch.Tensor):
        return _read_tensor(leaf, name)
    scipy_sparse = sys.modules.get("scipy.sparse")
    if scipy_sparse is not None and scipy_sparse.issparse(leaf):
        if leaf.format not in SPARSE_FORMATS:
            raise DTypeError(
                f"{name} must be sparse in a format with an array of data (CSR, CSC, COO, BSR, "
                f"DIA), not {leaf.format.upper()}: use .tocsr()."
            )
        return leaf.data, SparseForm(leaf)
    return leaf, None


def _loaded(module: str, name: str) -> Any:
    """Return a module that somebody has imported, and wholly; None if nobody has."""
    found = sys.modules.get(module)
    return found if hasattr(found, name) else None


def _read_subclass(array: NDArray[Any], name: str) -> tuple[Any, Form | None]:
    if isinstance(array, np.matrix):
        return np.asarray(array), MatrixForm()
    if isinstance(array, np.memmap) or array.dtype.kind not in "fc":
        return np.asarray(array), None
    kind = type(array).__name__
    hint = "use np.asarray(...)"
    if isinstance(array, np.ma.MaskedArray):
        hint = "what is masked has no derivative; use .filled() or .data"
    raise DTypeError(f"{name} must be a plain array, not {kind}: {hint}.")


def _read_jax(array: Any, name: str) -> tuple[Any, Form | None]:
    jax = sys.modules["jax"]
    if jax.numpy.issubdtype(array.dtype, jax.dtypes.extended):  # the key of a random generator
        return array, None
    try:
        return np.asarray(array), JaxForm(array)
    except Exception as error:  # an array within jit, or one that was deleted
        raise DTypeError(f"{name} must be an array of numbers: {error}") from error


def _read_tensor(tensor: Any, name: str) -> tuple[Any, Form | None]:
    form = TensorForm(tensor)
    try:
        dense = tensor.to_dense() if form.sparse else tensor
        return dense.numpy(force=True), form
    except (TypeError, RuntimeError) as error:
        if tensor.device.type == "meta":
            raise DTypeError(f"{name} must hold numbers, but it is on the device meta.") from error
        if tensor.is_nested:
            raise DTypeError(f"{name} must be strided or sparse, not nested.") from error
        kind = str(tensor.dtype).removeprefix("torch.")
        raise DTypeError(f"{name} must be float64 or float32, not {kind}.") from error
