"""How near correct gradients come to their error bars: ``python -m benchmarks.calibration [n]``.

Random networks of depth 1-8, width and batch 1-64, every third confident or nearly fitted, every
fifth with numbers of one sign, whose sums grow. Their gradients by NumPy, by our backward pass, in
extended precision and, in float32, by sums one term after the other, against the bars of the
certified check. Prints the largest error over the bar *without its margin*: ``MARGIN`` must stay
well above it. And the largest gap of a proved product over its allowance without margin.

Of 10 000 networks in each type the largest were 8.4 in float64 and 13.3 in float32; one of 1 000
exceeded 2.6 (batches of a few samples, where the noise is a single random number, and numbers of
one sign). A softmax whose rounding moves 1 - p by all of itself is exempt: its bar is that, which
is no multiple of anything. The margin is therefore 32, and not less.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import Any

import numpy as np

import fastbp
from fastbp.network.checks.tile_comparison import Tiles
from fastbp.network.network import require_batch
from fastbp.network.sensitivities.certificate import PROOF_MARGIN, judge_sweeps
from fastbp.network.sensitivities.error_bars import MARGIN
from fastbp.network.sensitivities.hull import hull_of
from fastbp.network.sensitivities.sweeps import Sweeps
from fastbp.verdict.tolerance import Tolerance

LOSSES = ("least_squares", "softmax_cross_entropy", "sigmoid_cross_entropy")


def random_problem(rng: np.random.Generator, case: int, dtype: Any) -> tuple[Any, ...]:
    sizes = [int(n) for n in rng.integers(1, 65, int(rng.integers(2, 10)))]
    weights = [rng.standard_normal((o, i)) * np.sqrt(2 / i) for i, o in pairwise(sizes)]
    biases = [0.3 * rng.standard_normal((o, 1)) for o in sizes[1:]]
    x = rng.standard_normal((sizes[0], int(rng.integers(1, 65))))
    if case % 5 == 3:  # all of one sign: sums that grow
        weights, x = [np.abs(w) / 2 for w in weights], np.abs(x)
    if case % 5 == 4:
        weights[0][:] = weights[0][:1]
    if LOSSES[case % 3] == "softmax_cross_entropy" and case % 2:
        weights[-1] *= 5
    weights = [w.astype(dtype).astype(np.float64) for w in weights]
    biases = [b.astype(dtype).astype(np.float64) for b in biases]
    x = x.astype(dtype).astype(np.float64)
    net = fastbp.Network(weights, biases, loss=LOSSES[case % 3])
    output = net.forward(x).output
    if LOSSES[case % 3] == "least_squares":
        near = 10.0 ** -rng.integers(0, 10) * np.abs(output).max()
        y = output + near * rng.standard_normal(output.shape)
    elif LOSSES[case % 3] == "softmax_cross_entropy":
        y = np.eye(sizes[-1])[output.argmax(axis=0)].T.copy()
    else:
        y = (output > 0).astype(np.float64)
    return net, x, y.astype(dtype).astype(np.float64)


def plain_product(a: Any, b: Any) -> Any:
    """Sums one term after the other: what rounds most."""
    return np.add.accumulate(a[:, :, None] * b[None], axis=1, dtype=a.dtype)[:, -1]


def weight_gradients(net: fastbp.Network, x: Any, y: Any, dtype: Any, product: Any) -> list[Any]:
    """As anybody would write it, in any type."""
    assert net.biases is not None
    weights = [w.astype(dtype) for w in net.weights]
    h, f = [x.astype(dtype)], []
    for w, b in zip(weights, net.biases, strict=True):
        f.append(product(w, h[-1]) + b.astype(dtype))
        h.append(np.maximum(f[-1], 0))
    y = y.astype(dtype)
    if net.objective.loss == "least_squares":
        s = 2 * (f[-1] - y)
    elif net.objective.loss == "softmax_cross_entropy":
        p = np.exp(f[-1] - f[-1].max(axis=0))
        s = p / p.sum(axis=0) - y
    else:
        s = 1 / (1 + np.exp(-f[-1])) - y
    result: list[Any] = []
    for k in range(len(weights) - 1, -1, -1):
        result.insert(0, product(s, np.ascontiguousarray(h[k].T)))
        s = product(np.ascontiguousarray(weights[k].T), s) * (f[k - 1] > 0) if k else s
    return result


def gradients_of(net: fastbp.Network, x: Any, y: Any, dtype: Any) -> dict[str, list[Any]]:
    """Weight gradients of one network by several programs."""
    assert net.biases is not None
    own = fastbp.Network(
        [w.astype(dtype) for w in net.weights], [b.astype(dtype) for b in net.biases],
        loss=net.objective.loss,
    )  # fmt: skip
    with np.errstate(over="ignore"):
        found = {
            "NumPy": weight_gradients(net, x, y, dtype, np.matmul),
            "fastbp": list(own.loss_and_gradients(x.astype(dtype), y.astype(dtype))[1].weights),
        }
        if dtype == np.float64:
            found["extended"] = weight_gradients(net, x, y, np.longdouble, np.matmul)
        else:
            found["plain sums"] = weight_gradients(net, x, y, dtype, plain_product)
    return found


def calibrate(count: int, dtype: Any) -> None:
    """Print what is the largest, for one type."""
    rng, unit = np.random.default_rng(0), float(np.finfo(dtype).eps) / 2
    largest: dict[str, list[float]] = {}
    ratios: dict[str, list[float]] = {}
    gaps = []
    for case in range(count):
        net, x, y = random_problem(rng, case, dtype)
        sweeps = Sweeps(
            net, require_batch(net, x, y), roundoff=unit, directions=2, seed=case, max_memory=2**30
        )
        sweeps.forward()
        sweeps.reverse()
        sweeps.prove()
        proof = judge_sweeps(sweeps)
        if proof.problem:
            print(f"case {case}: {proof.problem}")
            continue
        gaps.append(PROOF_MARGIN * proof.closest)
        tolerance = Tolerance(0.0, 0.0)
        tiles = Tiles(sweeps, hull_of(sweeps), roundoff=unit, tolerance=tolerance)
        for name, gradients in gradients_of(net, x, y, dtype).items():
            worst = 0.0
            for k, gradient in enumerate(gradients):
                rows = slice(0, gradient.shape[0])
                value, radius = tiles.expand(k, rows)
                bar = tiles.bar_rows(k, rows)
                error = np.maximum(np.abs(np.asarray(gradient - value, np.float64)) - radius, 0.0)
                worst = max(worst, float((MARGIN * error / bar).max()))
                seen = ratios.setdefault(f"{name}, {net.objective.loss}", [])
                seen += list((bar[error > 0] / error[error > 0])[:20])
            largest.setdefault(name, []).append(worst)
    print(f"{np.dtype(dtype)}, {count} networks: error over bar without margin ({MARGIN:g})")
    for name, found in largest.items():
        high = np.percentile(found, [50, 99, 99.9, 100])
        print(f"  {name}: median {high[0]:.2f}, 99 % {high[1]:.2f}, 99.9 % {high[2]:.2f}, "
              f"largest {high[3]:.2f}")  # fmt: skip
    print("bar over error:")
    for name, found in sorted(ratios.items()):
        if not found:  # the same sums in the same order
            continue
        print(f"  {name}: median {np.median(found):.0f}, 90 % {np.percentile(found, 90):.0f}")
    print(f"gaps over allowance without margin ({PROOF_MARGIN:g}): {max(gaps):.2f}")


if __name__ == "__main__":
    networks = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    calibrate(networks, np.float64)
    calibrate(networks, np.float32)
