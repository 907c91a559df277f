"""What a check is about, as digests: the values in a checkpoint are of one check alone."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from fastbp.function.containers.given_gradient import GivenLeaves
    from fastbp.function.evaluation import Function
    from fastbp.function.methods.options import Options

__all__ = ["problem_of"]


def problem_of(function: Function, given: GivenLeaves, options: Options) -> dict[str, str]:
    """Return what a check is about: its point, value, gradient, options and seed.

    With ``noise=`` neither value nor gradient need be the same twice.
    """
    point = function.point
    domain = function.domain
    asked = (options.method, options.rtol, options.atol, options.noise, options.most)
    problem = {
        "names": _digest(*point.container.names),
        "point": _digest(*point.base),
        "options": _digest(repr(asked), repr(options.entries)),
        "bounds": _digest(*(domain.lower or []), *(domain.upper or [])),
        "scale": _digest(*(domain.scales or [])),
        "seed": str(options.seed),
    }
    if options.noise == 0.0:
        problem["value of f"] = float(function.value).hex()
        problem["gradient"] = _digest(*given.arrays)
    return problem


def _digest(*parts: Any) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype} {part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        else:
            digest.update(repr(part).encode())
    return digest.hexdigest()
