"""Second derivatives of twenty functions beside check_grads: five of them are wrong or zero."""

from __future__ import annotations

from typing import Any

import pytest
from support.benchmark_modules import benchmark_module

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402
from jax.test_util import check_grads  # noqa: E402

import fastbp.jax  # noqa: E402

second_order = benchmark_module("peers.second_order")
AT, RIGHT, WRONG = second_order.AT, second_order.right_functions(), second_order.wrong_functions()


@pytest.mark.long
@pytest.mark.parametrize("f", RIGHT.values(), ids=RIGHT)
def test_right_second_derivatives_pass(f: Any) -> None:
    report = fastbp.jax.check(f, AT, order=2, seed=0)
    assert report.verdict == "passed", str(report)


@pytest.mark.long
@pytest.mark.parametrize("f", WRONG.values(), ids=WRONG)
def test_wrong_second_derivatives_are_found(f: Any) -> None:
    with jax.enable_x64(True), pytest.raises(AssertionError):
        check_grads(f, (jnp.asarray(AT),), order=2, modes=["rev"])
    assert fastbp.jax.check(f, AT, seed=0).verdict == "passed"
    report = fastbp.jax.check(f, AT, order=2, seed=0)
    assert report.verdict == "failed"
    assert all(
        row.name.startswith("backward by ") for row in report.arrays if row.verdict == "failed"
    )


@pytest.mark.long
def test_the_wrong_entry_of_a_second_derivative_is_named() -> None:
    report = fastbp.jax.check(WRONG["one entry constant"], AT, order=2, seed=0)
    assert [failure.where for failure in report.failures] == ["backward by args[0][0]"]
