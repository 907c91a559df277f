"""Finite differences of a network's loss, entry by entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from fastbp.errors import OptionError
from fastbp.network.differences.exact_quality import ExactQuality, measure_noise
from fastbp.network.differences.quotient_noise import quotient_noise
from fastbp.network.differences.replay import replay, replay_pool
from fastbp.network.differences.unperturbed import evaluate
from fastbp.network.gradients import Gradients, Shapes
from fastbp.network.network import Network, in_float64, require_batch, require_finite_batch
from fastbp.network.sensitivities.exact import (
    exact_sensitivities,
    gradient_of,
    require_enough_memory,
)
from fastbp.runtime.floating_point import own_errstate
from fastbp.runtime.progress import require_progress_option, said_while_compiling
from fastbp.runtime.validation import require_choice, require_memory, require_number
from fastbp.runtime.workers.worker_pool import Workers, require_workers
from fastbp.typing import AnyFloats, Array, Floats, Mask

METHODS = ("exact", "replay")
SCHEMES = ("central", "forward")
DEFAULT_DELTA = 1e-6


class Quality(Protocol):
    """What is known of numerical derivatives, expanded to all entries when it is asked for."""

    def error_bar(self) -> Floats:
        """Estimated error by rounding, shape (parameters,)."""

    def kinks(self) -> Mask | None:
        """Which entries are on a kink, or None."""

    def sides(self) -> tuple[Floats, Floats] | None:
        """Slopes to the left and to the right, or None where there is no kink."""


class Differences(Gradients):
    """Numerical derivatives by every parameter, with what is known of their quality.

    Attributes
    ----------
    flat, weights, biases
        The quotients, float64, in the parameters' shapes; ``inputs`` is None.
    error_bar : Gradients of float64
        Estimated absolute error of each quotient by rounding, with a margin.
    kinks : Gradients of bool, or None
        Replay: entries along whose step some ReLU changes its mask.  Exact: entries that another
        derivative of the ReLU at 0 would move by more than their error bar, where a
        pre-activation is 0 or within its own rounding of it.  None where there are none.
    left, right : Gradients of float64, or None
        Exact: the slopes for a step down and up from a kink, ``flat`` elsewhere; None where there
        are no kinks, and for replay.

    Notes
    -----
    All but ``flat`` are computed anew each time they are asked for.

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> net = fastbp.Network.random([3, 4, 2], seed=1)
    >>> found = fastbp.finite_differences(net, np.ones((3, 5)), np.ones((2, 5)))
    >>> found.weights[1].shape, bool(found.error_bar.flat.max() < 1e-9), found.kinks is None
    ((2, 4), True, True)
    """

    def __init__(self, shapes: Shapes, flat: Floats, quality: Quality) -> None:
        super().__init__(shapes, flat)
        self._quality = quality

    @property
    @own_errstate
    def error_bar(self) -> Gradients:
        """The estimated error by rounding of every entry."""
        return Gradients(self.shapes, self._quality.error_bar())

    @property
    @own_errstate
    def kinks(self) -> Gradients | None:
        """The entries on a kink, or None."""
        kinks = self._quality.kinks()
        return None if kinks is None else Gradients(self.shapes, kinks)

    @property
    @own_errstate
    def left(self) -> Gradients | None:
        """The slopes for steps down, or None."""
        sides = self._quality.sides()
        return None if sides is None else Gradients(self.shapes, sides[0])

    @property
    @own_errstate
    def right(self) -> Gradients | None:
        """The slopes for steps up, or None."""
        sides = self._quality.sides()
        return None if sides is None else Gradients(self.shapes, sides[1])


@dataclass(frozen=True, slots=True, eq=False)
class _ReplayQuality:
    """One number for the rounding of every quotient, and the kinks along the steps."""

    entries: int
    noise: Callable[[], float]
    crossed: Mask

    def error_bar(self) -> Floats:
        return np.full(self.entries, self.noise())

    def kinks(self) -> Mask | None:
        return self.crossed if self.crossed.any() else None

    def sides(self) -> None:
        return None


def _require_step(delta: object, scheme: object) -> tuple[float, str]:
    known = "central" if scheme is None else require_choice(scheme, "scheme", SCHEMES)
    if delta is None:
        return DEFAULT_DELTA, known
    step = require_number(delta, "delta", 0.0, np.inf, "a positive finite number")
    if step == 0.0:
        raise OptionError("delta must be a positive finite number, not 0.0.")
    return step, known


@own_errstate
def finite_differences(
    net: Network,
    x: AnyFloats,
    y: Array,
    *,
    method: str = "exact",
    scheme: str | None = None,
    delta: float | None = None,
    max_memory: int = 2**30,
    progress: bool | None = None,
    workers: Workers | None = None,
) -> Differences:
    """Differentiate the loss numerically by every parameter.

    Parameters
    ----------
    net : Network
    x : ndarray, shape (n_in, batch), or (batch, n_in) where rows are examples
    y : ndarray, in the shape of the output, or class indices of shape (batch,)
    method : {"exact", "replay"}
        "exact": differences, not values, go through the network's own forward rule, one for each
        unit and sample, with steps far below every kink.  Nothing cancels: about 14 digits hold.
        "replay": the notebook's loop, every parameter perturbed, the loss of the perturbed
        network evaluated, the quotient of two such losses taken: about 8 digits.
    scheme : {"central", "forward"}, optional
        Of replay: (L(theta + delta) - L(theta - delta)) / 2 delta, the default, or
        (L(theta + delta) - L(theta)) / delta.  The realised step is used, which differs from
        delta by the rounding of theta + delta.
    delta : float, optional
        The step of replay, 1e-6 by default; it is never changed.
    max_memory : int
        Bytes of scratch memory for all threads, beside the network, the results, and 16 bytes
        for each unit and sample.  It changes no bit of the result.
    progress : bool, optional
        None: a bar on a terminal for what takes over a second.
    workers : int, concurrent.futures.Executor or callable, optional
        Who computes, as in `numerical_gradient`: so many processes of this machine, -1 for one
        per processor, or the workers of a Dask cluster inside ``joblib.parallel_config("dask")``;
        any executor; anything that maps as `map` does. What takes milliseconds stays here. The
        bits are the same; `max_memory` is that of all workers together, beside what each of them
        is sent once: the network and, for each unit and sample, 8 bytes (replay) or 16. A loss
        of your own must be one that can be sent. Needs the extra ``fastbp[cluster]``.

    Returns
    -------
    Differences
        Float64, also for a float32 network, whose numbers are converted exactly.

    Raises
    ------
    DTypeError, ShapeError, NonFiniteError, OptionError
    EvaluationError
        If the workers die again and again.

    Notes
    -----
    Exact: where f > 0, dh = max(df, -f), elsewhere dh = max(f + df, 0); df' = W dh.  Between two
    kinks that is linear, so that with a step below all of them one difference per unit and sample
    gives dL/df, and a product with what feeds the layer all its weights: a derivative in forward
    mode, which shares no line with the backward pass.  At a pre-activation of exactly 0
    ``relu_at_zero`` weighs the two sides; of the samples where that happens, 40 bytes for each
    unit stay with the result, for ``kinks``, ``left`` and ``right``.  About L^2 a^3 batch
    operations for L hidden layers of a active units.

    Replay: the loop of notebook 7.2 of "Understanding Deep Learning" needs two forward passes for
    each entry, O(P^2 batch).  Here an entry of layer l costs what the layers above l + 1 cost
    for the samples in which its unit is active.

    Examples
    --------
    >>> import numpy as np, fastbp
    >>> net = fastbp.Network.random([2, 3, 1], seed=0)
    >>> x, y = np.array([[1.0], [2.0]]), np.array([[0.5]])
    >>> numerical = fastbp.finite_differences(net, x, y)
    >>> _, gradients = net.loss_and_gradients(x, y)
    >>> bool(np.allclose(numerical.flat, gradients.flat, rtol=1e-13))
    True
    >>> replayed = fastbp.finite_differences(net, x, y, method="replay", delta=1e-4)
    >>> bool(np.allclose(replayed.flat, numerical.flat, rtol=1e-7))
    True
    """
    require_choice(method, "method", METHODS)
    memory = require_memory(max_memory)
    require_progress_option(progress)
    require_workers(workers)
    with said_while_compiling(progress):
        if method == "exact":
            return _exact_differences(net, x, y, scheme, delta, memory, progress, workers)
        return _replayed_differences(net, x, y, scheme, delta, memory, progress, workers)


def _replayed_differences(
    net: Network,
    x: AnyFloats,
    y: Array,
    scheme: object,
    delta: object,
    max_memory: int,
    progress: bool | None,
    workers: Workers | None,
) -> Differences:
    step, known = _require_step(delta, scheme)
    base = evaluate(net, require_batch(net, x, y))
    with replay_pool(base, workers) as pool:
        flat, kinks, largest = replay(
            base, None, scheme=known, delta=step, max_memory=max_memory, progress=progress,
            pool=pool,
        )  # fmt: skip
    noise = partial(quotient_noise, base, known, step, largest)
    return Differences(net.shapes, flat, _ReplayQuality(flat.size, noise, kinks))


def _exact_differences(
    net: Network,
    x: AnyFloats,
    y: Array,
    scheme: object,
    delta: object,
    max_memory: int,
    progress: bool | None,
    workers: Workers | None,
) -> Differences:
    for name, value in (("scheme", scheme), ("delta", delta)):
        if value is not None:
            raise OptionError(f'{name} must be None with method="exact", not {value!r}.')
    batch = require_finite_batch(net, x, y).in_float64()
    net = in_float64(net)
    require_enough_memory(net.sizes, batch.size, max_memory)
    noise = measure_noise(net, batch, max_memory=max_memory)
    sensitivities = exact_sensitivities(
        net, batch, max_memory=max_memory, progress=progress, workers=workers
    )
    flat = gradient_of(sensitivities)
    return Differences(net.shapes, flat, ExactQuality(sensitivities, noise, flat, max_memory))
