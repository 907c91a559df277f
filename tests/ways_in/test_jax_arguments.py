"""fastbp.jax: what functions of JAX take and return, and their second derivatives."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax")
jnp = jax.numpy

import fastbp.jax  # noqa: E402
from fastbp.errors import DTypeError, EvaluationError  # noqa: E402

AT = jnp.array([0.3, -1.2, 2.0])


def sum_of_sines(x: Any, factor: Any = 1.0, *, power: int = 1, which: Any = None) -> Any:
    chosen = jnp.sin(x) if which is None else jnp.sin(x)[which]
    return jnp.sum(factor * chosen**power)


class TestArguments:
    def test_keywords_are_arguments_too(self) -> None:
        report = fastbp.jax.check(sum_of_sines, AT, factor=2.0, power=3)
        assert report.verdict == "passed"
        assert [row.name for row in report.arrays] == ["args[0]", "args['factor']"]

    def test_keywords_of_the_name_of_an_option_are_given_apart(self) -> None:
        def f(x: Any, seed: Any) -> Any:
            return jnp.sum(x * seed)

        assert fastbp.jax.check(f, AT, kwargs={"seed": 2.0}, seed=1)

    def test_a_keyword_that_is_neither_is_refused(self) -> None:
        with pytest.raises(fastbp.OptionError, match="factors is no option"):
            fastbp.jax.check(sum_of_sines, AT, factors=2.0)
        with pytest.raises(fastbp.OptionError, match="power is given twice"):
            fastbp.jax.check(sum_of_sines, AT, power=2, kwargs={"power": 2})

    def test_static_arguments_stay_what_they_are(self) -> None:
        @partial(jax.jit, static_argnums=(1, 2))
        def f(x: Any, kind: str, power: int) -> Any:
            return jnp.sum(getattr(jnp, kind)(x) ** power)

        assert fastbp.jax.check(f, AT, "tanh", 2)

    def test_integers_booleans_and_keys_are_held_fixed(self) -> None:
        def f(p: Any) -> Any:
            noise = jax.random.normal(p["key"], (2,))
            return p["table"][p["index"]] * noise * p["on"]

        at = {"index": jnp.array([0, 2]), "key": jax.random.key(0), "on": True, "table": AT}
        report = fastbp.jax.check(f, at)
        assert report.verdict == "passed"
        assert report.arrays[0].name == "args[0]['table']"

    def test_results_may_hold_integers(self) -> None:
        report = fastbp.jax.check(lambda x: {"largest": jnp.argmax(x), "y": x**2}, AT)
        assert report.verdict == "passed"

    def test_an_argument_without_any_float_is_refused(self) -> None:
        with pytest.raises(fastbp.DTypeError, match="at least one float, not only int32"):
            fastbp.jax.check(lambda x: x, jnp.arange(3))

    def test_entries_may_be_chosen(self) -> None:
        report = fastbp.jax.check(sum_of_sines, AT, factor=2.0, entries="args[0]")
        assert [row.entries for row in report.arrays] == [3, 0]

    def test_an_array_stays_on_its_device(self) -> None:
        seen: list[Any] = []

        def f(x: Any) -> Any:
            if isinstance(x, jax.Array) and not isinstance(x, jax.core.Tracer):
                seen.append(x.sharding)
            return jnp.sum(x**2)

        at = jax.device_put(AT, jax.devices()[0])
        assert fastbp.jax.check(f, at)
        assert set(seen) == {at.sharding}


class TestPrecision:
    def test_single_precision_is_differenced_in_64_bits(self) -> None:
        dtypes: list[Any] = []

        def f(x: Any) -> Any:
            dtypes.append(x.dtype)
            return jnp.sum(jnp.exp(x))

        report = fastbp.jax.check(f, AT)
        assert report.verdict == "passed"
        assert {np.dtype(dtype).name for dtype in dtypes} == {"float32", "float64"}
        assert not jax.config.jax_enable_x64

    def test_random_numbers_are_those_of_the_mode_of_the_caller(self) -> None:
        def f(x: Any, key: Any) -> Any:
            return jnp.sum(x * jax.random.normal(key, (3,)))

        assert fastbp.jax.check(f, AT, jax.random.key(3))

    @pytest.mark.parametrize("factor", [1.0, 1.001])
    def test_single_precision_is_judged_by_its_rounding(self, factor: float) -> None:
        @jax.custom_vjp
        def f(x: Any) -> Any:
            return jnp.sum(jnp.tanh(x) ** 2)

        def backward(x: Any, w: Any) -> Any:
            assert x.dtype == jnp.float32
            return (w * factor * 2 * jnp.tanh(x) * (1 - jnp.tanh(x) ** 2),)

        f.defvjp(lambda x: (f(x), x), backward)
        assert bool(fastbp.jax.check(f, AT)) == (factor == 1.0)


@pytest.mark.long
@pytest.mark.parametrize(
    "f",
    [
        jax.jit(lambda x: jnp.cumsum(jnp.sin(x))),
        jax.vmap(lambda x: x**3),
        lambda x: jax.lax.scan(lambda c, y: (c * y + 1, c), 1.0 * x[0], x),
        lambda x: jax.lax.cond(x[0] > 0, jnp.sin, jnp.cos, x),
        lambda x: jax.lax.fori_loop(0, 3, lambda _, y: jnp.sin(y), x),
        lambda x: jax.checkpoint(jnp.sin)(x),
        lambda x: jnp.sort(x) * jnp.arange(3),
        lambda x: jax.scipy.special.logsumexp(x),
    ],
    ids=["jit", "vmap", "scan", "cond", "fori_loop", "checkpoint", "sort", "logsumexp"],
)
@pytest.mark.parametrize("order", [1, 2])
def test_right_derivatives_pass(f: Any, order: int) -> None:
    assert fastbp.jax.check(f, AT, order=order).verdict == "passed"


@pytest.mark.long
def test_a_function_may_look_at_values() -> None:
    def f(x: Any) -> Any:
        return jnp.sin(x) if x[0] > 0 else jnp.cos(x)

    assert fastbp.jax.check(f, AT, order=2)


def wrong_jvp(factor: float) -> Any:
    @jax.custom_jvp
    def f(x: Any) -> Any:
        return jnp.sin(x)

    f.defjvp(lambda x, v: (f(*x), factor * jnp.cos(*x) * v[0]))
    return f


def sine_with_backward(backward: Any) -> Any:
    @jax.custom_vjp
    def f(x: Any) -> Any:
        return jnp.sin(x)

    f.defvjp(lambda x: (jnp.sin(x), x), lambda x, w: (backward(x, w),))
    return f


def test_a_wrong_custom_jvp_is_found() -> None:
    assert fastbp.jax.check(wrong_jvp(1.0), AT)
    assert fastbp.jax.check(wrong_jvp(1.01), AT).verdict == "failed"


class TestSecondOrder:
    @pytest.mark.parametrize(
        "backward",
        [
            lambda x, w: w * jax.lax.stop_gradient(jnp.cos(x)),
            pytest.param(
                lambda x, w: jax.lax.stop_gradient(w) * jnp.cos(x), marks=pytest.mark.long
            ),
            pytest.param(
                lambda x, w: (
                    w * sine_with_backward(lambda y, v: v * 1.01 * jnp.cos(y))(x + jnp.pi / 2)
                ),
                marks=pytest.mark.long,
            ),
        ],
        ids=["not by the argument", "not by the cotangent", "a wrong factor"],
    )
    def test_a_wrong_second_derivative_is_found(self, backward: Any) -> None:
        f = sine_with_backward(backward)
        assert fastbp.jax.check(f, AT).verdict == "passed"
        report = fastbp.jax.check(f, AT, order=2)
        assert report.verdict == "failed"
        failed = {row.name for row in report.arrays if row.verdict == "failed"}
        assert failed <= {"backward by args[0]", "backward by args['cotangent']", "backward by vjp"}

    def test_a_right_custom_one_passes(self) -> None:
        assert fastbp.jax.check(sine_with_backward(lambda x, w: w * jnp.cos(x)), AT, order=2)

    @pytest.mark.long
    def test_of_a_scalar_function_of_a_nesting(self) -> None:
        at = {"b": jnp.array(0.5), "w": AT}
        report = fastbp.jax.check(lambda p: jnp.sum(p["w"] ** 3) * p["b"] ** 2, at, order=2)
        assert report.verdict == "passed"
        assert "backward by args[0]['w']" in [row.name for row in report.arrays]

    @pytest.mark.long
    def test_of_complex_numbers(self) -> None:
        at = jnp.array([1 + 2j, 0.5 - 1j])
        assert fastbp.jax.check(lambda z: z * jnp.conj(z[0]), at, order=2)

    @pytest.mark.parametrize("order", [0, 3, True, "2"])
    def test_other_orders_are_refused(self, order: Any) -> None:
        with pytest.raises(fastbp.OptionError, match="order must be 1 or 2, not "):
            fastbp.jax.check(jnp.sin, AT, order=order)


def test_what_jax_does_not_take_is_an_error_of_ours() -> None:
    for dtype in (">f8", np.longdouble):
        with pytest.raises(DTypeError, match=r"^args must be of dtypes that JAX has, not "):
            fastbp.jax.check(jnp.sin, np.ones(2).astype(dtype))
    with pytest.raises(DTypeError, match=r"^kwargs must be a dict by name, not int\.$"):
        fastbp.jax.check(jnp.sin, AT, kwargs=3)

    def called_back(x: Any) -> Any:
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    with pytest.raises(EvaluationError, match=r"^vjp raised ValueError at the point: Pure callb"):
        fastbp.jax.check(called_back, AT)
