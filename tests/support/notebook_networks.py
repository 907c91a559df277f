"""Networks of the notebook's kind."""

from __future__ import annotations

import numpy as np

from fastbp import notebook


def batch_network(seed=1, K=3, D=5, D_i=2, D_o=3, batch=4):
    """Parameters, input and target: every size differs, outputs have both signs."""
    rng = np.random.default_rng(seed)
    weights, biases = notebook.init_params(K, D, D_i=D_i, D_o=D_o)
    return weights, biases, rng.standard_normal((D_i, batch)), rng.standard_normal((D_o, batch))
