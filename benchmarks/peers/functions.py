"""Checks of any function's gradient: time per entry, evaluations, and what each of them misses."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

import fastbp

from .available import installed
from .report import Section, duration
from .timing import ROUNDS, interleaved
from .verdicts import compare_verdicts

ENTRIES = 1000
LARGE = 1_000_000
SLIP = 1e-3  # of the typical entry, in one of very many
BATCH = 128


@dataclass
class Counted:
    """A function that counts its calls."""

    function: Callable[[Any], Any]
    calls: int = 0

    def __call__(self, at: Any) -> Any:
        self.calls += 1
        return self.function(at)


def cubes(x: Any) -> Any:
    """The trivial function that is timed: NumPy, torch and JAX evaluate it alike."""
    return (x * x * x).sum()


def gradient_of_cubes(x: Any) -> Any:
    return 3 * x * x


def checks(f: Callable[[Any], Any], gradient: Any, at: Any) -> dict[str, Callable[[], object]]:
    """Every peer's check or numerical gradient of a function in NumPy."""
    found: dict[str, Callable[[], object]] = {
        "fastbp every": lambda: fastbp.check_gradient(f, gradient, at, method="every"),
        "fastbp probe": lambda: fastbp.check_gradient(f, gradient, at, method="probe", seed=0),
    }
    if installed("scipy"):
        from scipy.optimize import approx_fprime, check_grad
        from scipy.optimize._numdiff import approx_derivative

        found["scipy check_grad"] = lambda: check_grad(f, gradient, at)
        found["scipy approx_fprime"] = lambda: approx_fprime(at, f)
        found["scipy 3-point"] = lambda: approx_derivative(f, at, method="3-point")
    if installed("jacobi"):
        from jacobi import jacobi

        found["jacobi"] = lambda: jacobi(f, at)
    if installed("numdifftools"):
        from numdifftools import Gradient

        found["numdifftools"] = lambda: Gradient(f)(at)
    return found


def framework_checks(at: Any) -> dict[str, Callable[[], object]]:
    """The checks of torch and JAX, of the same function in their own arrays."""
    found: dict[str, Callable[[], object]] = {}
    if installed("torch"):
        import torch

        leaf = torch.tensor(at, requires_grad=True)
        check = torch.autograd.gradcheck
        found["torch slow"] = lambda: check(cubes, leaf, raise_exception=False)
        found["torch fast"] = lambda: check(cubes, leaf, raise_exception=False, fast_mode=True)
    if installed("jax"):
        import jax
        from jax.test_util import check_grads

        def check_in_double() -> None:
            with jax.enable_x64(True):
                check_grads(cubes, (jax.numpy.asarray(at),), order=1, modes=["rev"])

        found["jax check_grads"] = check_in_double
    return found


def compare_functions(rounds: int = ROUNDS, *, quick: bool = False) -> Iterable[Section]:
    """Yield the tables: time, verdicts, accuracy on a network, one wrong entry of very many."""
    yield _times(rounds, ENTRIES // 10 if quick else ENTRIES)
    yield compare_verdicts(rounds)
    yield _relu_network()
    yield _one_of_many(LARGE // 10 if quick else LARGE)
    yield _compiled_loop(rounds, LARGE // 10 if quick else LARGE)


def _times(rounds: int, entries: int) -> Section:
    section = Section(
        f"Checking a trivial function of {entries} entries",
        ["check", "time", "per entry", "evaluations per entry"],
    )
    at = np.random.default_rng(0).normal(size=entries)
    counts = {}
    for name in checks(cubes, gradient_of_cubes, at):
        counted = Counted(cubes)
        _quietly(checks(counted, gradient_of_cubes, at)[name])
        counts[name] = f"{counted.calls / entries:.2f}"
    calls = {**checks(cubes, gradient_of_cubes, at), **framework_checks(at)}
    timings = interleaved({name: _quiet(call) for name, call in calls.items()}, rounds)
    for name, timing in timings.items():
        per_entry = duration(timing, entries)
        section.rows.append([name, duration(timing), per_entry, counts.get(name, "")])
    return section


def _relu_network() -> Section:
    """Compare numerical gradients with the exact one of a network in NumPy."""
    section = Section(
        f"Numerical gradient of a ReLU network 10-32-32-1, batch {BATCH}, 1441 entries",
        ["method", "error > 1e-3", "> 1e-5", "largest", "evaluations per entry"],
    )
    f, exact, at = relu_network()
    methods = checks(f, exact, at)
    gradients: dict[str, Callable[[Any], Any]] = {
        "fastbp": lambda g: fastbp.numerical_gradient(g, at).value
    }
    for name in ("scipy approx_fprime", "scipy 3-point", "jacobi", "numdifftools"):
        if name in methods:
            gradients[name] = _value_of(name, at, exact)
    size = np.abs(exact) + np.max(np.abs(exact)) * 1e-3
    for name, gradient in gradients.items():
        counted = Counted(f)
        error = np.abs(np.ravel(_quietly(lambda g=gradient, c=counted: g(c))) - exact) / size
        section.rows.append(
            [
                name,
                f"{100 * np.mean(error > 1e-3):.1f} %",
                f"{100 * np.mean(error > 1e-5):.1f} %",
                f"{np.max(error):.1e}",
                f"{counted.calls / exact.size:.1f}",
            ]
        )
    section.notes.append("Relative to the entry plus a thousandth of the largest one.")
    return section


def _value_of(name: str, at: Any, exact: Any) -> Callable[[Any], Any]:
    def value(f: Any) -> Any:
        result = checks(f, exact, at)[name]()
        return result[0] if isinstance(result, tuple) else result

    return value


def relu_network() -> tuple[Callable[[Any], Any], Any, Any]:
    """Return the mean square loss of a network, its exact gradient, and its parameters."""
    rng = np.random.default_rng(1)
    shapes = [(32, 10), (32, 1), (32, 32), (32, 1), (1, 32), (1, 1)]
    arrays = [rng.normal(size=shape) * np.sqrt(2 / max(shape[1], 10)) for shape in shapes]
    x, y = rng.normal(size=(10, BATCH)), rng.normal(size=(1, BATCH))
    cuts = np.cumsum([array.size for array in arrays])[:-1]

    def unpacked(flat: Any) -> list[Any]:
        parts = np.split(flat, cuts)
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    def loss(flat: Any) -> Any:
        w0, b0, w1, b1, w2, b2 = unpacked(np.asarray(flat))
        hidden = np.maximum(w1 @ np.maximum(w0 @ x + b0, 0) + b1, 0)
        return np.mean((w2 @ hidden + b2 - y) ** 2)

    w0, b0, w1, b1, w2, b2 = arrays
    f0 = w0 @ x + b0
    f1 = w1 @ np.maximum(f0, 0) + b1
    s2 = 2 * (w2 @ np.maximum(f1, 0) + b2 - y) / BATCH
    s1 = (w2.T @ s2) * (f1 > 0)
    s0 = (w1.T @ s1) * (f0 > 0)
    inputs = [x, np.maximum(f0, 0), np.maximum(f1, 0)]
    exact = []
    for sensitivity, activations in zip((s0, s1, s2), inputs, strict=True):
        exact += [sensitivity @ activations.T, sensitivity.sum(axis=1)]
    flat = np.concatenate([array.ravel() for array in arrays])
    return loss, np.concatenate([array.ravel() for array in exact]), flat


def _one_of_many(entries: int) -> Section:
    """Let one entry of a million be wrong: who notices, and who says where."""
    section = Section(
        f"One entry of {entries:,} wrong by {SLIP:g} of the typical size, in sum(x**2) / 2",
        ["check", "verdict", "named", "evaluations"],
    )
    at = np.random.default_rng(2).normal(size=entries)
    wrong = at.copy()
    wrong[12_345] += SLIP
    counted = Counted(lambda x: 0.5 * float(x @ x))
    report = fastbp.check_gradient(counted, wrong, at, method="probe", seed=0)
    named = report.failures[0].where if report.failures else ""
    section.rows.append(["fastbp probe", report.verdict, named, f"{counted.calls}"])
    if installed("torch"):
        for slip in (SLIP, 5.0):
            verdict, calls = _torch_fast(at, slip)
            section.rows.append([f"torch fast, wrong by {slip:g}", verdict, "", f"{calls}"])
    if installed("jax"):
        for slip in (SLIP, 5.0):
            verdict = _jax_check(at, slip)
            section.rows.append([f"jax check_grads, wrong by {slip:g}", verdict, "", "2"])
    return section


def _compiled_loop(rounds: int, entries: int) -> Section:
    """Measure what the loop over a compiled function adds to it, and what a second core brings."""
    section = Section(
        "A function that numba compiled, every entry",
        ["function", "threads", "time of f", "beyond f, per evaluation", "speed-up", "compilation"],
    )
    rng = np.random.default_rng(3)
    before = fastbp.get_num_threads()
    cases = (("x[0] * x[1]", few_operations, entries), ("200 sines", many_operations, 20_000))
    for label, function, size in cases:
        at = rng.normal(size=size)
        report = fastbp.check_gradient(function, np.zeros(3), at[:3])
        compilation = next((note for note in report.notes if "compiled in" in note), "")
        alone = 0.0
        for threads in (1, 2):
            fastbp.set_num_threads(threads)
            calls: dict[str, Callable[[], object]] = {
                "check": lambda f=function, x=at: fastbp.numerical_gradient(f, x),
                "f": lambda f=function, x=at: repeated(f, x, 2 * x.size),
            }
            timings = interleaved(calls, rounds)
            evaluations = fastbp.numerical_gradient(function, at).evaluations
            whole, own = timings["check"].median, timings["f"].median
            alone = alone or whole
            own /= 2 * size
            section.rows.append(
                [
                    label,
                    str(threads),
                    f"{1e6 * own:.3f} us",
                    f"{1e6 * (whole / evaluations - own / threads):.3f} us",
                    f"{alone / whole:.2f}",
                    compilation.removeprefix("the loop over f was compiled in ").split(" and")[0],
                ]
            )
    fastbp.set_num_threads(before)
    return section


@numba.njit
def few_operations(x: Any) -> Any:
    return x[0] * x[1]


@numba.njit
def many_operations(x: Any) -> Any:
    total = 0.0
    for k in range(200):
        total += math.sin(x[k % x.size] + k)
    return total


@numba.njit
def repeated(f: Any, x: Any, times: int) -> Any:
    """Call f on changing points, nothing else."""
    own, total = x.copy(), 0.0
    for k in range(times):
        own[k % own.size] += 1e-9
        total += f(own)
    return total


def _torch_fast(at: Any, slip: float) -> tuple[str, int]:
    import torch

    calls = 0

    class Slipping(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            nonlocal calls
            calls += 1
            ctx.save_for_backward(x)
            return 0.5 * (x @ x)

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            (x,) = ctx.saved_tensors
            result = gradient * x
            result[12_345] += gradient * slip
            return result

    leaf = torch.tensor(at, requires_grad=True)
    # On a failure torch would go on to its slow mode, two million evaluations: stop it there.
    original = torch.autograd.gradcheck.__globals__["_run_slow_mode_and_get_error"]
    torch.autograd.gradcheck.__globals__["_run_slow_mode_and_get_error"] = lambda *_: "failed"
    try:
        good = torch.autograd.gradcheck(Slipping.apply, leaf, fast_mode=True, raise_exception=False)
    finally:
        torch.autograd.gradcheck.__globals__["_run_slow_mode_and_get_error"] = original
    return "passed" if good else "failed", calls


def _jax_check(at: Any, slip: float) -> str:
    """Let JAX check, along its one random direction, a vjp of which one entry is wrong."""
    import jax
    from jax.test_util import check_grads

    @jax.custom_vjp
    def half_square(x: Any) -> Any:
        return 0.5 * (x @ x)

    def backward(x: Any, cotangent: Any) -> Any:
        return ((cotangent * x).at[12_345].add(cotangent * slip),)

    half_square.defvjp(lambda x: (half_square(x), x), backward)
    with jax.enable_x64(True):
        try:
            check_grads(half_square, (jax.numpy.asarray(at),), order=1, modes=["rev"])
        except AssertionError:
            return "failed"
    return "passed"


def _quiet(call: Callable[[], object]) -> Callable[[], object]:
    return lambda: _quietly(call)


def _quietly(call: Callable[[], object]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()
