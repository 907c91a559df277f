"""A backward pass written by hand for a ReLU classifier, checked entry by entry.

The mistake is a usual one: the masks come from the wrong layer's pre-activations, which no error
message shows where the layers are equally wide.
"""

from __future__ import annotations

import numpy as np

import fastbp

Arrays = list[np.ndarray]


def backward_pass(
    weights: Arrays, biases: Arrays, x: np.ndarray, y: np.ndarray, *, masks_off_by: int = 0
) -> tuple[Arrays, Arrays]:
    """Return the gradient of the mean softmax cross-entropy; columns are examples."""
    preactivations, activations = [], [x]
    for weight, bias in zip(weights, biases, strict=True):
        preactivations.append(weight @ activations[-1] + bias)
        activations.append(np.maximum(preactivations[-1], 0.0))
    logits = preactivations[-1]
    probabilities = np.exp(logits - logits.max(axis=0))
    probabilities /= probabilities.sum(axis=0)
    batch = x.shape[1]
    probabilities[y, np.arange(batch)] -= 1.0
    delta = probabilities / batch  # dL/d(logits)
    dweights, dbiases = [], []
    for k in reversed(range(len(weights))):
        dweights.insert(0, delta @ activations[k].T)
        dbiases.insert(0, delta.sum(axis=1, keepdims=True))
        if k > 0:
            mask = preactivations[max(k - 1 - masks_off_by, 0)] > 0.0
            delta = mask * (weights[k].T @ delta)
    return dweights, dbiases


def wrong_backward_pass(
    weights: Arrays, biases: Arrays, x: np.ndarray, y: np.ndarray
) -> tuple[Arrays, Arrays]:
    """Do the same with the masks of the layer below."""
    return backward_pass(weights, biases, x, y, masks_off_by=1)


def main() -> None:
    """Check the right one, then the one with the mistake."""
    net = fastbp.Network.random(
        [8, 16, 16, 16, 4], seed=0, loss="softmax_cross_entropy", reduction="mean"
    )
    random = np.random.default_rng(1)
    x, y = random.standard_normal((8, 32)), random.integers(4, size=32)
    for function in (backward_pass, wrong_backward_pass):
        report = fastbp.check_network(net, x, y, function, seed=0)
        print(f"{function.__name__}: {report.verdict}")
        for row in report.arrays:
            if row.wrong:
                print(f"  {row.name}: {row.wrong} of {row.entries} entries are wrong")


if __name__ == "__main__":
    main()
