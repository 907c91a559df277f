"""How near correct gradients come to their error bars: ``python -m benchmarks.calibration [n]``.

Random networks of depth 1-8, width and batch 1-64, every third confident or nearly fitted; their
gradients in NumPy, in extended precision and in float32, against the bars of the certified check.
Prints the largest error over the bar *without its margin*: ``MARGIN`` of ``fastbp/sweeps.py`` must
stay well above it. And the largest gap of a proved product over its allowance without margin.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import Any

import numpy as np

import fastbp
from fastbp.certificate import PROOF_MARGIN, judge_sweeps
from fastbp.hull import hull_of
from fastbp.sweeps import MARGIN, Sweeps
from fastbp.tiles import Tiles
from fastbp.verdict import Tolerance

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


def weight_gradients(net: fastbp.Network, x: Any, y: Any, dtype: Any) -> list[Any]:
    """As anybody would write it, in any type."""
    assert net.biases is not None
    weights = [w.astype(dtype) for w in net.weights]
    h, f = [x.astype(dtype)], []
    for w, b in zip(weights, net.biases, strict=True):
        f.append(w @ h[-1] + b.astype(dtype))
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
        result.insert(0, s @ h[k].T)
        s = (weights[k].T @ s) * (f[k - 1] > 0) if k else s
    return result


def calibrate(count: int, dtype: Any, other: Any) -> None:
    rng, unit = np.random.default_rng(0), float(np.finfo(dtype).eps) / 2
    largest, ratios, gaps = [], [], []
    for case in range(count):
        net, x, y = random_problem(rng, case, dtype)
        sweeps = Sweeps(net, x, y, roundoff=unit, directions=2, seed=case, max_memory=2**30)
        sweeps.everything()
        proof = judge_sweeps(sweeps)
        if proof.problem:
            print(f"case {case}: {proof.problem}")
            continue
        gaps.append(PROOF_MARGIN * proof.closest)
        tolerance = Tolerance(0.0, 0.0)
        tiles = Tiles(sweeps, hull_of(sweeps), roundoff=unit, tolerance=tolerance)
        worst = 0.0
        with np.errstate(over="ignore"):
            gradients = weight_gradients(net, x, y, other)
        for k, gradient in enumerate(gradients):
            rows = slice(0, gradient.shape[0])
            value, radius = tiles.expand(k, rows)
            bar = tiles.bar_rows(k, rows)
            error = np.maximum(np.abs(np.asarray(gradient - value, np.float64)) - radius, 0.0)
            worst = max(worst, float((MARGIN * error / bar).max()))
            ratios += list((bar[error > 0] / error[error > 0])[:20])
        largest.append(worst)
    print(
        f"{np.dtype(dtype)}, {count} networks: error over bar without margin: median "
        f"{np.median(largest):.2f}, 99 % {np.percentile(largest, 99):.2f}, largest "
        f"{max(largest):.2f} (margin {MARGIN:g}); bar over error: median {np.median(ratios):.0f}, "
        f"90 % {np.percentile(ratios, 90):.0f}; gaps over allowance without margin: "
        f"{max(gaps):.2f} (margin {PROOF_MARGIN:g})"
    )


if __name__ == "__main__":
    networks = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    calibrate(networks, np.float64, np.longdouble)
    calibrate(networks, np.float32, np.float32)
