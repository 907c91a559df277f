"""Complex functions by JAX and by torch: both conventions, against the frameworks themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastbp

jax = pytest.importorskip("jax")
torch = pytest.importorskip("torch")

import fastbp.jax  # noqa: E402
import fastbp.torch  # noqa: E402

Z = np.array([1 + 2j, 0.5 - 1j, -0.3 + 0.1j])
X = np.array([0.4, -1.1, 2.0])

# Of a complex vector z and a real vector x, written for either framework's namespace.
FUNCTIONS: dict[str, Any] = {
    "holomorphic": lambda m, z, x: z**3 + m.exp(z) * x,
    "conjugate": lambda m, z, x: m.conj(z) * x,
    "absolute value": lambda m, z, x: m.abs(z) + x**2,
    "real part": lambda m, z, x: m.real(z) * x,
    "imaginary part": lambda m, z, x: m.imag(z * z) - x,
    "angle": lambda m, z, x: m.angle(z) * x,
    "real to complex": lambda m, z, x: m.conj(x + 1j * x**2) / z,
    "several": lambda m, z, x: (z * m.conj(z[0]), m.abs(z * x) ** 2, m.real(z).sum() * x),
    "a real number": lambda m, z, x: (m.abs(z) ** 2 * x).sum(),
    "a complex number": lambda m, z, x: (m.exp(z) * x).sum(),
}


@pytest.mark.long
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("framework", ["jax", "torch"])
def test_what_the_frameworks_make_of_it_passes(name: str, framework: str) -> None:
    f = FUNCTIONS[name]
    if framework == "jax":
        report = fastbp.jax.check(lambda z, x: as_tuple(f(jax.numpy, z, x)), Z, X, seed=1)
    else:
        report = fastbp.torch.check_function(
            lambda z, x: as_tuple(f(torch, z, x)), torch.tensor(Z), torch.tensor(X), seed=1
        )
    assert report.verdict == "passed", report
    assert f"convention of {framework}" in report.notes[0]


def as_tuple(result: Any) -> Any:
    return result if isinstance(result, tuple) else (result,)


EVERYDAY = ("angle", "real to complex", "a complex number")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in EVERYDAY else [pytest.mark.long])
        for name in FUNCTIONS
        if name != "real part"  # has no imaginary part
    ],
)
def test_each_framework_fails_by_the_convention_of_the_other(name: str) -> None:
    """The imaginary parts have the other sign."""
    f = FUNCTIONS[name]

    def evaluate(at: Any) -> Any:
        with jax.enable_x64(True):
            result = as_tuple(f(jax.numpy, *map(jax.numpy.asarray, at)))
            return tuple(np.asarray(part) for part in result)

    def pullback(at: Any, cotangent: Any) -> Any:
        with jax.enable_x64(True):
            primals = tuple(map(jax.numpy.asarray, at))
            _, back = jax.vjp(lambda z, x: as_tuple(f(jax.numpy, z, x)), *primals)
            return tuple(
                np.asarray(part) for part in back(tuple(map(jax.numpy.asarray, cotangent)))
            )

    right = fastbp.check_vjp(evaluate, pullback, (Z, X), convention="jax", seed=1)
    wrong = fastbp.check_vjp(evaluate, pullback, (Z, X), convention="torch", seed=1)
    assert (right.verdict, wrong.verdict) == ("passed", "failed")


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_a_scalar_function_of_complex_numbers_by_either_framework(dtype: Any) -> None:
    z = Z.astype(dtype)
    report = fastbp.jax.check(lambda z: jax.numpy.sum(jax.numpy.abs(z) ** 2), z, seed=1)
    assert report.verdict == "passed", report
    report = fastbp.torch.check_function(lambda z: (z.abs() ** 2).sum(), torch.tensor(z), seed=1)
    assert report.verdict == "passed", report
