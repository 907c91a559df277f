"""Ill-scaled networks: right gradients never fail, wrong ones do, and noise alone is vacuous."""

from __future__ import annotations

import numpy as np
import pytest
from support.ill_scaled import Case, as_given, backpropagated, ill_scaled, programs

import fastbp

METHODS = ("certified", "exact", "replay")
FEW = range(40)


def check(case: Case, arrays: list[np.ndarray], method: str) -> fastbp.Report:
    return fastbp.check_network(
        case.net, case.x, case.y, as_given(case, arrays), method=method, seed=0
    )


def right_gradients_pass(seeds: range, method: str) -> None:
    for seed in seeds:
        case = ill_scaled(seed)
        for name, program in programs(case).items():
            gradient = program()
            if all(np.isfinite(array).all() for array in gradient):  # float32 may overflow
                report = check(case, gradient, method)
                assert report.verdict in ("passed", "vacuous"), (seed, case.kind, name, str(report))
                if report.verdict == "vacuous":
                    assert_noise(case, gradient, (seed, name))


def assert_noise(case: Case, gradient: list[np.ndarray], what: tuple[int, str]) -> None:
    """No array of a vacuous gradient is right to a hundredth where it is not 0."""
    exact = backpropagated(case, np.longdouble, np.matmul)
    for given, own in zip(gradient, exact, strict=True):
        size = float(np.linalg.norm(own.astype(np.float64)))
        apart = float(np.linalg.norm((given - own).astype(np.float64)))
        tiny = size <= 1e-30 or not np.any(given)
        assert tiny or given.size == 1 or apart > 1e-3 * size, (*what, case.kind, apart, size)


@pytest.mark.parametrize("method", METHODS)
def test_right_gradients_never_fail(method):
    right_gradients_pass(FEW, method)


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("first", range(1000, 6000, 500))
def test_right_gradients_of_many_networks_never_fail(method, first):
    right_gradients_pass(range(first, first + 500), method)


def wrong_gradients_fail(seeds: range, method: str) -> None:
    found = 0
    for seed in seeds:
        case = ill_scaled(seed)
        gradient = programs(case)["NumPy"]()
        if not all(np.isfinite(array).all() for array in gradient):
            continue
        report = check(case, gradient, method)
        for k, row in enumerate(report.arrays):
            place = np.unravel_index(seed % row.entries, row.shape)
            error = 10.0 * row.detectable
            wrong = [array.copy() for array in gradient]
            with np.errstate(over="ignore"):
                wrong[k][place] += wrong[k].dtype.type(error)
            if wrong[k][place] == gradient[k][place]:  # the type cannot tell
                continue
            failed = check(case, wrong, method)
            assert failed.verdict == "failed", (seed, case.kind, row.name, str(failed))
            assert any(f.array == row.name and f.index == place for f in failed.failures)
            found += 1
    assert found > len(seeds)


@pytest.mark.parametrize("method", METHODS)
def test_an_entry_that_is_wrong_by_ten_bars_is_found(method):
    wrong_gradients_fail(FEW[::2], method)


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS)
def test_wrong_entries_of_many_networks_are_found(method):
    wrong_gradients_fail(range(1000, 1500), method)


def wrong_signs_and_factors_fail(seeds: range, method: str) -> None:
    """Where the gradient itself is right to a thousandth, and no kink is near.

    Not where another program's is not: p - y of a saturated softmax, or the quotients of a replay.
    """
    verdicts = []
    for seed in seeds:
        case = ill_scaled(seed)
        gradient = programs(case)["NumPy"]()
        exact = backpropagated(case, np.longdouble, np.matmul)
        for k, (given, own) in enumerate(zip(gradient, exact, strict=True)):
            size = float(np.linalg.norm(own.astype(np.float64)))
            apart = float(np.linalg.norm((given - own).astype(np.float64)))
            if not (1e-25 < size < 1e25 and apart < 1e-3 * size):
                continue
            for factor in (-1.0, 2.0):
                wrong = list(gradient)
                wrong[k] = given * given.dtype.type(factor)
                report = check(case, wrong, method)
                if max(report.doubtful, default=0) == 0:
                    verdicts.append(report.arrays[k].verdict)
                    assert verdicts[-1] in ("failed", "untested"), (seed, case.kind, k, str(report))
    assert len(verdicts) > len(seeds)
    assert verdicts.count("failed") > 0.75 * len(verdicts)


@pytest.mark.parametrize("method", METHODS)
def test_wrong_signs_and_factors_are_found(method):
    wrong_signs_and_factors_fail(FEW[::2], method)


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS)
def test_wrong_signs_and_factors_of_many_networks_are_found(method):
    wrong_signs_and_factors_fail(range(1000, 1300), method)
