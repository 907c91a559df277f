"""Random numbers from a counter: the same for any number of threads, and made where they are used.

Number k of a stream is a hash of (key, k) (the finaliser of SplitMix64: Steele, Lea and Flood,
"Fast splittable pseudorandom number generators", 2014). The sum of its four 16-bit parts is near
enough to normal: its density at 0 is 0.385, a Gaussian's 0.399. The lattice of its values, 2.6e-5
apart, is moved by half a step, so that none is 0.
"""

from __future__ import annotations

import math

import numpy as np

from .machine.compile import kernel

# Streams of a call: each has a key of its own.
FORWARD_NOISE, REVERSE_NOISE, OUTPUT_DIRECTION, TILE_PROOF, SAMPLES = range(5)
STREAMS = 5

INCREMENT = np.uint64(0x9E3779B97F4A7C15)
FIRST_FACTOR = np.uint64(0xBF58476D1CE4E5B9)
SECOND_FACTOR = np.uint64(0x94D049BB133111EB)
PART = np.uint64(0xFFFF)
SHIFTS = tuple(np.uint64(n) for n in (30, 27, 31, 16, 32, 48))
SHIFT = np.uint64(16)  # leaves 48 bits: a positive int64
MEAN = 2 * 0xFFFF - 0.5
SCALE = math.sqrt(3.0) / 65536.0


@kernel(inline=True)
def hashed(key, counter):
    """Return 64 random bits for a counter of a stream."""
    bits = key + np.uint64(counter) * INCREMENT
    bits = (bits ^ (bits >> SHIFTS[0])) * FIRST_FACTOR
    bits = (bits ^ (bits >> SHIFTS[1])) * SECOND_FACTOR
    return bits ^ (bits >> SHIFTS[2])


@kernel
def fill_normals(key, start, out):
    """Write numbers ``start``, ``start + 1``, ... of a stream: mean 0, variance 1."""
    for k in range(out.size):
        bits = hashed(key, start + k)
        total = (bits & PART) + ((bits >> SHIFTS[3]) & PART) + ((bits >> SHIFTS[4]) & PART)
        total += bits >> SHIFTS[5]
        out[k] = (np.float64(np.int32(total)) - MEAN) * SCALE


@kernel
def fill_signs(key, start, out):
    """Write 64 random bits for each of the numbers ``start``, ``start + 1``, ...; out int64."""
    for k in range(out.size):
        out[k] = np.int64(hashed(key, start + k))
