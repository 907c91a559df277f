"""Write a problem file: a network of 26 122 parameters and a batch of 64 examples.

Run it with the name of the file to write, then check the file::

    python examples/write_problem.py problem.npz
    fastbp check problem.npz
"""

from __future__ import annotations

import sys

import numpy as np

import fastbp


def main() -> None:
    """Write the problem to the file that the command line names."""
    net = fastbp.Network.random([64, 128, 128, 10], seed=0, loss="softmax_cross_entropy")
    random = np.random.default_rng(1)
    x = random.standard_normal((64, 64))  # columns are examples: (inputs, batch)
    y = random.integers(10, size=64)  # the class of each example
    fastbp.save_problem(sys.argv[1], net, x, y)


if __name__ == "__main__":
    main()
