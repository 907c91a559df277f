"""What arrays alone tell of a mistake: planted one at a time, and never one in what is right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastbp.report.causes import Cause, sentence
from fastbp.verdict.diagnosis.diagnose_arrays import Compared, diagnose_arrays, diagnose_rows
from fastbp.verdict.rows import bare_row

pytestmark = pytest.mark.small

RNG = np.random.default_rng(0)
TRUTH = {"a": RNG.standard_normal((4, 4)), "b": RNG.standard_normal((4, 4)),
         "c": RNG.standard_normal((3, 5)), "d": RNG.standard_normal(6)}  # fmt: skip


def said(**given) -> tuple[str, ...]:
    """Diagnose some arrays, the others as they should be."""
    arrays = [
        Compared(name, np.asarray(given.get(name, truth)), truth, 1e-10, name in given)
        for name, truth in TRUTH.items()
    ]
    return tuple(map(sentence, diagnose_arrays(arrays)))


def changed(name: str, index, value) -> np.ndarray:
    array = TRUTH[name].copy()
    array[index] = value
    return array


A, B, C, D = TRUTH.values()
PLANTED = [
    ({"a": -A}, "a: the wrong sign (residual 1e-15)"),
    ({"a": 0 * A}, "a: left at zero (residual 1e-15)"),
    ({"a": 2 * A}, "a: 2 times what it should be: a term is added twice, or a 2 is too many"),
    ({"c": C / 5}, "c: 1/5 of what it should be: 5 is the length of axis 1 of c, a mean in place"),
    ({"d": 0.37 * D}, "d: 0.37 times what it should be (residual 1e-15)"),
    ({"a": A.T}, "a: transposed (residual 1e-15)"),
    ({"c": C.T}, "c: transposed (residual 1e-15)"),
    ({"c": C.reshape(-1)}, "c: the right numbers in the wrong shape: (15,) in place of (3, 5)"),
    ({"c": C.reshape(-1, order="F").reshape(3, 5)}, "c: the right numbers, read by columns in"),
    ({"c": np.stack([C, 0 * C])}, "c: not summed over the batch: one gradient for each example"),
    ({"a": A + A.T}, "a: the sum of the gradient and its transpose"),
    ({"a": (A + A.T) / 2}, "a: the mean of the gradient and its transpose"),
    ({"a": np.tril(A)}, "a: the lower triangle alone"),
    ({"a": np.triu(A)}, "a: the upper triangle alone"),
    ({"a": np.diag(np.diag(A))}, "a: the diagonal alone"),
    ({"a": A - np.diag(np.diag(A))}, "a: right but for the diagonal, which is zero"),
    ({"c": C[::-1]}, "c: the right rows in another order"),
    ({"c": C[:, [1, 0, 2, 3, 4]]}, "c: the right columns in another order"),
    ({"d": np.roll(D, 1)}, "d: the right entries in another order"),
    ({"a": B}, "a: the gradient of b"),
    ({"a": A - B}, "a: a term is missing that equals the gradient of b"),
    ({"a": A + B}, "a: a term too many, which equals the gradient of b"),
    ({"c": C.astype(np.float16).astype(float)}, "c: right, but rounded to half precision"),
    ({"c": changed("c", 1, 7.0)}, "c: right but for row 1"),
    ({"c": changed("c", (slice(None), 3), 0.0)}, "c: right but for column 3, left at zero"),
    ({"c": changed("c", (slice(0, 2), slice(0, 2)), 7.0)}, "c: right but for the block [0:2, 0:2]"),
    ({"c": changed("c", (2, 4), np.pi)}, "c: right but for the entry [2, 4]"),
    ({"c": C * np.array([[2.0], [3.0], [0.5]])}, "c: each row is multiplied by a factor of its"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "expected"), PLANTED, ids=[one[1][:40] for one in PLANTED])
def test_the_mistake_is_named(given, expected):
    (sentence_,) = said(**given)
    assert sentence_.startswith(expected)


def test_one_mistake_in_several_arrays_is_one_sentence():
    assert said(a=-A, b=-B, c=0 * C) == (
        "a, b: the wrong sign (residual 1e-15)",
        "c: left at zero (residual 1e-15)",
    )
    assert said(a=-A, b=-B, c=-C, d=-D) == ("every array: the wrong sign (residual 1e-15)",)


def test_two_arrays_that_are_exchanged_are_named_both():
    assert said(a=B, b=A) == (
        "a: the gradient of b (residual 1e-15)",
        "b: the gradient of a (residual 1e-15)",
    )


def test_two_names_of_one_array_are_told():
    mixed = RNG.standard_normal((4, 4))
    assert said(a=mixed, b=mixed) == (
        "a: the same numbers as b: two names of one array? (residual 1e-15)",
        "b: the same numbers as a: two names of one array? (residual 1e-15)",
    )


@pytest.mark.parametrize("size", [1, 2, 3, 5, 30])
def test_nothing_is_said_of_random_numbers(size):
    rng = np.random.default_rng(size)
    for _ in range(500):
        truth, given = rng.standard_normal((2, size))
        compared = [Compared("x", given, truth, 1e-9, True)]
        assert diagnose_arrays(compared) == []


def test_nothing_is_said_where_nothing_failed_or_nothing_is_known():
    assert said() == ()
    rough = [Compared("d", -D, D, 1.0, True)]
    assert diagnose_arrays(rough) == []
    missing = [Compared("d", None, D, 1e-9, True)]
    assert diagnose_arrays(missing) == []
    strings = [Compared("d", np.array(["x"]), D, 1e-9, True)]
    assert diagnose_arrays(strings) == []
    assert said(d=changed("d", 0, np.nan)) == ()


def test_a_single_entry_has_simple_factors_alone():
    def of_one(factor: float):
        return diagnose_arrays([Compared("x", np.array([factor]), np.ones(1), 1e-9, True)])

    assert of_one(1.7) == []
    assert of_one(-1.0)[0].cause == Cause("sign")
    assert of_one(3.0)[0].cause.factor == 3.0


def test_a_factor_of_one_is_no_mistake():
    random = np.random.default_rng(0)
    truth = random.standard_normal(12)
    almost = truth * (1 + 5e-9) + 1e-11 * random.standard_normal(12)
    assert diagnose_arrays([Compared("x", almost, truth, 1e-13, True)]) == []
    row = replace(bare_row("x", (12,), 12, "failed", ""), factor=1 + 5e-9, residual=1e-11)
    assert diagnose_rows([row], [almost]) == []
    part = np.arange(12) < 4
    wrong = Compared("x", np.where(part, truth * 1.00002, truth), truth, 1e-13, True)
    assert [finding.cause.detail for finding in diagnose_arrays([wrong])] == [
        "entries 0, 1, 2 and 3"
    ]
