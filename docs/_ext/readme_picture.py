"""Draw the picture of the README: ``python docs/_ext/readme_picture.py``.

The network, the batch and the mistake are those of its first example, in a smaller network.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import fastbp

PICTURE = Path(__file__).resolve().parent.parent / "_static" / "report.png"


def main() -> None:
    """Check a gradient with two mistakes, and save the picture of its report."""
    net = fastbp.Network.random([16, 24, 10], seed=0)
    random = np.random.default_rng(1)
    x, y = random.standard_normal((16, 32)), random.standard_normal((10, 32))
    _, gradients = net.loss_and_gradients(x, y)
    gradients.biases[0][...] /= 32  # a mean over the batch
    gradients.weights[1][3] = 0.0  # a row left at zero
    report = fastbp.check_network(net, x, y, gradients, seed=0)
    report.plot().savefig(PICTURE, dpi=80, bbox_inches="tight")


if __name__ == "__main__":
    main()
