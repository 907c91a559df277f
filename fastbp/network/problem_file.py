"""The problem file: a network, a batch and perhaps a gradient in one ``.npz``.

Every key holds a plain array of numbers (two of them a short text), so that any language that can
write NumPy's format can hand a gradient to fastbp:

=============================  =====================================================================
``weights_0``, ``weights_1``   the weights of each layer, in the shapes of ``layout``
``biases_0``, ``biases_1``     the biases; left out for a network without biases
``x``, ``y``                   the inputs and the targets (class indices are integers)
``dweights_0``, ``dbiases_0``  optional: the gradient to check, one array for each parameter array
``loss``, ``reduction``        optional: 0-d arrays of text
``layout``                     optional: a 0-d array of text
``scale``, ``weight_decay``    optional: 0-d arrays of a number
``relu_at_zero``               optional: a 0-d array of a number
=============================  =====================================================================

A missing option has the default of `fastbp.Network`. Nothing is ever pickled, and a file that holds
a pickle is refused before it is unpickled: a pickle can run any code. Members are stored or
deflated; every size that the file declares is checked before memory is taken for it.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastbp.errors import OptionError, ProblemFileError
from fastbp.network.given_gradients import arrays_of
from fastbp.network.gradients import Gradients
from fastbp.network.network import Network, require_finite_batch
from fastbp.runtime.floating_point import own_errstate
from fastbp.runtime.npz_reader import key_text, path_text, read_npz
from fastbp.runtime.validation import require_path
from fastbp.typing import Array

__all__ = ["Problem", "load_problem", "save_problem"]

GradientArrays = tuple[list[Array], list[Array] | None]

_TEXT_OPTIONS = ("loss", "reduction", "layout")
_NUMBER_OPTIONS = ("scale", "weight_decay", "relu_at_zero")
_SINGLE_KEYS = frozenset(("x", "y", *_TEXT_OPTIONS, *_NUMBER_OPTIONS))
_LAYER_KEY = re.compile(r"(weights|biases|dweights|dbiases)_(0|[1-9][0-9]{0,8})")
_NUMERIC_KINDS = "biufc"
_TEXT_KINDS = "US"


@dataclass(frozen=True, eq=False)
class Problem:
    """What a problem file holds.

    Attributes
    ----------
    net : Network
        The network, with its loss, layout and parameters.
    x : ndarray
        The inputs, in the shape of the network's layout.
    y : ndarray
        The targets; class indices stay integers.
    gradients : tuple or None
        ``(dweights, dbiases)``, two lists of arrays exactly as they stand in the file (``dbiases``
        is None for a network without biases), or None where the file holds no gradient.

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> net = fastbp.Network.random([3, 4, 2], seed=1)
    >>> fastbp.save_problem("problem.npz", net, np.ones((3, 5)), np.ones((2, 5)))
    >>> problem = fastbp.load_problem("problem.npz")
    >>> problem.net.sizes, problem.x.shape, problem.gradients is None
    ((3, 4, 2), (3, 5), True)
    """

    net: Network
    x: Array
    y: Array
    gradients: GradientArrays | None


@own_errstate
def save_problem(
    path: str | os.PathLike[str],
    net: Network,
    x: Array,
    y: Array,
    gradients: Gradients | tuple[Sequence[Array], Sequence[Array] | None] | Array | None = None,
) -> None:
    """Write a network, a batch and perhaps a gradient to a ``.npz`` file.

    The file appears whole or not at all: it is written beside its place under another name and then
    moved there, over what stood there before.

    Parameters
    ----------
    path : str or path-like
        Where to write; used as it is, no suffix is added.
    net : Network
        The network. Its loss must have a name: a pair of callables cannot be saved.
    x : ndarray
        The inputs, in the shape of the network's layout.
    y : ndarray
        The targets.
    gradients : Gradients, (dweights, dbiases), flat vector or None
        The gradient to keep with it. Arrays are written in the shapes that they have, so that a
        wrong shape can be reported by the check.

    Raises
    ------
    OptionError
        The loss is a pair of callables, or `gradients` is a function.
    ShapeError, DTypeError, NonFiniteError
        `x` or `y` do not fit the network, or `gradients` has a wrong number of arrays, or an array
        that holds no numbers.
    ProblemFileError
        The file cannot be written.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> import fastbp
    >>> net = fastbp.Network.random([2, 3, 1])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "problem.npz"
    ...     fastbp.save_problem(path, net, np.ones((2, 4)), np.zeros((1, 4)))
    ...     problem = fastbp.load_problem(path)
    >>> problem.net.sizes, problem.x.shape, problem.gradients
    ((2, 3, 1), (2, 4), None)

    """
    where = require_path(path)
    batch = require_finite_batch(net, x, y)
    arrays = {
        **_options_of(net),
        **_numbered("weights", net.weights),
        **_numbered("biases", net.biases or []),
        **_gradient_arrays(net, gradients),
        "x": batch.x,
        "y": batch.y,
    }
    _write_atomically(where, arrays)


@own_errstate
def load_problem(path: str | os.PathLike[str]) -> Problem:
    """Read a problem file, written by `save_problem` or by anything that writes ``.npz``.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    Problem
        Its ``net``, ``x``, ``y`` and ``gradients``.

    Raises
    ------
    ProblemFileError
        The file is missing, truncated or no ``.npz``; a key is missing or unknown; a key holds
        Python objects (which are never loaded) or something else than it should.
    ShapeError, DTypeError, NonFiniteError, OptionError
        The arrays do not make a network and a batch: the message names the array.

    Examples
    --------
    A file that is written without fastbp:

    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> import fastbp
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "problem.npz"
    ...     np.savez(path, weights_0=np.eye(2), x=np.ones((2, 1)), y=np.zeros((2, 1)))
    ...     fastbp.load_problem(path).net.sizes
    (2, 2)

    """
    where = require_path(path)
    arrays = _read_arrays(where)
    count = 1 + max(_indices(arrays, "weights"), default=0)
    weights = _layers(where, arrays, "weights", count)
    biases = _layers(where, arrays, "biases", count) if _indices(arrays, "biases") else None
    x, y = (_required(where, arrays, key) for key in ("x", "y"))
    net = Network(weights, biases, **_read_options(where, arrays))
    require_finite_batch(net, x, y)
    return Problem(net, x, y, _read_gradients(where, arrays, net))


# ---- from a problem to arrays ----


def _options_of(net: Network) -> dict[str, Array]:
    objective = net.objective
    if not isinstance(objective.loss, str):
        raise OptionError(
            "loss is a pair of functions, and a problem file holds arrays only: "
            "save_problem needs a loss that has a name."
        )
    options = {
        "loss": objective.loss,
        "reduction": objective.reduction,
        "layout": net.layout,
        "scale": objective.scale,
        "weight_decay": objective.weight_decay,
        "relu_at_zero": net.relu_at_zero,
    }
    return {key: np.asarray(value) for key, value in options.items()}


def _numbered(name: str, arrays: Sequence[Array]) -> dict[str, Array]:
    return {f"{name}_{layer}": array for layer, array in enumerate(arrays)}


def _gradient_arrays(net: Network, gradients: Any) -> dict[str, Array]:
    """Give the gradient one key for each array, the shapes left alone."""
    if gradients is None:
        return {}
    if callable(gradients):
        raise OptionError(
            "gradients must be arrays to be saved, not a function: call it, save what it returns."
        )
    arrays = arrays_of(net, gradients)
    keys = (f"d{array.kind}_{array.layer}" for array in net.shapes.arrays)
    return dict(zip(keys, arrays, strict=True))


def _write_atomically(path: Path, arrays: Mapping[str, Array]) -> None:
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        temporary.replace(path)
    except OSError as error:
        raise ProblemFileError(
            f"{path_text(path)} cannot be written: {error.strerror or error}."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


# ---- from a file to arrays ----


def _read_arrays(path: Path) -> dict[str, Array]:
    def kinds_of(key: str) -> str:
        if key not in _SINGLE_KEYS and _LAYER_KEY.fullmatch(key) is None:
            raise ProblemFileError(
                f"{path_text(path)}: unknown key {key_text(key)}. The known keys are "
                "weights_0.., biases_0.., dweights_0.., dbiases_0.., "
                f"{', '.join(sorted(_SINGLE_KEYS))}."
            )
        return _TEXT_KINDS if key in _TEXT_OPTIONS else _NUMERIC_KINDS

    return read_npz(path, kinds_of)


# ---- from arrays to a problem ----


def _required(path: Path, arrays: Mapping[str, Array], key: str) -> Array:
    if key not in arrays:
        raise ProblemFileError(f"{path_text(path)}: key '{key}' is missing.")
    return arrays[key]


def _indices(arrays: Mapping[str, Array], name: str) -> list[int]:
    """Return the layers for which there is a key ``name_0``, ``name_1`` and so on."""
    matches = (_LAYER_KEY.fullmatch(key) for key in arrays)
    return sorted(int(match[2]) for match in matches if match is not None and match[1] == name)


def _layers(path: Path, arrays: Mapping[str, Array], name: str, count: int) -> list[Array]:
    """Return ``name_0`` to ``name_{count - 1}``; none may be missing, and none too many."""
    highest = max(_indices(arrays, name), default=0)
    if highest >= count:
        raise ProblemFileError(
            f"{path_text(path)}: key '{name}_{highest}' is one too many: there are {count} weights."
        )
    return [_required(path, arrays, f"{name}_{layer}") for layer in range(count)]


def _read_options(path: Path, arrays: Mapping[str, Array]) -> dict[str, Any]:
    readers: dict[str, Callable[[Array], Any]] = {
        **dict.fromkeys(_TEXT_OPTIONS, _text),
        **dict.fromkeys(_NUMBER_OPTIONS, float),
    }
    options = {}
    for key, read in readers.items():
        if key in arrays:
            _refuse_no_scalar(path, key, arrays[key])
            options[key] = read(arrays[key])
    return options


def _refuse_no_scalar(path: Path, key: str, array: Array) -> None:
    if array.shape != () or array.dtype.kind in "bc":
        raise ProblemFileError(
            f"{path_text(path)}: key '{key}' must be a 0-d array, one real number or one text, "
            f"not {array.dtype} of shape {array.shape}."
        )


def _text(array: Array) -> str:
    value = array.item()
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _read_gradients(path: Path, arrays: Mapping[str, Array], net: Network) -> GradientArrays | None:
    """Collect the gradient; half a gradient is an error, never half a check."""
    with_biases = bool(_indices(arrays, "dbiases"))
    if not with_biases and not _indices(arrays, "dweights"):
        return None
    count = len(net.weights)
    dweights = _layers(path, arrays, "dweights", count)
    if net.biases is not None:
        return dweights, _layers(path, arrays, "dbiases", count)
    if with_biases:
        raise ProblemFileError(
            f"{path_text(path)}: key 'biases_0' is missing, but there is a dbiases."
        )
    return dweights, None
