"""check_gradient: no false alarm, no miss, and what other checkers let through."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from support.random_functions import (
    cornered_case,
    double,
    only_single,
    rounded,
    single,
    smooth_case,
)

import fastbp
from fastbp.errors import DTypeError, EvaluationError, OptionError, ShapeError
from fastbp.verdict.tolerance import default_tolerance

pytestmark = pytest.mark.small

FAMILIES = {"smooth": smooth_case, "cornered": cornered_case}
EVERYDAY, LONG = range(60), range(1000, 2000)
METHODS = ("every", "probe")


def require_no_false_alarm(make: Any, seeds: range, method: str) -> None:
    for seed in seeds:
        case = make(seed)
        report = fastbp.check_gradient(case.f, case.gradient, case.at, method=method, seed=seed)
        assert report.verdict in ("passed", "vacuous"), f"{case.name}\n{report}"
        if report.verdict == "vacuous":
            assert not case.gradient(case.at).any()
    assert seeds


def in_float32(make: Any) -> Any:
    return lambda seed: make(seed, single)


def in_float32_only(make: Any) -> Any:
    return lambda seed: only_single(make(seed, single))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_correct_gradients_pass(family: str, method: str) -> None:
    require_no_false_alarm(FAMILIES[family], EVERYDAY, method)
    require_no_false_alarm(in_float32(FAMILIES[family]), range(30), method)
    require_no_false_alarm(in_float32_only(FAMILIES[family]), range(30), method)


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_thousand_correct_gradients_pass(family: str, method: str) -> None:
    require_no_false_alarm(FAMILIES[family], LONG, method)
    require_no_false_alarm(in_float32(FAMILIES[family]), LONG, method)
    require_no_false_alarm(in_float32_only(FAMILIES[family]), LONG, method)


# Functions that exist in float32 alone with corners on both sides of the point, closer than any
# step that the noise allows: of 20 000 those that a former version called wrong.
HARD = (1114, 1485, 1851, 1875, 1971, 105418, 205858)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", HARD)
def test_corners_within_the_shortest_step_are_no_mistake(seed: int, method: str) -> None:
    require_no_false_alarm(in_float32_only(cornered_case), range(seed, seed + 1), method)


def require_no_miss(family: str, precision: str, seeds: range) -> None:
    make, exact = PRECISIONS[precision](FAMILIES[family]), in_exact_arithmetic(family, precision)
    for seed in seeds:
        case = make(seed)
        # One in float32 would have lost digits of its own, where terms cancel.
        gradient = exact(seed).gradient(case.at.astype(np.float64)).astype(case.at.dtype)
        if not gradient.any():
            continue  # f is constant: an entry of 0 has a bar of 0
        place = seed % gradient.size
        found = fastbp.numerical_gradient(case.f, case.at)
        bar = found.error_bar[place] + abs(found.right[place] - found.left[place]) / 2
        gradient[place] += 3 * bar + rounding_of_both(gradient, place)
        report = fastbp.check_gradient(case.f, gradient, case.at, method="every")
        assert report.verdict == "failed", case.name
        assert report.failures[0].index == (place,), case.name


def in_exact_arithmetic(family: str, precision: str) -> Any:
    """The same functions in float64, of the same numbers."""
    return lambda seed: FAMILIES[family](seed, double if precision == "float64" else rounded)


def rounding_of_both(gradient: np.ndarray, place: int) -> float:
    """What two correct gradients of that precision may differ by."""
    if gradient.dtype == np.float64:
        return 2.0**-38 * float(np.max(np.abs(gradient)))
    tolerance = default_tolerance(gradient.dtype, gradient)
    return 2 * (tolerance.atol + tolerance.rtol * abs(float(gradient[place])))


PRECISIONS = {
    "float64": lambda make: make,
    "float32": in_float32,
    "float32 only": in_float32_only,
}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_an_entry_off_by_three_bars_is_found(family: str, precision: str) -> None:
    require_no_miss(family, precision, EVERYDAY[:30])


@pytest.mark.long
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_an_entry_off_by_three_bars_is_found_in_a_thousand(family: str, precision: str) -> None:
    require_no_miss(family, precision, LONG)


def require_detectable_is_detected(make: Any, seeds: range, method: str) -> None:
    judged = 0
    for seed in seeds:
        case = make(seed)
        gradient = np.array(case.gradient(case.at))
        check = {"f": case.f, "at": case.at, "method": method, "seed": seed}
        report = fastbp.check_gradient(gradient=gradient, **check)
        if report.verdict != "passed":
            continue  # vacuous: f is constant
        sign = 1 if seed % 2 else -1
        place = 7 * seed % gradient.size
        gradient[place] += gradient.dtype.type(1.01 * sign * report.arrays[0].detectable)
        report = fastbp.check_gradient(gradient=gradient, **check)
        assert report.verdict == "failed", case.name
        judged += 1
    assert judged > 0.9 * len(seeds)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_an_error_above_the_detectable_one_is_detected(
    family: str, method: str, precision: str
) -> None:
    make = PRECISIONS[precision](FAMILIES[family])
    require_detectable_is_detected(make, range(3000, 3030), method)


@pytest.mark.long
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_an_error_above_the_detectable_one_is_detected_in_many(
    family: str, method: str, precision: str
) -> None:
    make = PRECISIONS[precision](FAMILIES[family])
    require_detectable_is_detected(make, range(4000, 4100), method)


def network_and_gradient(sizes: list[int], batch: int, seed: int) -> tuple[Any, Any, list[Any]]:
    """Mean square loss of a ReLU network in NumPy, its gradient, and parameters."""
    rng = np.random.default_rng(seed)
    weights = [
        rng.normal(size=(n_out, n_in)) * np.sqrt(2 / n_in) for n_in, n_out in pairwise(sizes)
    ]
    at = [*weights, *(0.1 * rng.normal(size=size) for size in sizes[1:])]
    x, y = rng.normal(size=(sizes[0], batch)), rng.normal(size=(sizes[-1], batch))
    layers = len(weights)

    def activations(params: list[Any]) -> list[Any]:
        levels = [x]
        for k in range(layers):
            f = params[k] @ levels[-1] + params[layers + k][:, np.newaxis]
            levels.append(np.maximum(f, 0) if k + 1 < layers else f)
        return levels

    def loss(params: list[Any]) -> float:
        return float(np.mean((activations(params)[-1] - y) ** 2))

    def gradient(params: list[Any]) -> list[Any]:
        levels = activations(params)
        slope = 2 * (levels[-1] - y) / y.size
        of_weights, of_biases = [], []
        for k in reversed(range(layers)):
            of_weights.insert(0, slope @ levels[k].T)
            of_biases.insert(0, slope.sum(axis=1))
            slope = (params[k].T @ slope) * (levels[k] > 0)
        return of_weights + of_biases

    return loss, gradient, at


def require_probe_judges_networks(sizes: list[int], batch: int, seeds: range) -> None:
    for seed in seeds:
        loss, gradient, at = network_and_gradient(sizes, batch, seed)
        options = {"method": "probe", "seed": seed}
        report = fastbp.check_gradient(loss, gradient, at, **options)
        assert report.verdict == "passed", report
        wrong = gradient(at)
        layer = seed % (len(sizes) - 1)
        place = np.unravel_index(1234 % wrong[layer].size, wrong[layer].shape)
        wrong[layer][place] += 1.01 * report.arrays[layer].detectable
        report = fastbp.check_gradient(loss, wrong, at, **options)
        assert report.verdict == "failed", report
        typical = np.sqrt(np.mean(gradient(at)[layer] ** 2))
        assert report.arrays[layer].detectable < 1e-2 * typical


def test_probe_judges_a_large_relu_network() -> None:
    require_probe_judges_networks([100, 250, 250, 100, 10], 64, range(2))  # 114 110 parameters


@pytest.mark.long
@pytest.mark.parametrize(
    ("sizes", "batch"), [([100, 250, 250, 100, 10], 64), ([20, 300, 300, 1], 512)], ids=str
)
def test_probe_judges_many_large_relu_networks(sizes: list[int], batch: int) -> None:
    require_probe_judges_networks(sizes, batch, range(2, 4))


def test_one_entry_of_a_million_is_found_in_150_evaluations() -> None:
    rng = np.random.default_rng(11)
    at = rng.normal(size=(1000, 1000))
    gradient = np.tanh(at)
    typical = np.sqrt(np.mean(gradient**2))
    gradient[123, 456] += 1e-3 * typical
    f = lambda x: float(np.sum(np.logaddexp(x, -x)))  # noqa: E731
    report = fastbp.check_gradient(f, gradient, at, method="probe", seed=5)
    assert report.verdict == "failed"
    assert [failure.where for failure in report.failures] == ["x[123, 456]"]
    assert not report.at_least
    assert report.evaluations < 150
    assert report.detectable < 1e-3 * typical
    gradient[123, 456] = np.tanh(at[123, 456])
    report = fastbp.check_gradient(f, gradient, at, method="probe", seed=5)
    assert report.verdict == "passed"
    assert report.evaluations < 80


def square(x: np.ndarray) -> float:
    return 0.5 * float(np.sum(x * x))


def test_probe_finds_several_entries_and_says_at_least() -> None:
    at = np.random.default_rng(0).normal(size=5000)
    gradient = at.copy()
    wrong = [3, 77, 78, 2500, 4999]
    gradient[wrong] += 0.01
    report = fastbp.check_gradient(square, gradient, at, method="probe", seed=1)
    assert sorted(failure.index[0] for failure in report.failures) == wrong
    assert not report.at_least
    report = fastbp.check_gradient(square, gradient, at, method="probe", seed=1, most=2)
    assert report.at_least
    assert "at least 2" in report.arrays[0].reason
    assert "at least 2 wrong" in str(report)


def test_probe_names_a_common_factor() -> None:
    at = np.random.default_rng(0).normal(size=100)
    report = fastbp.check_gradient(square, 2 * at, at, method="probe", seed=1, most=1)
    assert report.arrays[0].factor == pytest.approx(2)
    assert "k = 2.000" in str(report)


def test_two_equal_errors_of_opposite_sign_do_not_cancel() -> None:
    at = np.random.default_rng(3).normal(size=500)
    for seed in range(20):
        gradient = at.copy()
        gradient[[seed, 400]] += [0.1, -0.1]
        report = fastbp.check_gradient(square, gradient, at, method="probe", seed=seed)
        assert report.verdict == "failed"
        assert {failure.index[0] for failure in report.failures} == {seed, 400}


def test_probe_reports_errors_too_small_to_be_single_ones() -> None:
    at = np.random.default_rng(4).normal(size=200_000)
    gradient = at * (1 + 1e-11)
    passed = fastbp.check_gradient(square, gradient, at, method="probe", seed=0)
    assert passed.verdict == "passed"
    assert any("may be missed" in note for note in passed.notes)


def test_auto_keeps_to_its_budget() -> None:
    at = np.ones(300)
    assert fastbp.check_gradient(square, at, at).method == "every"
    report = fastbp.check_gradient(square, at, at, budget=0)
    assert report.method == "probe"
    assert "the budget is 0 s" in report.notes[0]


def test_the_seed_decides() -> None:
    at = np.linspace(-1, 1, 50)
    first, second = (
        fastbp.check_gradient(square, at, at, method="probe", seed=9) for _ in range(2)
    )
    assert first.arrays == second.arrays
    assert "seed 9" in str(first)


def test_a_corner_at_the_point_accepts_what_lies_between() -> None:
    at = np.array([0.0, 1.0, -2.0])
    f = lambda x: float(np.sum(np.abs(x)))  # noqa: E731
    for slope in (-1.0, -0.3, 0.0, 1.0):
        report = fastbp.check_gradient(f, np.array([slope, 1, -1]), at)
        assert report.verdict == "passed"
        assert report.kinks == 1
        assert "x[0] is on a corner: slopes -1 and 1" in str(report)
    report = fastbp.check_gradient(f, np.array([1.1, 1, -1]), at)
    assert report.failures[0].where == "x[0]"


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


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (np.ones((3, 1)), "must have shape (3,), not (3, 1)"),
        (np.float64(1.0), "must have shape (3,), not ()"),
        (np.ones(3, int), "must have dtype float64 or float32, not int64"),
        (np.array([1, np.nan, 1]), "not finite"),
        (np.array([1, np.inf, 1]), "not finite"),
    ],
)
def test_unusable_gradients_are_findings(given: Any, reason: str, method: str) -> None:
    report = fastbp.check_gradient(square, lambda x: given, np.ones(3), method=method)  # noqa: ARG005
    assert report.verdict == "failed"
    assert reason in report.arrays[0].reason


@pytest.mark.parametrize("method", METHODS)
def test_another_structure_is_a_failed_row_by_name(method: str) -> None:
    at = {"w": np.ones(2), "b": 3.0}
    report = fastbp.check_gradient(
        lambda p: square(p["w"]) + p["b"],
        lambda p: {"w": p["w"], "c": 1.0},
        at,
        method=method,
    )
    reasons = {row.name: (row.verdict, row.reason) for row in report.arrays}
    assert reasons["p['b']"] == ("failed", "is not given")
    assert reasons["gradient['c']"] == ("failed", "is not in the argument")
    assert reasons["p['w']"][0] == "passed"


@pytest.mark.parametrize("method", METHODS)
def test_zero_against_zero_is_vacuous(method: str) -> None:
    at = [np.ones(3), np.ones(2)]
    constant = fastbp.check_gradient(
        lambda _: 5.0,
        [np.zeros(3), np.zeros(2)],
        at,
        method=method,
    )
    assert constant.verdict == "vacuous"
    partly = fastbp.check_gradient(
        lambda x: square(x[0]), [np.ones(3), np.zeros(2)], at, method=method
    )
    assert [row.verdict for row in partly.arrays] == ["passed", "untested"]
    assert partly.verdict == "passed"


@pytest.mark.parametrize("method", METHODS)
def test_nan_at_the_point_is_inconclusive(method: str) -> None:
    report = fastbp.check_gradient(
        lambda x: float(np.log(-np.sum(x))), np.ones(3), np.ones(3), method=method
    )
    assert report.verdict == "inconclusive"
    assert report.arrays[0].reason == "f is nan at the point"


def test_a_vertical_tangent_is_inconclusive_or_worse() -> None:
    report = fastbp.check_gradient(lambda x: float(np.sqrt(x[0])), np.array([1.0]), np.zeros(1))
    assert report.verdict != "passed"


def test_a_huge_offset_is_inconclusive_and_not_passed() -> None:
    report = fastbp.check_gradient(lambda x: 1e12 + 1e-9 * float(x[0]), np.zeros(1), np.ones(1))
    assert report.verdict in ("vacuous", "inconclusive")
    report = fastbp.check_gradient(
        lambda x: 1e12 + 1e-9 * float(x[0]), np.full(1, 1e-9), np.ones(1)
    )
    assert report.verdict == "inconclusive"


def test_many_wrong_entries_are_all_counted() -> None:
    at = np.random.default_rng(2).normal(size=2000)
    report = fastbp.check_gradient(square, 2 * at, at, method="every")
    assert report.wrong == 2000
    assert report.arrays[0].factor == pytest.approx(2)


def test_tolerances_of_the_user_replace_ours() -> None:
    at = np.array([1.0, 2.0])
    gradient = at * (1 + 1e-4)
    for method in METHODS:
        assert not fastbp.check_gradient(square, gradient, at, method=method)
        assert fastbp.check_gradient(square, gradient, at, rtol=1e-3, method=method)
        assert fastbp.check_gradient(square, gradient, at, atol=1e-3, method=method)


def test_parameters_held_by_reference() -> None:
    weights = {"w": np.array([1.0, 2.0]), "b": np.array(3.0)}
    loss = fastbp.by_reference(lambda: square(weights["w"]) * float(weights["b"]), weights)
    gradient = fastbp.by_reference(
        lambda: {"w": weights["w"] * weights["b"], "b": np.array(square(weights["w"]))}, weights
    )
    assert fastbp.check_gradient(loss, gradient, weights).verdict == "passed"
    assert weights["w"].tolist() == [1, 2]


def test_the_report_is_json_and_says_what_was_checked() -> None:
    def loss(params: Any) -> float:
        return square(params["w"])

    at = {"w": np.ones((2, 3))}
    report = fastbp.check_gradient(loss, {"w": np.zeros((2, 3))}, at)
    text = str(report)
    assert text.startswith("FAILED: gradient of loss(params), float64")
    assert "params['w'][0, 0]" in text
    assert "every given entry is 0" in text
    content = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert content["function"] == "gradient of loss(params)"
    with pytest.raises(fastbp.GradientMismatchError, match=r"wrong in params\['w'\]"):
        report.raise_if_failed()


def test_a_scalar_has_no_index() -> None:
    report = fastbp.check_gradient(lambda x: x**2, 5.0, 1.0)
    assert report.failures[0].where == "x"


def test_arguments_of_the_caller_never_change() -> None:
    at = {"w": np.arange(4.0)}
    before = at["w"].copy()
    seen = []

    def gradient(params: Any) -> Any:
        seen.append(params["w"])
        return {"w": params["w"].copy()}

    fastbp.check_gradient(lambda p: square(p["w"]), gradient, at)
    assert np.array_equal(at["w"], before)
    assert len(seen) == 2
    assert not any(np.shares_memory(array, at["w"]) for array in seen)


@pytest.mark.parametrize(
    ("gradient", "error", "message"),
    [
        (None, ShapeError, "gradient must be a function or have the structure of x"),
        ("text", DTypeError, "gradient must be an array of floats, not str."),
        ([np.ones(3)], ShapeError, r"there is none for x; there is no parameter for gradient\[0\]"),
    ],
)
def test_bad_gradients(gradient: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fastbp.check_gradient(square, gradient, np.ones(3))


def test_a_gradient_function_that_raises() -> None:
    with pytest.raises(EvaluationError, match="gradient raised KeyError at the point"):
        fastbp.check_gradient(square, lambda _: {}["k"], np.ones(3))


def test_a_direction_that_raises_is_named() -> None:
    def f(x: np.ndarray) -> float:
        if np.any(x != 1):
            raise RuntimeError("diverged")
        return 1.0

    with pytest.raises(EvaluationError, match=r"with x moved by .* at random: diverged"):
        fastbp.check_gradient(f, np.ones(3), np.ones(3), method="probe")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "all"}, r"method must be one of 'auto', 'every', 'probe', not 'all'."),
        ({"rtol": -1}, "rtol must be None or a finite number of at least 0"),
        ({"atol": "x"}, "atol must be None or a finite number"),
        ({"budget": np.inf}, "budget must be a finite number of at least 0"),
        ({"most": 0}, "most must be an integer of at least 1, not 0."),
        ({"seed": -1}, "seed must be an integer of at least 0, not -1."),
        ({"vectorized": "yes"}, "vectorized must be True or False, not 'yes'."),
        ({"workers": 0}, "workers must be None, a number of processes, or -1"),
        ({"workers": 1.5}, "workers must be None, a number of processes, or -1"),
        ({"workers": 2, "vectorized": True}, "workers and vectorized exclude each other"),
        ({"progress": 1}, "progress must be None, True or False, not 1."),
    ],
)
def test_senseless_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        fastbp.check_gradient(square, np.ones(2), np.ones(2), **options)


def test_corners_that_hide_each_other_along_a_direction_are_no_mistake() -> None:
    signs = np.tile([1.0, -1.0], 8)
    at = np.zeros(16)
    at[:4] = 1.0
    f = lambda x: float(signs @ np.abs(x))  # noqa: E731
    for seed in range(10):
        gradient = signs * np.random.default_rng(seed).uniform(-1, 1, 16)
        gradient[:4] = signs[:4]
        report = fastbp.check_gradient(f, gradient, at, method="probe", seed=seed)
        assert report.verdict == "passed", report
        gradient[2] += 0.01
        report = fastbp.check_gradient(f, gradient, at, method="probe", seed=seed)
        assert report.verdict != "passed" or report.detectable > 0.01
    many = fastbp.check_gradient(
        lambda x: float(np.tile(signs, 100) @ np.abs(x)),
        np.ones(1600),
        np.zeros(1600),
        method="probe",
        seed=0,
    )
    assert many.verdict in ("inconclusive", "passed")
