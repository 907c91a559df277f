"""The `gradients` argument of a check: from what a user gives to one array per parameter array.

What cannot be assigned to the parameters (a wrong number of arrays, something that is no array of
numbers) raises. What can be assigned but is wrong (a shape, a dtype, a function that answers
differently the second time) is a finding and becomes a reason in the report.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.errors import DTypeError, ShapeError
from fastbp.network.gradients import Gradients
from fastbp.runtime.floating_point import callers_errstate
from fastbp.runtime.user_code import called_twice, calling
from fastbp.runtime.validation import as_numbers
from fastbp.typing import Array

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastbp.network.batch import Batch
    from fastbp.network.network import Network

__all__ = ["GivenGradients", "arrays_of", "coarser_dtype", "given_gradients"]

FORMS = (
    "None, Gradients, a pair (dweights, dbiases) of lists, a flat vector, "
    "or a function that returns one of these"
)


@dataclass(frozen=True, slots=True, eq=False)
class GivenGradients:
    """The given arrays, in the order of the network's parameters.

    Attributes
    ----------
    arrays : list of ndarray
        As given: of any shape and numeric dtype, views of the user's arrays.
    misbehaviour : str
        What a gradient function did that it should not; empty if nothing, or no function.
    flat : ndarray or None
        The vector that all arrays are views of, in the order of the parameters, if there is one.
    accumulates : bool
        Whether a gradient function returned twice as much when it was called again.
    """

    arrays: list[Array]
    misbehaviour: str = ""
    flat: Array | None = None
    accumulates: bool = False


def given_gradients(net: Network, batch: Batch, gradients: Any) -> GivenGradients:
    """Return the arrays that the `gradients` argument of a check stands for.

    Parameters
    ----------
    net : Network
        The network whose gradient it is.
    batch : Batch
    gradients : None, Gradients, pair, ndarray or callable
        None stands for the network's own backward pass.

    Returns
    -------
    GivenGradients

    Raises
    ------
    ShapeError
        If there are too few or too many arrays, or a flat vector has the wrong size.
    DTypeError
        If it is none of these, or an item is no array of numbers.
    EvaluationError
        If it is a function that raises.
    """
    if gradients is None:
        _, own = net.loss_and_gradients(batch.x, batch.y, inputs=False)
        return GivenGradients(arrays_of(net, own), flat=own.flat)
    if callable(gradients):
        return _called_twice(net, batch, gradients)
    return GivenGradients(arrays_of(net, gradients), flat=_vector_of(gradients))


def _vector_of(gradients: Any) -> Array | None:
    """Return the vector of floats that gradients are views of, without a copy, or None."""
    vector = gradients.flat if isinstance(gradients, Gradients) else gradients
    fit = isinstance(vector, np.ndarray) and vector.flags.c_contiguous
    return np.asarray(vector) if fit and vector.dtype in (np.float64, np.float32) else None


def arrays_of(net: Network, gradients: Any) -> list[Array]:
    """Return one array per parameter array; raise where they cannot be assigned."""
    if isinstance(gradients, Gradients):
        if gradients.shapes == net.shapes and _vector_of(gradients) is gradients.flat:
            return list(net.shapes.views(gradients.flat))
        return _interleaved(net, gradients.weights, gradients.biases)
    if isinstance(gradients, tuple | list):
        return _interleaved(net, *_pair(gradients))
    if hasattr(gradients, "__array__"):
        return _split(net, as_numbers(gradients, "gradients"))
    raise DTypeError(f"gradients must be {FORMS}, not {type(gradients).__name__}.")


def _require_result(result: Any) -> None:
    """Raise unless a function has returned something that may hold gradients."""
    if not isinstance(result, Gradients | tuple | list) and not hasattr(result, "__array__"):
        raise DTypeError(
            f"gradients must return Gradients, a pair (dweights, dbiases) of lists or a flat "
            f"vector, not {type(result).__name__}."
        )


def _pair(gradients: Sequence[Any]) -> tuple[Any, Any]:
    if len(gradients) != 2:
        raise ShapeError(
            f"gradients must be a pair (dweights, dbiases), not a "
            f"{type(gradients).__name__} of length {len(gradients)}."
        )
    return gradients[0], gradients[1]


def _split(net: Network, vector: Array) -> list[Array]:
    """Cut a flat vector into the shapes of the parameters."""
    if vector.shape != net.parameters.shape:
        raise ShapeError(f"gradients must have shape {net.parameters.shape}, not {vector.shape}.")
    parts = net.unflatten(vector)
    return _interleaved(net, parts.weights, parts.biases)


def _interleaved(net: Network, dweights: Any, dbiases: Any) -> list[Array]:
    """Return the arrays in the order of the parameters: weights, biases, layer by layer."""
    weights = _listed(dweights, "weight", len(net.shapes.weights))
    if net.shapes.biases is None:
        _require_no_biases(dbiases)
        return weights
    biases = _listed(dbiases, "bias", len(net.shapes.biases))
    return [array for layer in zip(weights, biases, strict=True) for array in layer]


def _listed(arrays: Any, kind: str, count: int) -> list[Array]:
    if not isinstance(arrays, tuple | list):
        raise DTypeError(
            f"the {kind} gradients must be a list of {count} arrays, not {_described(arrays)}."
        )
    if len(arrays) != count:
        raise ShapeError(f"gradients must hold {count} {kind} gradients, not {len(arrays)}.")
    names = {"weight": "weights", "bias": "biases"}
    return [
        as_numbers(array, f"the gradient of {names[kind]}[{layer}]")
        for layer, array in enumerate(arrays)
    ]


def _require_no_biases(dbiases: Any) -> None:
    if dbiases is not None and not (isinstance(dbiases, tuple | list) and len(dbiases) == 0):
        raise ShapeError(
            f"the bias gradients must be None, since the network has no biases, "
            f"not {_described(dbiases)}."
        )


def _described(value: Any) -> str:
    if value is None:
        return "None"
    size = f" of length {len(value)}" if isinstance(value, tuple | list) else ""
    return f"{type(value).__name__}{size}"


def _called_twice(net: Network, batch: Batch, function: Callable[..., Any]) -> GivenGradients:
    """Call a gradient function on fresh copies, twice, and see whether it behaves."""

    def call() -> tuple[list[str], list[Array], list[str]]:
        result, changed = _called_on_copies(net, batch, function)
        _require_result(result)
        return net.parameter_names(), arrays_of(net, result), changed

    twice = called_twice(call)
    found = []
    if twice.changed:
        found.append(f"the function changed its arguments: {', '.join(twice.changed)}")
    if twice.differing:
        found.append(f"called twice, it {twice.differing}")
    arrays = [array for array in twice.arrays if array is not None]
    return GivenGradients(arrays, "; ".join(found), accumulates=twice.accumulates)


def _called_on_copies(
    net: Network, batch: Batch, function: Callable[..., Any]
) -> tuple[Any, list[str]]:
    """Return what the function returns, and the names of the arguments that it changed."""
    weights = [array.copy() for array in net.weights]
    biases = None if net.biases is None else [array.copy() for array in net.biases]
    x, y = batch.x, batch.y
    own_x, own_y = x.copy(), y.copy()
    with calling("gradients"), callers_errstate():
        result = function(weights, biases, own_x, own_y)
    changed = _changed_items("weights", weights, net.weights)
    if biases is not None and net.biases is not None:
        changed += _changed_items("biases", biases, net.biases)
    changed += [
        name for name, now, before in (("x", own_x, x), ("y", own_y, y)) if not _same(now, before)
    ]
    return result, changed


def _changed_items(name: str, now: list[Any], before: Sequence[Array]) -> list[str]:
    if len(now) != len(before):
        return [name]
    pairs = enumerate(zip(now, before, strict=True))
    return [f"{name}[{layer}]" for layer, (new, old) in pairs if not _same(new, old)]


def _same(now: Any, before: Array) -> bool:
    array = np.asarray(now)
    return array.shape == before.shape and bool(np.array_equal(array, before))


def coarser_dtype(net: Network, given: GivenGradients) -> np.dtype[Any]:
    """Return the coarser dtype of the network and the given arrays that are of floats."""
    single = np.dtype(np.float32)
    arrays = given.arrays if given.flat is None else [given.flat]
    if net.dtype == single or any(
        array.dtype.kind == "f" and array.dtype.itemsize == single.itemsize for array in arrays
    ):
        return single
    return np.dtype(np.float64)
