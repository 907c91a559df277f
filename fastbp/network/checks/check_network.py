"""Checking the gradient of a network, entry by entry."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from fastbp.errors import OptionError
from fastbp.network.batch import require_all_finite
from fastbp.network.checks.by_replay import check_by_replay
from fastbp.network.checks.by_sensitivities import check_by_sensitivities
from fastbp.network.checks.custom_loss import check_loss
from fastbp.network.given_gradients import coarser_dtype, given_gradients
from fastbp.network.network import require_batch
from fastbp.report import Report
from fastbp.report.model import report_with_rows_to_come
from fastbp.runtime.compilation import Stopwatch
from fastbp.runtime.environment import made_here
from fastbp.runtime.floating_point import own_errstate
from fastbp.runtime.progress import require_progress_option, said_while_compiling
from fastbp.runtime.validation import (
    require_choice,
    require_finite,
    require_integer,
    require_memory,
    require_seed,
    require_tolerances,
)
from fastbp.runtime.workers.worker_pool import Workers, require_workers
from fastbp.typing import Array
from fastbp.verdict.arrays import check_verdict
from fastbp.verdict.rows import bare_row, worst_of_all
from fastbp.verdict.tolerance import Tolerance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastbp.network.batch import Batch
    from fastbp.network.given_gradients import GivenGradients
    from fastbp.network.network import Network
    from fastbp.report import ArrayReport

__all__ = ["check_network"]

# Each is a column of every layer; a few hundred make any error slip through with 1e-300.
MOST_DIRECTIONS = 1000

METHODS = ("certified", "exact", "replay")


@own_errstate
def check_network(
    net: Network,
    x: Array,
    y: Array,
    gradients: Any = None,
    *,
    method: str = "certified",
    rtol: float | None = None,
    atol: float | None = None,
    directions: int = 2,
    seed: int | None = None,
    max_memory: int = 2**30,
    progress: bool | None = None,
    workers: Workers | None = None,
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
    method : {"certified", "exact", "replay"}
        How the numerical gradient is made. "certified": sensitivities of every unit and sample,
        proved at random vectors and by differences of real losses; all entries at the price of
        about two training steps. "exact": the same sensitivities by differences that are carried
        forward through the network's own rule, one for each unit and sample, which share no line
        with the backward pass (see `finite_differences`). "replay": the loss of the perturbed
        network is evaluated on both sides of every single parameter, in float64.
    rtol, atol : float, optional
        An entry passes when its error, ``|given - numerical|``, is at most
        ``error_bar + hull + atol + rtol * |numerical|``. If one is given, the other is 0.
        By default the error bar covers what rounding does to the given gradient, in the coarser
        of its dtype and the network's; with rtol or atol it is that of float64.
    directions : int
        Random vectors for each layer, at which its product is proved in every sample: what slips
        through one meets the next.
    seed : int, optional
        Of the random numbers of "certified": the same seed gives the same bits. None draws one,
        and the report says which.
    max_memory : int
        The bytes that the differences may use for their work, besides their result.
    progress : bool, optional
        None: a progress bar if stderr is a terminal and it takes over a second. True, False:
        always, never.
    workers : int, concurrent.futures.Executor or callable, optional
        Who computes the numerical gradient of "replay" and "exact", as in `finite_differences`.
        "certified" takes none: it is a few products, sooner done than sent.

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
    EvaluationError
        If `gradients` is a function that raises; what it raised is the cause. What a loss of the
        user's own raises arrives as it is, as from the network itself.
    OptionError
        If an option is unknown or senseless.

    Notes
    -----
    Error bars are computed, not tuned: random noise of the size of the rounding rides along with
    the values, forward and back, and its norm times 32 is the bar. An estimate with a margin, not
    a bound. Where a pre-activation is 0 within its own rounding, any derivative of the ReLU there
    from 0 to 1 is somebody's convention: what they can produce is carried along as an interval
    (the hull), and an entry passes anywhere inside.

    "certified" is O(entries * batch). Sensitivities s come from the recursion of "Understanding
    Deep Learning", eqs. 7.22 to 7.25, and are then proved, layer by layer: for random v,
    <W^T s, v> must be <s, W v> in every sample (Freivalds, 1977), and the next s the masked
    product, to the bit. Tiles of s h^T are proved likewise and compared as they are made.

    "replay" takes steps of 1e-6, or more where a parameter is too large to be moved by that.
    Where the ReLU masks differ along a step, it is made 16 times smaller until they agree or the
    rounding of the losses is as large as the quotient; what then still differs is judged by the
    hull. It costs O(entries * batch * parameters of the layers above), divided by what the
    entries share.

    An array of which every derivative is below its own bar is judged as a whole: it passes if the
    two sides agree far better than the bars ask, and is untested if both are zero within rounding.

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
    watch = Stopwatch()
    require_choice(method, "method", METHODS)
    require_tolerances(rtol, atol)
    tolerance = Tolerance.of(rtol, atol)
    if require_integer(directions, "directions", 1) > MOST_DIRECTIONS:
        raise OptionError(f"directions must be at most {MOST_DIRECTIONS:,}.")
    own_seed = require_seed(seed)
    memory = require_memory(max_memory)
    require_progress_option(progress)
    require_workers(workers)
    if workers is not None and method == "certified":
        raise OptionError('workers must be None with method="certified": it is sooner done here.')
    batch = require_batch(net, x, y)
    require_finite(batch.y, "y")
    if method == "replay" or callable(gradients):  # else the sweeps see it: no pass over weights
        require_all_finite(net.shapes, net.parameters, batch)
    with said_while_compiling(progress):
        given = given_gradients(net, batch, gradients)
        if method == "replay":
            found = check_by_replay(
                net, batch, given, tolerance, max_memory=memory, progress=progress, workers=workers
            )
        else:
            found = check_by_sensitivities(
                net, batch, given, tolerance, exact=method == "exact", directions=directions,
                seed=own_seed, max_memory=memory, progress=progress, workers=workers,
            )  # fmt: skip
        loss = check_loss(net, batch, tolerance, progress)
    others = []
    if given.misbehaviour:
        others.append(bare_row("gradients", (), 0, "failed", given.misbehaviour))
    failures, evaluations = list(found.failures), found.evaluations
    if loss is not None:
        others.insert(0, loss.row)
        failures.append(loss.failures)
        evaluations += loss.evaluations
    verdict = check_verdict(found.rows.verdicts, [row.verdict for row in others])
    parts: dict[str, Any] = {"scheme": None, "delta": None, **found.details} | {
        "notes": (*_note_on_precision(net, given, tolerance), *found.details.get("notes", ())),
        "verdict": verdict,
        "failures": worst_of_all(failures),
        "sizes": tuple(net.sizes),
        "batch": batch.size,
        "dtype": str(net.dtype),
        "layout": net.layout,
        "method": method,
        "rtol": rtol,
        "atol": atol,
        "evaluations": evaluations,
        "seed": own_seed,
        "made": made_here(),
    }
    waits = verdict != "failed" and found.rows.worth_waiting
    rows = () if waits else found.rows.with_others(others)
    if verdict == "failed":
        parts["diagnosis"] = _diagnosis(net, batch, given, rows[: len(rows) - len(others)])
    parts |= {"seconds": watch.seconds, "compile_seconds": watch.compile_seconds}
    if waits:
        return report_with_rows_to_come(partial(found.rows.with_others, others), **parts)
    return Report(arrays=rows, **parts)


def _note_on_precision(
    net: Network, given: GivenGradients, tolerance: Tolerance | None
) -> tuple[str, ...]:
    """Say that a gradient coarser than its network is judged as what it is."""
    if tolerance is not None or coarser_dtype(net, given) == net.dtype:
        return ()
    return ("the given gradient is float32: it is judged with the rounding of float32",)


def _diagnosis(
    net: Network, batch: Batch, given: GivenGradients, rows: Sequence[ArrayReport]
) -> tuple[str, ...]:
    """Say what made the gradient wrong; imported by checks that fail alone."""
    from fastbp.network.checks.diagnosis.diagnose_network import diagnose_network
    from fastbp.report.causes import sentence

    return tuple(map(sentence, diagnose_network(net, batch, given, rows)))
