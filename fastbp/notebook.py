"""The functions of notebook 7.2 of "Understanding Deep Learning", on compiled kernels.

They have the names, the arguments and the results that a learner knows from the notebook, and
they follow the book's equations; every line here is our own. What differs, on purpose:

- A batch of columns is differentiated correctly: a bias gradient is the sum over the batch.
- The number of layers comes from the arguments, never from the module around.
- Shapes are compared, never broadcast; the arrays of the caller are never changed.
- `check_derivatives` looks at every layer, the last one too, and a "Success!" is a verdict of
  `fastbp.check_network`: neither a false alarm of forward differences nor 0 compared with 0.

At exactly 0 the derivative of the ReLU is 1 here, as in the notebook's edition of early 2024.
The book and later editions say 0, which is the default of `fastbp.Network`.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.errors import DTypeError, OptionError, ShapeError
from fastbp.network.checks.check_network import check_network
from fastbp.network.differences.finite_differences import finite_differences
from fastbp.network.given_gradients import arrays_of
from fastbp.network.gradients import Gradients
from fastbp.network.network import ForwardPass, Network
from fastbp.runtime.floating_point import callers_errstate, own_errstate
from fastbp.runtime.user_code import calling
from fastbp.runtime.validation import require_dtype, require_finite, require_floats, require_shape
from fastbp.typing import Array

if TYPE_CHECKING:
    from fastbp.report import ArrayReport, Report

__all__ = [
    "ReLU",
    "backward_pass",
    "check_derivatives",
    "compute_network_output",
    "d_loss_d_output",
    "indicator_function",
    "init_params",
    "least_squares_loss",
]

Arrays = Sequence[Array]
BackwardPass = Callable[[Any, Any, Any, Any, Any], tuple[Any, Any]]

RELU_AT_ZERO = 1.0
INPUT = 1.2
TARGET = 20.0

ARGUMENTS = ("all_weights", "all_biases", "all_f", "all_h", "y")
RULE = "-" * 47
VERDICT_LINES = {
    "passed": "Success!  Derivatives match.",
    "failed": "Failure!  Derivatives different.",
    "untested": "Untested!  Both are zero throughout.",
    "inconclusive": "Undecided!  No entry could be judged.",
}


@own_errstate
def init_params(
    K: int = 5,
    D: int = 6,
    sigma_sq_omega: float | None = None,
    *,
    D_i: int = 1,
    D_o: int = 1,
) -> tuple[list[Array], list[Array]]:
    """Draw the parameters of a network, as notebook 7.2 or as notebook 7.3 does.

    Parameters
    ----------
    K : int > 0
        Number of hidden layers.
    D : int > 0
        Units in each hidden layer.
    sigma_sq_omega : float >= 0, optional
        None (notebook 7.2): weights and biases are standard normal. A number (notebook 7.3's
        ``init_params(K, D, sigma_sq_omega)``): the weights have this variance, the biases are 0.
    D_i, D_o : int > 0
        Number of inputs and of outputs.

    Returns
    -------
    all_weights : list of K + 1 ndarrays of float64
        Shapes (D, D_i), then (D, D) for K - 1 layers, then (D_o, D).
    all_biases : list of K + 1 ndarrays of float64
        Shapes (D, 1) for K layers, then (D_o, 1).

    Raises
    ------
    DTypeError
        `K`, `D`, `D_i` or `D_o` is no integer, or `sigma_sq_omega` no real number.
    OptionError
        One of them is out of its range.

    Notes
    -----
    The draws are those of NumPy's legacy generator with seed 0, in the notebook's order: first the
    parameters of the first and the last layer, then of those between. They come from a generator
    of their own: the global one is neither read nor seeded.

    Examples
    --------
    >>> all_weights, all_biases = init_params()
    >>> [w.shape for w in all_weights]
    [(6, 1), (6, 6), (6, 6), (6, 6), (6, 6), (1, 6)]
    >>> all_weights[0][:3].round(8).ravel().tolist()
    [1.76405235, 0.40015721, 0.97873798]
    """
    K, D, D_i, D_o = (
        _positive_integer(name, value)
        for name, value in (("K", K), ("D", D), ("D_i", D_i), ("D_o", D_o))
    )
    sizes = [D_i, *[D] * K, D_o]
    draw = np.random.RandomState(0).standard_normal
    between = range(1, K)
    if sigma_sq_omega is None:
        order = [("weights", 0), ("weights", K), ("biases", 0), ("biases", K)]
        order += [(kind, layer) for layer in between for kind in ("weights", "biases")]
        scale = 1.0
    else:
        order = [("weights", layer) for layer in (0, K, *between)]
        scale = _standard_deviation(sigma_sq_omega)
    drawn: dict[tuple[str, int], Array] = {}
    for kind, layer in order:
        columns = sizes[layer] if kind == "weights" else 1
        drawn[kind, layer] = scale * draw((sizes[layer + 1], columns))
    layers = range(K + 1)
    all_weights = [drawn["weights", layer] for layer in layers]
    all_biases = [drawn.get(("biases", layer), np.zeros((sizes[layer + 1], 1))) for layer in layers]
    return all_weights, all_biases


@own_errstate
def ReLU(preactivation: Array) -> Array:
    """Rectify: the larger of 0 and each entry.

    Parameters
    ----------
    preactivation : ndarray of any shape and real dtype

    Returns
    -------
    ndarray
        A new array of the same shape and dtype. NaN stays NaN, and -0.0 becomes 0.0.

    Raises
    ------
    DTypeError
        The entries are no real numbers.

    Examples
    --------
    >>> ReLU(np.array([-1.5, 0.0, 2.0])).tolist()
    [0.0, 0.0, 2.0]
    """
    values = _real_array("preactivation", preactivation)
    # "<= 0" is false for NaN, which so passes through.
    return np.where(values <= 0, values.dtype.type(0), values)


@own_errstate
def indicator_function(x: Array) -> Array:
    """Mark the active entries: 1 where the entry is at least 0, else 0 (the I of eq. 7.25).

    At exactly 0 it is 1, as in the notebook's edition of early 2024; the book says 0.

    Parameters
    ----------
    x : ndarray of any shape and real dtype

    Returns
    -------
    ndarray
        A new array of the same shape and dtype. NaN stays NaN.

    Raises
    ------
    DTypeError
        The entries are no real numbers.

    Examples
    --------
    >>> indicator_function(np.array([-1.5, 0.0, 2.0])).tolist()
    [0.0, 1.0, 1.0]
    """
    values = _real_array("x", x)
    zero, one = values.dtype.type(0), values.dtype.type(1)
    return np.where(values >= 0, one, np.where(values < 0, zero, values))


@own_errstate
def compute_network_output(
    net_input: Array, all_weights: Arrays, all_biases: Arrays | None
) -> tuple[Array, list[Array], list[Array]]:
    """Run the network forward (eq. 7.17 to 7.19).

    Parameters
    ----------
    net_input : ndarray, shape (D_i, batch)
        Columns are examples.
    all_weights : list of K + 1 ndarrays
        Rows are outputs.
    all_biases : list of K + 1 ndarrays, or None
        Columns of shape (n, 1).

    Returns
    -------
    net_output : ndarray, shape (D_o, batch)
        The output, which is ``all_f[K]``.
    all_f : list of K + 1 ndarrays
        The pre-activations; ``all_f[k]`` leaves layer k.
    all_h : list of K + 1 ndarrays
        The input, then the activations; ``all_h[k]`` feeds layer k.

    Raises
    ------
    ShapeError, DTypeError, NonFiniteError
        As `fastbp.Network` and `fastbp.Network.forward`.

    Examples
    --------
    >>> output, all_f, all_h = compute_network_output(np.array([[1.2]]), *init_params())
    >>> round(output.item(), 3)
    1.907
    """
    result = _network(all_weights, all_biases).forward(net_input)
    return result.output, list(result.preactivations), list(result.activations)


@own_errstate
def least_squares_loss(net_output: Array, y: Array) -> float:
    """Sum (output - y)² over all entries: no mean, no ½.

    Parameters
    ----------
    net_output, y : ndarrays of one shape

    Returns
    -------
    float

    Raises
    ------
    ShapeError
        The shapes differ.
    DTypeError
        They are not both float64 or both float32.

    Examples
    --------
    >>> least_squares_loss(np.array([[1.0, 4.0]]), np.array([[2.0, 2.0]]))
    5.0
    """
    residual = _residual(net_output, y)
    return float(np.sum(residual * residual))


@own_errstate
def d_loss_d_output(net_output: Array, y: Array) -> Array:
    """Differentiate the least-squares loss by the output: 2 (output - y).

    Parameters
    ----------
    net_output, y : ndarrays of one shape

    Returns
    -------
    ndarray
        A new array of that shape.

    Raises
    ------
    ShapeError
        The shapes differ.
    DTypeError
        They are not both float64 or both float32.

    Examples
    --------
    >>> d_loss_d_output(np.array([[1.0, 4.0]]), np.array([[2.0, 2.0]])).tolist()
    [[-2.0, 4.0]]
    """
    return 2 * _residual(net_output, y)


@own_errstate
def backward_pass(
    all_weights: Arrays, all_biases: Arrays | None, all_f: Arrays, all_h: Arrays, y: Array
) -> tuple[list[Array], list[Array] | None]:
    """Differentiate the least-squares loss by every parameter (eq. 7.22 to 7.25).

    Parameters
    ----------
    all_weights, all_biases : lists of K + 1 ndarrays
        The parameters; K is taken from here.
    all_f, all_h : lists of K + 1 ndarrays
        What `compute_network_output` returned for a batch of any size. They are taken as they
        are; the forward pass is not repeated.
    y : ndarray, shape (D_o, batch)
        The targets.

    Returns
    -------
    all_dl_dweights, all_dl_dbiases : lists of K + 1 ndarrays
        In the shapes of the parameters; None in place of the second list without biases.

    Raises
    ------
    ShapeError, DTypeError, NonFiniteError
        A list has a wrong length, or an array does not fit its layer.

    Examples
    --------
    >>> all_weights, all_biases = init_params()
    >>> _, all_f, all_h = compute_network_output(np.array([[1.2]]), all_weights, all_biases)
    >>> y = np.array([[20.0]])
    >>> dweights, dbiases = backward_pass(all_weights, all_biases, all_f, all_h, y)
    >>> round(dbiases[5].item(), 3)
    -36.187
    """
    net = _network(all_weights, all_biases)
    _require_levels(net, all_f, all_h)
    sensitivity = d_loss_d_output(all_f[-1], y)
    layers = []
    for k in reversed(range(len(net.weights))):
        layers.append(_affine_gradients(net, k, all_h[k], sensitivity))
        if k > 0:
            sensitivity = indicator_function(all_f[k - 1]) * layers[-1].inputs
    layers.reverse()
    all_dl_dweights = [layer.weights[0] for layer in layers]
    if net.biases is None:
        return all_dl_dweights, None
    return all_dl_dweights, [layer.biases[0] for layer in layers if layer.biases is not None]


@own_errstate
def check_derivatives(
    backward_pass: BackwardPass | tuple[Any, Any] = backward_pass,
    all_weights: Arrays | None = None,
    all_biases: Arrays | None = None,
    net_input: Array | None = None,
    y: Array | None = None,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    progress: bool | None = None,
) -> Report:
    """Check a backward pass against finite differences and print a verdict for each array.

    It prints what the notebook prints: for all biases, then for all weights, layer by layer, the
    derivatives from backpropagation, those from finite differences (central ones), and a verdict
    (12 of them for the default network). "Success!" says that the array passed
    `fastbp.check_network`. An array that is zero on both sides is called untested, and one that
    cannot be judged is called undecided. A function that passes for one column is then asked for a
    batch of three: a bias gradient is the sum over the batch there.

    Parameters
    ----------
    backward_pass : callable, or (all_dl_dweights, all_dl_dbiases)
        ``backward_pass(all_weights, all_biases, all_f, all_h, y)`` must return
        ``(all_dl_dweights, all_dl_dbiases)``, as `fastbp.notebook.backward_pass`, the default,
        does. It is called twice, with the same ``all_f`` and ``all_h``, so that a function which
        spoils them is found out. Two lists of arrays are what it would return; of these no batch
        can be checked.
    all_weights, all_biases : lists of ndarrays, optional
        The network; the notebook's (`init_params`) by default. Weights alone make a network
        without biases.
    net_input : ndarray, shape (D_i, batch), optional
        One column of 1.2 by default.
    y : ndarray, shape (D_o, batch), optional
        20 in every entry by default.
    rtol, atol, progress
        As in `fastbp.check_network`.

    Returns
    -------
    Report
        The report of `fastbp.check_network`.

    Raises
    ------
    OptionError
        Biases are given without weights, or an option is senseless.
    ShapeError, DTypeError, NonFiniteError
        The network, the input or the target is no good, or `backward_pass` takes a wrong number
        of arguments, or returned a wrong number of arrays.
    EvaluationError
        `backward_pass` raised; what it raised is the cause.

    Examples
    --------
    >>> report = check_derivatives()  # doctest: +ELLIPSIS
    -----------------------------------------------
    Bias 0, derivatives from backprop:
    [[ -4.486]
    ...
    Success!  Derivatives match.
    >>> report.verdict
    'passed'
    """
    _require_backward_pass(backward_pass)
    if all_weights is None:
        if all_biases is not None:
            raise OptionError("all_biases are given without all_weights.")
        all_weights, all_biases = init_params()
    net = _network(all_weights, all_biases)
    x = np.full((net.sizes[0], 1), INPUT, net.dtype) if net_input is None else net_input
    forward = net.forward(x)
    y = np.full_like(forward.output, TARGET) if y is None else y
    returned: list[Any] = []
    gradient: Any = backward_pass
    if callable(backward_pass):
        gradient = _on_fixed_activations(backward_pass, forward, returned)
    else:
        returned.append(_kept(backward_pass))
    report = check_network(
        net, x, y, gradient, method="replay", rtol=rtol, atol=atol, progress=progress
    )
    numerical = finite_differences(net, x, y, method="replay", progress=progress)
    names = net.parameter_names()
    given = dict(zip(names, arrays_of(net, returned[0]), strict=True))
    differences = dict(zip(names, numerical.shapes.views(numerical.flat), strict=True))
    for title, row in rows_in_order(report):
        _print_derivatives(title, given[row.name], differences[row.name])
        _print_verdict(row)
    for row in report.arrays:
        if row.name not in names:
            print(RULE)
            _print_verdict(row)
    if not callable(backward_pass):
        note = "a batch was not checked: for that, give the function and not what it returned"
        return replace(report, notes=(*report.notes, note))
    if np.shape(x)[1] == 1 and report.verdict != "failed":
        return _with_batch(report, net, backward_pass, x, y, rtol=rtol, atol=atol)
    return report


def _require_backward_pass(backward_pass: Any) -> None:
    """Raise unless it is a function of the five arguments, or two lists."""
    if not callable(backward_pass):
        if not isinstance(backward_pass, tuple | list) or len(backward_pass) != 2:
            raise DTypeError(
                f"backward_pass must be a function of ({', '.join(ARGUMENTS)}), or the two lists "
                f"(all_dl_dweights, all_dl_dbiases), not {type(backward_pass).__name__}."
            )
        return
    try:
        signature = inspect.signature(backward_pass)
    except (TypeError, ValueError):  # nobody knows
        return
    try:
        signature.bind(*ARGUMENTS)
    except TypeError:
        raise DTypeError(
            f"backward_pass must take the arguments ({', '.join(ARGUMENTS)}), but it takes "
            f"{signature}."
        ) from None


def _with_batch(
    report: Report, net: Network, backward_pass: BackwardPass, x: Array, y: Array, **options: Any
) -> Report:
    """Check a few columns more, and add what is wrong with them to the report.

    With one column a sum over the batch that is missing cannot be seen.
    """
    spread = np.array([1.0, -0.5, 0.75], dtype=net.dtype)  # columns that have nothing in common
    inputs, targets = x * spread, y * spread[::-1]
    title = f"batch of {spread.size} columns"
    forward = net.forward(inputs)
    gradient = _on_fixed_activations(backward_pass, forward, [])
    try:
        found = check_network(
            net, inputs, targets, gradient, method="replay", progress=False, **options
        )
    except Exception as error:  # whatever the learner's function raises: it is for one column
        raised = error.__cause__ or error
        reason = f"with a {title}, backward_pass raised {type(raised).__name__}: {raised}"
        print(f"{VERDICT_LINES['failed']}\n{reason}")
        return replace(report, verdict="failed", notes=(*report.notes, reason))
    wrong = [row for row in found.arrays if row.verdict == "failed"]
    for row in wrong:
        print(f"In a {title}: {VERDICT_LINES['failed']}\n{row.name}: {row.reason}")
    diagnosis = tuple(f"{title}: {said}" for said in found.diagnosis) if wrong else ()
    for said in diagnosis:
        print(said)
    verdict = "passed, too" if not wrong else "failed"
    return replace(
        report,
        verdict="failed" if wrong else report.verdict,
        arrays=(*report.arrays, *(replace(row, name=f"{title}: {row.name}") for row in wrong)),
        failures=(
            *report.failures,
            *(replace(failure, array=f"{title}: {failure.array}") for failure in found.failures),
        ),
        evaluations=report.evaluations + found.evaluations,
        seconds=report.seconds + found.seconds,
        compile_seconds=report.compile_seconds + found.compile_seconds,
        notes=(*report.notes, f"a {title} {verdict}"),
        diagnosis=(*report.diagnosis, *diagnosis),
    )


def rows_in_order(report: Report) -> Iterator[tuple[str, ArrayReport]]:
    """Give the rows of a report in the notebook's order and under its titles."""
    for kind, title in (("biases", "Bias"), ("weights", "Weight")):
        rows = (row for row in report.arrays if row.name.startswith(kind))
        for layer, row in enumerate(rows):
            yield f"{title} {layer}", row


def verdict_line(row: ArrayReport) -> str:
    """Say the verdict of an array in the notebook's words, as far as it has words for it."""
    return VERDICT_LINES[row.verdict]


def _print_derivatives(title: str, given: Array, numerical: Array) -> None:
    print(RULE)
    with np.printoptions(precision=3):
        print(f"{title}, derivatives from backprop:")
        print(given)
        print(f"{title}, derivatives from finite differences")
        print(numerical)


def _print_verdict(row: ArrayReport) -> None:
    print(verdict_line(row))
    if row.verdict in ("failed", "inconclusive"):
        print(f"{row.name}: {row.reason}")


def _on_fixed_activations(
    backward_pass: BackwardPass, forward: ForwardPass, returned: list[Any]
) -> Callable[..., tuple[Any, Any]]:
    """Make the learner's function one of parameters and data, and keep what it returns.

    Both calls get the same pre-activations and activations, as in a notebook whose cell is run
    twice: whoever overwrites them gives two different results, which the check reports.
    """

    def gradient(weights: Any, biases: Any, x: Array, y: Array) -> tuple[Any, Any]:
        all_h = [x, *forward.activations[1:]]
        with calling("backward_pass"), callers_errstate():
            result = backward_pass(weights, biases, forward.preactivations, all_h, y)
        if not isinstance(result, Gradients | tuple | list | np.ndarray):
            raise DTypeError(
                f"backward_pass must return (all_dl_dweights, all_dl_dbiases), not "
                f"{type(result).__name__}."
            )
        returned.append(_kept(result))
        return result

    return gradient


def _kept(result: Any) -> Any:
    """Copy what was given; what cannot be copied is refused by the check."""
    try:
        return deepcopy(result)
    except Exception:
        return result


def _network(all_weights: Arrays, all_biases: Arrays | None) -> Network:
    return Network(all_weights, all_biases, relu_at_zero=RELU_AT_ZERO)


def _affine_gradients(net: Network, k: int, h: Array, sensitivity: Array) -> Gradients:
    """Differentiate layer k by its weights, its biases and its input, given dL/df of its output.

    The products are those of a network of this one layer, whose loss has the derivative that
    arrives from above.
    """
    biases = None if net.biases is None else [net.biases[k]]
    layer = Network([net.weights[k]], biases, loss=(_no_loss, _target_as_derivative))
    return layer.loss_and_gradients(h, sensitivity)[1]


def _no_loss(_output: Array, _target: Array) -> float:
    return 0.0


def _target_as_derivative(_output: Array, target: Array) -> Array:
    return target


def _require_levels(net: Network, all_f: Arrays, all_h: Arrays) -> None:
    """Require one pre-activation and one activation for each layer, all for the same batch."""
    for name, arrays, sizes in (("all_h", all_h, net.sizes[:-1]), ("all_f", all_f, net.sizes[1:])):
        if not isinstance(arrays, tuple | list | np.ndarray):
            raise DTypeError(
                f"{name} must be a list of {len(sizes)} arrays, not {type(arrays).__name__}."
            )
        if len(arrays) != len(sizes):
            raise ShapeError(f"{name} must hold {len(sizes)} arrays, not {len(arrays)}.")
        batch = np.shape(all_h[0])[-1] if np.ndim(all_h[0]) == 2 else "batch"
        for k, (value, size) in enumerate(zip(arrays, sizes, strict=True)):
            array = require_dtype(value, f"{name}[{k}]", net.dtype, "all_weights[0]")
            require_shape(array, f"{name}[{k}]", (size, batch))
            require_finite(array, f"{name}[{k}]")


def _residual(net_output: Array, y: Array) -> Array:
    output = require_floats(net_output, "net_output")
    target = require_dtype(y, "y", output.dtype, "net_output")
    require_shape(target, "y", output.shape)
    return np.asarray(output - target)


def _real_array(name: str, value: Any) -> Array:
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise DTypeError(f"{name} must hold real numbers, not {array.dtype}.")
    return array


def _positive_integer(name: str, value: Any) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise DTypeError(f"{name} must be an integer, not {value!r}.") from None
    if number < 1:
        raise OptionError(f"{name} must be at least 1, not {number}.")
    return number


def _standard_deviation(variance: Any) -> float:
    if not isinstance(variance, Real):
        raise DTypeError(f"sigma_sq_omega must be a real number, not {variance!r}.")
    number = float(variance)
    if not 0 <= number < np.inf:
        raise OptionError(f"sigma_sq_omega must be finite and at least 0, not {number}.")
    return float(np.sqrt(number))
