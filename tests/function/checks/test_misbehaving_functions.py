"""Functions and gradients that change their argument, remember, or are not deterministic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.gradient_checks import square

import fastbp
from fastbp.function.containers.point import Point
from fastbp.function.evaluation import Function

pytestmark = pytest.mark.small

METHODS = ("every", "probe")


def test_f_that_changes_its_argument_fails() -> None:
    def f(x: np.ndarray) -> float:
        x *= 2
        return float(np.sum(x))

    at = np.ones(4)
    for method in METHODS:
        report = fastbp.check_gradient(f, np.full(4, 2.0), at, method=method)
        assert report.verdict == "failed"
        assert report.wrong == 0
        assert report.arrays[-1].reason == "f changed its argument: x"
    assert at.tolist() == [1, 1, 1, 1]


def test_f_that_changes_its_argument_only_beside_the_point_fails() -> None:
    def f(x: np.ndarray) -> float:
        value = float(np.sum(x))
        if x[2] != 1:
            x[0] = 5
        return value

    report = fastbp.check_gradient(f, np.ones(4), np.ones(4), method="every")
    assert report.verdict == "failed"
    assert "f changed its argument: x" in [row.reason for row in report.arrays]


def test_f_that_is_not_deterministic_fails() -> None:
    rng = np.random.default_rng(0)
    report = fastbp.check_gradient(
        lambda x: float(np.sum(x)) + 1e-6 * rng.random(), np.ones(3), np.ones(3)
    )
    assert report.verdict == "failed"
    assert "called twice at the same point, gave two different results" in report.arrays[-1].reason


def test_a_gradient_function_that_accumulates_fails() -> None:
    buffer = np.zeros(3)

    def gradient(x: np.ndarray) -> np.ndarray:
        nonlocal buffer
        buffer += x
        return buffer

    report = fastbp.check_gradient(square, gradient, np.array([1.0, 2, 3]))
    assert report.verdict == "failed"
    assert "an accumulation" in report.arrays[-1].reason
    assert report.arrays[0].verdict == "passed"


def test_a_gradient_function_that_changes_its_argument_fails() -> None:
    def gradient(x: np.ndarray) -> np.ndarray:
        x += 1
        return x - 1

    report = fastbp.check_gradient(square, gradient, np.ones(3))
    assert report.arrays[-1].reason == "gradient changed its argument: x"
    assert report.verdict == "failed"


# ---- noise between two calls ----

AT = np.array([1.0, -2.0, 0.5])


def noisy(f, size: float):
    rng = np.random.default_rng(3)
    return lambda x, *rest: f(x, *rest) + size * rng.normal()


@pytest.mark.parametrize("size", [1e-10, 1e-12, 1e-3])
def test_two_results_are_shown_with_their_difference(size: float) -> None:
    report = fastbp.check_gradient(noisy(square, size), AT, AT, rtol=1e-2)
    assert report.verdict == "failed"
    head, tail = report.arrays[-1].reason.split(", which differ by ")
    assert head.startswith("f, called twice at the same point, gave two different results: ")
    first, second = head.split(": ")[1].split(" and ")
    assert first != second
    apart = float(tail.split(";")[0])
    assert float(first) - float(second) == pytest.approx(apart, rel=0.1, abs=0) or (
        float(second) - float(first) == pytest.approx(apart, rel=0.1, abs=0)
    )
    assert tail.endswith("; noise= says how much is allowed")


@pytest.mark.parametrize("method", METHODS)
def test_noise_that_is_allowed_is_a_note_and_enters_the_bars(method: str) -> None:
    options = {"method": method, "seed": 0, "noise": 1e-7}
    for seed in range(3):
        rng = np.random.default_rng(seed)
        at = rng.normal(size=4)
        f = noisy(square, 1e-8)
        report = fastbp.check_gradient(f, at, at, **options)
        assert report.verdict == "passed", str(report)
        assert any("two values at the point differ by" in note for note in report.notes)
        wrong = at.copy()
        wrong[seed] += 3 * max(row.detectable for row in report.arrays) + 1e-3
        assert fastbp.check_gradient(f, wrong, at, **options).verdict == "failed"


def test_noise_beyond_what_is_allowed_fails() -> None:
    report = fastbp.check_gradient(noisy(square, 1e-6), AT, AT, noise=1e-9)
    assert report.verdict == "failed"
    assert "gave two different results" in report.arrays[-1].reason


def test_noise_of_a_gradient_and_of_products_may_be_allowed() -> None:
    def gradient(x: np.ndarray) -> np.ndarray:
        return 1 * x

    report = fastbp.check_gradient(square, noisy(gradient, 1e-9), AT, atol=1e-6)
    assert report.arrays[-1].name == "gradient"
    assert "gave two different results: x, which differ by" in report.arrays[-1].reason
    allowed = {"noise": 1e-7, "atol": 1e-4}
    assert fastbp.check_gradient(square, noisy(gradient, 1e-9), AT, **allowed).verdict == "passed"

    def product(x: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.cos(x) * other

    f, rule = noisy(np.sin, 1e-9), noisy(product, 1e-9)
    for check in (fastbp.check_vjp, fastbp.check_jvp):
        assert check(f, rule, AT, seed=0, **allowed).verdict == "passed"
        report = check(f, rule, AT, seed=0, atol=1e-4)
        assert report.verdict == "failed"
        assert next(row.name for row in report.arrays if row.verdict == "failed") == "f"


def test_products_of_several_outputs_may_be_noisy_too() -> None:
    rng = np.random.default_rng(5)

    def both(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.sin(x), x**2

    def rule(x: np.ndarray, w: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        return np.cos(x) * w[0] + 2 * x * w[1] + 1e-9 * rng.normal()

    assert fastbp.check_vjp(both, rule, AT, seed=0, noise=1e-8, atol=1e-7).verdict == "passed"


def test_noise_makes_no_single_entry_far_worse_than_the_others() -> None:
    at, allowed = np.linspace(-1, 1.3, 8), {"noise": 1e-7}
    for seed in range(12):
        random = np.random.default_rng(seed)

        def f(x: np.ndarray, random: Any = random) -> float:
            return float(np.sum(np.cosh(x))) + 1e-8 * random.standard_normal()

        report = fastbp.check_gradient(f, np.sinh, at, seed=seed, method="every", **allowed)
        assert report.verdict == "passed"
        assert report.detectable < 0.01


NOISE = 1e-6
ALL_THREE = np.array([0.4, -1.1, 0.7])
OFF = np.array([1.0, 1.0, 1 + 300 * NOISE])


def _noisy_derivatives(factor: np.ndarray, seed: int) -> dict[str, Any]:
    """Return checks of right functions whose derivatives are off by noise, and by a factor."""
    random = np.random.default_rng(seed)

    def noisy(derivative: np.ndarray) -> np.ndarray:
        return derivative * factor + NOISE * random.standard_normal(derivative.shape)

    at = ALL_THREE
    return {
        "gradient": lambda **more: fastbp.check_gradient(
            lambda x: float(np.sum(np.sin(x))), lambda x: noisy(np.cos(x)), at, **more
        ),
        "vjp": lambda **more: fastbp.check_vjp(
            np.sin, lambda x, w: noisy(np.cos(x) * w), at, **more
        ),
        "jvp": lambda **more: fastbp.check_jvp(
            np.sin, lambda x, v: noisy(np.cos(x) * v), at, **more
        ),
        "jacobian": lambda **more: fastbp.check_jacobian(
            np.sin, lambda x: noisy(np.diag(np.cos(x))), at, **more
        ),
        "hessian": lambda **more: fastbp.check_hessian(
            np.sin, lambda x: noisy(np.diag(np.cos(x))), at, **more
        ),
    }


@pytest.mark.parametrize("rtol", [None, 1e-10])
@pytest.mark.parametrize("method", METHODS)
def test_noise_of_derivatives_enters_what_they_may_be_off_by(method: str, rtol: Any) -> None:
    options = {"method": method, "rtol": rtol, "noise": 20 * NOISE}
    for seed in range(3):
        for name, check in _noisy_derivatives(np.ones(3), seed).items():
            assert check(seed=seed, **options).verdict == "passed", (name, seed)


@pytest.mark.parametrize("name", ["gradient", "vjp", "jvp", "jacobian"])
def test_an_error_beyond_the_noise_of_derivatives_fails(name: str) -> None:
    check = _noisy_derivatives(OFF, 0)[name]
    report = check(seed=0, noise=20 * NOISE)
    assert report.verdict == "failed"
    assert report.wrong == 1
    assert "2" in report.failures[0].where


@pytest.mark.parametrize("noise", [-1e-9, np.nan, np.inf, "1e-9"])
def test_noise_that_makes_no_sense_is_refused(noise: object) -> None:
    with pytest.raises(fastbp.FastbpError, match="noise"):
        fastbp.check_gradient(square, AT, AT, noise=noise)


def test_what_is_raised_beside_the_point_is_told_by_probe_too() -> None:
    def f(x: np.ndarray) -> float:
        if np.min(x) < 0.5:
            raise ValueError("outside")
        return float(np.sum(x**2))

    at = np.array([0.5 + 1e-6, 2.0, 3.0])
    report = fastbp.check_gradient(f, 2 * at, at, method="probe", seed=0)
    [note] = [note for note in report.notes if "raised" in note]
    assert note.startswith("f raised ")
    assert note.endswith(" at random: outside")


def test_what_is_raised_once_is_told_with_its_entry() -> None:
    calls = [0]

    def f(x: np.ndarray) -> float:
        calls[0] += 1
        if calls[0] == 100:
            raise OSError("no answer")
        return float(np.sum(np.sin(x)))

    at = np.linspace(1.0, 2.0, 100)
    report = fastbp.check_gradient(f, np.cos(at), at)
    assert report.verdict == "passed"
    [note] = report.notes
    assert note.startswith("f raised once OSError when x[")
    assert note.endswith(" at the point): no answer")


@pytest.mark.parametrize("check", [fastbp.check_gradient, fastbp.check_vjp])
@pytest.mark.parametrize("wrong", [False, True])
def test_an_entry_by_which_f_raises_does_not_take_the_report_away(wrong: bool, check: Any) -> None:
    at = np.linspace(1.0, 2.0, 100)
    given = np.cos(at)
    given[40] += wrong

    def f(x: np.ndarray) -> float:
        if x[7] != at[7]:
            raise ValueError("seven is fixed")
        return float(np.sum(np.sin(x)))

    message = r"^f raised ValueError when x\[7\] was .*: seven is fixed$"
    with pytest.raises(fastbp.EvaluationError, match=message) as caught:
        check(f, lambda _, cotangent=1.0: cotangent * given, at, method="every")
    report = vars(caught.value)["report"]
    assert report.verdict == ("failed" if wrong else "inconclusive")
    assert [failure.where for failure in report.failures] == ["x[40]"] * wrong
    assert wrong or "1 of 100 entries without a finite derivative" in report.arrays[0].reason


def test_a_function_that_raises_everywhere_is_no_endless_check() -> None:
    at, calls = np.ones(2000), [0]

    def f(x: np.ndarray) -> float:
        calls[0] += 1
        if not np.array_equal(x, at):
            raise ValueError("only at the point")
        return 0.0

    with pytest.raises(fastbp.EvaluationError, match="only at the point"):
        fastbp.check_gradient(f, at, at, method="every")
    assert calls[0] < 40_000


def test_a_function_that_gives_two_results_is_not_said_to_take_steps() -> None:
    rng = np.random.default_rng(1)

    def f(x: Any) -> float:
        return float(np.sum(x**2)) * (1 + 1e-6 * rng.standard_normal())

    report = fastbp.check_gradient(f, 2 * np.ones(3), np.ones(3), method="every")
    assert report.verdict == "failed"
    assert not any("takes steps" in note for note in report.notes)


@pytest.mark.parametrize("noisy", [True, False])
def test_an_array_without_entries_beside_a_noisy_number_is_untested(noisy: bool) -> None:
    random = np.random.default_rng(0)

    def f(at: tuple[np.ndarray, np.ndarray]) -> float:
        return float(at[1][0] ** 2) + noisy * 1e-6 * random.standard_normal()

    at = (np.zeros((0, 3)), np.array([1.5]))
    report = fastbp.check_gradient(f, (at[0], 2 * at[1]), at, noise=1e-5)
    assert {row.name: row.verdict for row in report.arrays}["at[0]"] == "untested"


@pytest.mark.parametrize(
    ("values", "noisy"),
    [([1.0, 1.0], False), ([1.0, 1.5], True), ([np.nan, np.nan], False), ([np.inf, np.inf], False)],
)
def test_a_function_is_noisy_whose_two_values_at_the_point_differ(
    values: list[float], noisy: bool
) -> None:
    waiting = list(values)
    function = Function(lambda _: waiting.pop(0), Point(np.ones(1), "at"), "f")
    assert function.is_noisy == noisy
