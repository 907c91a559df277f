"""The notebook's default network, and the numbers that it must give."""

from __future__ import annotations

import numpy as np

HIDDEN_LAYERS, UNITS = 5, 6
GOLDEN_X = np.array([[1.2]])
GOLDEN_Y = np.array([[20.0]])
GOLDEN_OUTPUT = 1.906604997729403
GOLDEN_LOSS = 327.3709427081906

# To twelve places after the point, as far as they are known.
GOLDEN_D_BIASES = [
    [-4.485948755655, 4.947444659487, 6.811528751852, -3.883462806154, -24.935266715283, 0],
    [0, -11.296896081669, 0, 0, -10.721770787897, 0],
    [0, 0, 0.937886585483, 0, -9.993352941786, 0.507566422191],
    [0, -4.799953101239, -1.661359751013, 0, 3.393454278601, 5.39096439938],
    [0, 0, 0, 0, -5.212474461103, 0],
    [-36.186790004541],
]
GOLDEN_D_FIRST_WEIGHTS = [-5.38313851, 5.93693359, 8.1738345, -4.66015537, -29.92232006, 0]
GOLDEN_D_LAST_WEIGHTS = [0, 0, 0, 0, -400.330254469967, 0]
GOLDEN_NORMS = [
    "32.3743604855",
    "91.2850627680",
    "66.6959444595",
    "75.4382157359",
    "98.3151827498",
    "400.330254470",
]
GOLDEN_ACTIVE_UNITS = [5, 2, 3, 4, 1]


def default_parameters() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Standard normal draws of the legacy generator, seed 0: first and last layer, then between."""
    draw = np.random.RandomState(0).normal
    k, d = HIDDEN_LAYERS, UNITS
    weights: list[np.ndarray] = [np.empty(0)] * (k + 1)
    biases: list[np.ndarray] = [np.empty(0)] * (k + 1)
    weights[0], weights[k] = draw(size=(d, 1)), draw(size=(1, d))
    biases[0], biases[k] = draw(size=(d, 1)), draw(size=(1, 1))
    for layer in range(1, k):
        weights[layer], biases[layer] = draw(size=(d, d)), draw(size=(d, 1))
    return weights, biases
