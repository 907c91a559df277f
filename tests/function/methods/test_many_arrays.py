"""method="probe" over many arrays: directions across all of them, and down to the wrong ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastbp

pytestmark = pytest.mark.small


def tree(arrays: int, size: int = 2) -> list[np.ndarray]:
    return [np.random.default_rng(seed).normal(size=size) for seed in range(arrays)]


def sines(p: list[Any]) -> float:
    return float(np.sum(np.sin(np.concatenate(p))))


def cosines(p: list[Any]) -> list[Any]:
    return [np.cos(array) for array in p]


def probed(at: list[Any], gradient: Any, f: Any = sines, **options: Any) -> fastbp.Report:
    return fastbp.check_gradient(f, gradient, at, method="probe", seed=0, **options)


@pytest.mark.long
def test_two_thousand_arrays_take_no_more_evaluations_than_one() -> None:
    assert probed(tree(2000), cosines).evaluations <= probed(tree(1, 4000), cosines).evaluations + 4


def test_wrong_arrays_and_entries_among_many_are_found_and_no_others() -> None:
    at = tree(300, 3)
    gradient = cosines(at)
    gradient[17][1] += 1e-5
    gradient[205] *= 2
    report = probed(at, gradient)
    assert {failure.where for failure in report.failures} == {
        "p[17][1]", "p[205][0]", "p[205][1]", "p[205][2]",
    }  # fmt: skip
    wrong = [place for place, row in enumerate(report.arrays) if row.verdict == "failed"]
    assert wrong == [17, 205]
    assert report.arrays[205].factor == pytest.approx(2)
    assert {row.verdict for row in report.arrays} == {"failed", "passed"}
    assert report.evaluations < 600
    assert "of 298 arrays together and of 2 alone, seed 0" in report.notes[0]


def test_an_error_above_the_detectable_one_is_seen_in_arrays_of_every_size() -> None:
    """Arrays of 1e-6 beside arrays of 1e3, and derivatives the other way round."""
    scales = 10.0 ** np.arange(-6, 4)
    at = [scale * array for scale, array in zip(scales, tree(10, 20), strict=True)]

    def f(p: list[Any]) -> float:
        return float(sum(np.sum(np.sin(a / s)) for a, s in zip(p, scales, strict=True)))

    right = [np.cos(a / s) / s for a, s in zip(at, scales, strict=True)]
    report = probed(at, right, f)
    assert report.verdict == "passed"
    for place in range(10):
        wrong = [array.copy() for array in right]
        wrong[place][7] += 1.05 * report.arrays[place].detectable
        found = probed(at, wrong, f)
        assert [failure.where for failure in found.failures] == [f"p[{place}][7]"]


def test_arrays_that_are_faint_beside_others_are_looked_at_on_their_own() -> None:
    at = tree(40, 5)

    def f(p: list[Any]) -> float:
        return sum(np.sum(np.sin(a)) for a in p[:39]) + 1e-9 * float(np.sum(np.sin(p[39])))

    gradient = cosines(at)
    gradient[39] *= 1e-9
    assert probed(at, gradient, f).verdict == "passed"
    report = probed(at, [*gradient[:39], 3 * gradient[39]], f)
    assert [row.verdict for row in report.arrays] == ["passed"] * 39 + ["failed"]


def test_arrays_that_are_zero_on_both_sides_are_untested_and_others_fail() -> None:
    at = tree(30, 4)
    f = lambda p: float(np.sum(np.sin(np.concatenate(p[:20]))))  # noqa: E731
    gradient = cosines(at[:20]) + [np.zeros(4)] * 10
    report = probed(at, gradient, f)
    assert report.verdict == "passed"
    assert [(row.verdict, row.zero) for row in report.arrays[20:]] == [("untested", 4)] * 10
    gradient[3] = np.zeros(4)
    assert probed(at, gradient, f).arrays[3].verdict == "failed"


def test_auto_takes_the_cheaper_method() -> None:
    at = tree(400, 3)
    assert fastbp.check_gradient(sines, cosines, at, budget=0.5).method == "probe"
    few = [np.array([1.0]), np.array([2.0])]

    def slow(p: list[Any]) -> float:
        return sines([np.tile(array, 200_000) for array in p]) / 200_000

    report = fastbp.check_gradient(slow, cosines, few)
    assert report.method == "every"


@pytest.mark.long
def test_arrays_in_float32_alone_among_many() -> None:
    at = [array.astype(np.float32) for array in tree(60, 8)]

    def f(p: list[Any]) -> np.float32:
        assert p[0].dtype == np.float32
        return np.sum(np.sin(np.concatenate(p)), dtype=np.float32)

    gradient = cosines(at)
    report = probed(at, gradient, f)
    assert report.verdict == "passed"
    gradient[31] = -gradient[31]
    report = probed(at, gradient, f)
    assert [place for place, row in enumerate(report.arrays) if row.verdict == "failed"] == [31]


def test_workers_and_vectorized_functions_move_many_arrays_at_once() -> None:
    from concurrent.futures import ThreadPoolExecutor

    at = tree(50)
    alone = probed(at, cosines)
    with ThreadPoolExecutor(2) as pool:
        assert probed(at, cosines, workers=pool).arrays == alone.arrays

    def many(p: list[Any]) -> Any:
        return np.array([sines([array[i] for array in p]) for i in range(len(p[0]))])

    assert probed(at, cosines(at), many, vectorized=True).arrays == alone.arrays


def test_bounds_hold_for_all_arrays_at_once() -> None:
    at = [np.array([0.0, 0.5]), np.array([1.0, 0.25])]

    def f(p: list[Any]) -> float:
        values = np.concatenate(p)
        assert values.min() >= 0
        assert values.max() <= 1
        return float(np.sum(values**2))

    report = probed(at, lambda p: [2 * array for array in p], f, bounds=(0, 1))
    assert report.verdict == "passed"
