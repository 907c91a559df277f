"""fastbp.jax: JAX's own derivatives, custom ones above all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import fastbp.jax  # noqa: E402
from fastbp.runtime import progress  # noqa: E402

AT = np.array([0.3, -1.2, 2.0], dtype=np.float32)


@jax.custom_vjp
def wrong_sine(x: Any) -> Any:
    return jax.numpy.sin(x)


wrong_sine.defvjp(
    lambda x: (jax.numpy.sin(x), x),
    lambda x, w: (w * jax.numpy.cos(x) * jax.numpy.where(x > 1, 1.001, 1),),
)


def test_scalar_functions() -> None:
    assert fastbp.jax.check(lambda x: jax.numpy.sum(jax.numpy.tanh(x) ** 2), AT)
    assert fastbp.jax.check(lambda p, y: p["w"] @ p["w"] * y, {"w": AT}, 2.0)
    report = fastbp.jax.check(lambda x: jax.numpy.sum(wrong_sine(x)), AT.astype(np.float64))
    assert [failure.index for failure in report.failures] == [(2,)]


def test_array_functions_are_checked_both_ways() -> None:
    report = fastbp.jax.check(lambda x: (jax.numpy.sin(x), x[0] * x), AT)
    assert report.verdict == "passed"
    assert report.arrays[-1].name.startswith("jvp against vjp")


def test_a_custom_vjp_is_checked_without_a_jvp() -> None:
    report = fastbp.jax.check(wrong_sine, AT.astype(np.float64))
    assert report.verdict == "failed"
    assert any("output[2] is wrong" in note for note in report.notes)
    assert not any(row.name.startswith("jvp") for row in report.arrays)


def test_complex_by_the_convention_of_jax() -> None:
    report = fastbp.jax.check(lambda z: z * jax.numpy.conj(z[0]), np.array([1 + 2j, 0.5 - 1j]))
    assert report.verdict == "passed"
    assert "convention of jax" in report.notes[0]


def test_compiled_functions_and_float32() -> None:
    assert fastbp.jax.check(jax.jit(lambda x: jax.numpy.sum(jax.numpy.exp(-(x**2)))), AT)


def test_the_mode_of_the_caller_is_left_alone() -> None:
    before = jax.numpy.ones(1).dtype
    fastbp.jax.check(lambda x: jax.numpy.sum(x**2), AT)
    assert jax.numpy.ones(1).dtype == before


def test_check_is_short_for_check_function() -> None:
    assert fastbp.jax.check is fastbp.jax.check_function


def sum_of_squares(use: Any) -> Any:
    """Return a function whose backward pass makes a factor of its cotangent by `use`."""
    f = jax.custom_vjp(lambda x: jax.numpy.sum(x**2))
    f.defvjp(lambda x: (jax.numpy.sum(x**2), x), lambda x, w: (2 * x * use(w),))
    return f


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("use", [jax.numpy.ones_like, jax.numpy.square])
def test_a_scalar_function_is_asked_with_a_random_cotangent(use: Any, seed: int) -> None:
    report = fastbp.jax.check(sum_of_squares(use), AT, seed=seed)
    assert report.verdict == "failed"
    assert "asked with a cotangent of" in report.notes[-1]


def test_a_scalar_function_that_uses_its_cotangent_passes() -> None:
    assert fastbp.jax.check(sum_of_squares(lambda w: w), AT)
    assert fastbp.jax.check(sum_of_squares(lambda w: w), AT.astype(np.float64))


def test_a_rule_that_gives_another_value_than_the_function_is_named() -> None:
    @jax.custom_vjp
    def sine(x: Any) -> Any:
        return jax.numpy.sin(x)

    sine.defvjp(lambda x: (jax.numpy.sin(x) + 1, x), lambda x, g: (g * jax.numpy.cos(x),))

    @jax.custom_jvp
    def cosine(x: Any) -> Any:
        return jax.numpy.cos(x)

    cosine.defjvp(lambda primals, tangents: (primals[0], -jax.numpy.sin(primals[0]) * tangents[0]))

    at = np.array([0.5, 1.0])
    for f, rule in ((sine, "jax.vjp"), (cosine, "jax.jvp")):
        report = fastbp.jax.check(f, at, seed=0)
        assert report.verdict == "failed"
        reasons = [row.reason for row in report.arrays if row.name == "f"]
        assert any(reason.startswith(f"{rule} gives another value than f: ") for reason in reasons)
        allowed = fastbp.jax.check(f, at, seed=0, noise=2.0)
        assert "f" not in [row.name for row in allowed.arrays]


def test_a_rule_in_half_precision_may_differ_by_the_tolerances() -> None:
    @jax.custom_vjp
    def sine(x: Any) -> Any:
        return jax.numpy.sin(x)

    def forward(x: Any) -> Any:
        return jax.numpy.sin(x.astype(jax.numpy.bfloat16)).astype(x.dtype), x

    sine.defvjp(forward, lambda x, g: (g * jax.numpy.cos(x),))
    at = np.array([0.7, 1.1])
    for tolerances, named in (({}, 1), ({"rtol": 1e-2}, 0), ({"atol": 1e-2}, 0)):
        report = fastbp.jax.check(sine, at, seed=0, **tolerances)
        assert [row.name for row in report.arrays].count("f") == named


def test_a_rule_that_gives_nan_where_the_function_is_finite_is_named() -> None:
    @jax.custom_vjp
    def root(x: Any) -> Any:
        return jax.numpy.sqrt(x)

    root.defvjp(lambda x: (x**0.5 * (x / x), x), lambda x, g: (g / (2 * jax.numpy.sqrt(x)),))
    for f in (root, jax.numpy.sqrt):
        report = fastbp.jax.check(lambda x, f=f: f(x * x[0]), np.array([0.0, 4.0]), seed=0)
        reasons = [row.reason for row in report.arrays if row.name == "f"]
        named = ["jax.vjp gives another value than f: nan in place of 0"]
        assert reasons == (named if f is root else [])


def test_a_bar_is_there_from_the_first_evaluation_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_is_shown", lambda option: option is not False)
    shown = []

    def f(x: Any) -> Any:
        shown.append(any(isinstance(bar, progress._Bar) for bar in progress._running))
        return jax.numpy.sin(x)

    assert fastbp.jax.check(f, AT, seed=0).verdict == "passed"
    assert shown[0]
    assert progress._running == []
