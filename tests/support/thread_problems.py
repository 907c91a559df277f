"""Problems that a team of threads computes."""

from __future__ import annotations

import numpy as np

import fastbp
from fastbp.network.differences.replay import replay
from fastbp.network.differences.unperturbed import evaluate
from fastbp.network.network import require_batch

# Over SERIAL_OPERATIONS of fastbp.runtime.threads, so that a team of threads computes.
SIZES, BATCH = [64, 128, 128, 10], 64
COMMON = f"""
import os, sys, threading
import numpy as np
import numba
import fastbp
from fastbp.network.differences.replay import replay
from fastbp.network.differences.unperturbed import evaluate
from fastbp.network.network import require_batch

net = fastbp.Network.random({SIZES})
small = fastbp.Network.random([9, 16, 4])
random = np.random.default_rng(0)
x, y = random.standard_normal(({SIZES[0]}, {BATCH})), random.standard_normal(({SIZES[-1]}, {BATCH}))
small_x, small_y = random.standard_normal((9, 70)), random.standard_normal((4, 70))

def gradients():
    loss, found = net.loss_and_gradients(x, y)
    return np.concatenate([[loss, net.loss(x, y)], found.flat, found.inputs.ravel()])

def quotients():
    # Some entries of the large network, which a team computes, and all of the small one.
    some = np.arange(0, net.parameters.size, 29)
    return np.concatenate([
        fastbp.finite_differences(small, small_x, small_y).flat,
        replay(
            evaluate(net, require_batch(net, x, y)),
            some, scheme="central", delta=1e-6, max_memory=2**30, progress=False
        )[0],
    ])

# The user's own use of numba's threads, in the main thread, before and after ours.
@numba.njit(parallel=True)
def total(values):
    result = 0.0
    for k in numba.prange(values.size):
        result += values[k]
    return result

def users_own_kernel():
    try:
        assert total(np.ones(1000)) == 1000.0
    except ValueError as error:  # this wheel of numba has no such layer
        assert "threading layer" in str(error)

fastbp.set_num_threads(1)
expected, expected_quotients = gradients(), quotients()
"""


def one_problem(dtype: type = np.float64) -> tuple[fastbp.Network, np.ndarray, np.ndarray]:
    net = fastbp.Network.random(SIZES, dtype=dtype)
    random = np.random.default_rng(1)
    x = random.standard_normal((SIZES[0], BATCH)).astype(dtype)
    return net, x, random.standard_normal((SIZES[-1], BATCH)).astype(dtype)


def everything(net: fastbp.Network, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    loss, gradients = net.loss_and_gradients(x, y)
    quotients, *_ = replay(
        evaluate(net, require_batch(net, x, y)),
        np.arange(0, net.parameters.size, 11),
        scheme="central", delta=1e-6, max_memory=2**30, progress=False,
    )  # fmt: skip
    return np.concatenate([[loss], gradients.flat, gradients.inputs.ravel(), quotients])
