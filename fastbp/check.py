"""Checking the gradient of a network, entry by entry."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.check_loss import check_loss
from fastbp.differences import check_memory
from fastbp.given import given_gradients
from fastbp.measure import SCHEME, measure_by_replay, split_by_array
from fastbp.progress import check_progress_option
from fastbp.report import ArrayReport, Report
from fastbp.rows import judged_row, worst_of_all
from fastbp.validate import require_choice, require_number
from fastbp.verdict import Tolerance, check_verdict

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastbp.network import Network

__all__ = ["check_network"]

METHODS = ("replay",)


def check_network(
    net: Network,
    x: NDArray[Any],
    y: NDArray[Any],
    gradients: Any = None,
    *,
    method: str = "replay",
    rtol: float | None = None,
    atol: float | None = None,
    max_memory: int = 2**30,
    progress: bool | None = None,
) -> Report:
    """Check every entry of the gradient of a network's loss by its parameters.

    Parameters
    ----------
    net : Network
        The network, with its loss.
    x, y : ndarray
        Inputs and targets, in the layout of the network and of its dtype (class indices are
        integers).
    gradients : None, Gradients, pair, ndarray or callable
        The gradient in question: None for the network's own backward pass; `Gradients`; a pair
        ``(dweights, dbiases)`` of lists of arrays, dbiases None where the network has none; a
        flat vector in the order of ``net.parameters``; or a function ``(weights, biases, x, y)``
        that returns one of these. A function gets fresh copies and is called twice.
    method : {"replay"}
        How the numerical gradient is made. "replay": the loss of the perturbed network is
        evaluated on both sides of every single parameter, in float64.
    rtol, atol : float, optional
        An entry passes when ``|given - numerical| <= error_bar + atol + rtol * |numerical|``. If
        one of the two is given, the other is 0. The defaults are rtol = 1e-6 where network and
        given array are float64; else rtol = 1e-4, atol = 64 eps times the largest numerical
        entry of the array, and an error bar that covers computing in float32 (eps is that of
        float32): such a gradient is itself rounded.
    max_memory : int
        The bytes that the differences may use for their work, besides their result.
    progress : bool, optional
        None: a progress bar if stderr is a terminal and it takes over a second. True, False:
        always, never.

    Returns
    -------
    Report
        A verdict for every array and for the whole, the worst entries, and how large an error
        would have been seen. It holds no view of the arguments.

    Raises
    ------
    ShapeError, DTypeError, NonFiniteError
        If parameters, `x` or `y` are not fit, or `gradients` is no such thing or holds the wrong
        number of arrays. An array of the wrong shape or dtype, or with a NaN, does not raise: it
        fails, and the report says why.
    OptionError
        If an option is unknown or senseless.

    Notes
    -----
    Steps are 1e-6, or more where a parameter is too large to be moved by that. Where the ReLU
    masks differ along a step, it is made 16 times smaller, up to three times; entries whose masks
    still differ are on a kink and are not judged.

    The error bar is computed, not tuned: the rounding of the two losses; how much a sample of
    the quotients of each array changes when the step is halved; and how much the gradient
    changes when the parameters are moved by rounding errors. It is an estimate with a margin,
    not a bound.

    A replay costs O(entries * batch * parameters of the layers above), divided by what the
    entries share; all the rest is a few passes over the parameters. The gradient is that of
    "Understanding Deep Learning", eqs. 7.22 to 7.25.

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> net = fastbp.Network.random([3, 4, 2], seed=1)
    >>> x, y = np.ones((3, 5)), np.ones((2, 5))
    >>> fastbp.check_network(net, x, y).verdict
    'passed'
    >>> _, gradients = net.loss_and_gradients(x, y)
    >>> gradients.weights[1][0, 2] += 0.1
    >>> report = fastbp.check_network(net, x, y, gradients)
    >>> report.verdict, report.failures[0].where
    ('failed', 'weights[1][0, 2]')
    """
    started = time.perf_counter()
    require_choice(method, "method", METHODS)
    tolerance = _chosen_tolerance(rtol, atol)
    memory = check_memory(max_memory)
    check_progress_option(progress)
    x, y = net.validated(x, y)
    given = given_gradients(net, x, y, gradients)
    measured = measure_by_replay(net, x, y, max_memory=memory, progress=progress)
    judged = [
        judged_row(array, numerical, net.dtype, tolerance)
        for array, numerical in zip(given.arrays, split_by_array(net, measured), strict=True)
    ]
    rows = [row for row, _ in judged]
    others = [_misbehaviour_row(given.misbehaviour)] if given.misbehaviour else []
    failures = [wrong for _, wrong in judged]
    evaluations = measured.evaluations
    loss = check_loss(net, x, y, tolerance, progress)
    if loss is not None:
        others.insert(0, loss.row)
        failures.append(loss.failures)
        evaluations += loss.evaluations
    return Report(
        verdict=check_verdict([row.verdict for row in rows], [row.verdict for row in others]),
        arrays=(*rows, *others),
        failures=worst_of_all(failures),
        sizes=tuple(net.sizes),
        batch=int(x.shape[1 if net.layout == "book" else 0]),
        dtype=str(net.dtype),
        layout=net.layout,
        method=method,
        scheme=SCHEME,
        delta=measured.delta,
        rtol=rtol,
        atol=atol,
        evaluations=evaluations,
        seconds=time.perf_counter() - started,
    )


def _chosen_tolerance(rtol: float | None, atol: float | None) -> Tolerance | None:
    """Return the user's tolerance, or None for the default of each array."""
    expected = "None or a finite number of at least 0"
    numbers = [
        0.0 if value is None else require_number(value, name, 0.0, np.inf, expected)
        for name, value in (("rtol", rtol), ("atol", atol))
    ]
    return None if rtol is None and atol is None else Tolerance(*numbers)


def _misbehaviour_row(reason: str) -> ArrayReport:
    """Return a failed row for a gradient function that misbehaves: it has no entries."""
    return ArrayReport(
        name="gradients",
        shape=(),
        entries=0,
        wrong=0,
        zero=0,
        kinks=0,
        worst=None,
        factor=None,
        residual=None,
        detectable=0.0,
        verdict="failed",
        reason=reason,
    )
