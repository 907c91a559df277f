"""The option `entries`: some entries are differenced, and the report says how many."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import fastbp

pytestmark = pytest.mark.small

AT = {"layer": {"bias": np.array([0.5, -1.5]), "weight": np.arange(1.0, 7.0).reshape(2, 3)}}
METHODS = pytest.mark.parametrize("method", ["every", "probe"])


def f(p: Any) -> Any:
    return np.sum(p["layer"]["weight"] ** 2) + np.sum(p["layer"]["bias"] ** 3)


def gradient(p: Any) -> Any:
    return {"layer": {"bias": 3 * p["layer"]["bias"] ** 2, "weight": 2 * p["layer"]["weight"]}}


def wrong_at(*places: Any) -> Any:
    def wrong(p: Any) -> Any:
        given = gradient(p)
        for name, index in places:
            given["layer"][name][index] += 1.0
        return given

    return wrong


def check(entries: Any, given: Any = gradient, **options: Any) -> fastbp.Report:
    return fastbp.check_gradient(f, given, AT, entries=entries, seed=5, **options)


@METHODS
class TestNames:
    @pytest.mark.parametrize(
        "entries",
        ["p['layer']['weight']", "layer.weight", "*weight*", ["layer.w?ight"], ("*.weight",)],
    )
    def test_only_arrays_of_that_name_are_judged(self, entries: Any, method: str) -> None:
        report = check(entries, wrong_at(("bias", 0)), method=method)
        assert report.verdict == "passed"
        assert [(row.entries, row.verdict) for row in report.arrays] == [
            (0, "untested"), (6, "passed"),
        ]  # fmt: skip
        assert report.arrays[0].reason == "none of its entries was chosen"
        assert "6 of 8 entries were chosen; the others are not judged" in report.notes

    def test_an_entry_is_named_as_reports_write_it(self, method: str) -> None:
        wrong = wrong_at(("weight", (1, 2)), ("weight", (0, 0)))
        report = check("p['layer']['weight'][1, 2]", wrong, method=method)
        assert [failure.where for failure in report.failures] == ["p['layer']['weight'][1, 2]"]
        assert report.entries == 1

    def test_wrong_entries_among_chosen_ones_have_their_own_places(self, method: str) -> None:
        every = wrong_at(("weight", (1, 0)), ("bias", 1))
        first = check(None, every, method=method)
        again = check([failure.where for failure in first.failures], every, method=method)
        assert {failure.where for failure in again.failures} == {
            "p['layer']['weight'][1, 0]", "p['layer']['bias'][1]",
        }  # fmt: skip
        assert again.entries == 2


@METHODS
class TestMasks:
    def test_masks_in_the_structure_of_the_argument(self, method: str) -> None:
        mask = np.array([[True, False, True], [False, False, False]])
        wrong = wrong_at(("weight", (0, 1)), ("weight", (0, 2)))
        report = check({"layer": {"bias": False, "weight": mask}}, wrong, method=method)
        assert [failure.where for failure in report.failures] == ["p['layer']['weight'][0, 2]"]
        assert report.entries == 2

    def test_a_mask_of_one_array(self, method: str) -> None:
        at = np.arange(1.0, 5.0)
        report = fastbp.check_gradient(
            lambda x: np.sum(x**2), lambda x: 2 * x + [0, 0, 0, 1.0], at, entries=at < 4,
            method=method,
        )  # fmt: skip
        assert (report.verdict, report.entries) == ("passed", 3)

    def test_a_nan_that_is_not_chosen_is_not_judged(self, method: str) -> None:
        at = np.arange(1.0, 5.0)
        given = 2 * at
        given[3] = np.nan
        report = fastbp.check_gradient(
            lambda x: np.sum(x**2), given, at, entries=at < 4, method=method
        )
        assert report.verdict == "passed"


class TestNumber:
    def test_so_many_entries_are_drawn_with_the_seed(self) -> None:
        calls: list[Any] = []

        def counted(p: Any) -> Any:
            calls.append(np.concatenate([p["layer"]["bias"], p["layer"]["weight"].reshape(-1)]))
            return f(p)

        base = np.concatenate([AT["layer"]["bias"], AT["layer"]["weight"].reshape(-1)])
        moved = []
        for _ in range(2):
            calls.clear()
            report = fastbp.check_gradient(counted, gradient, AT, entries=3, seed=5)
            assert (report.verdict, report.entries) == ("passed", 3)
            moved.append(np.any(np.array(calls) != base, axis=0))
        assert moved[0].sum() == 3
        assert np.array_equal(*moved)

    def test_more_than_there_are_means_all(self) -> None:
        assert check(100).entries == 8


class TestProducts:
    at = np.array([1.0, 2.0, 3.0])

    def test_a_vjp_is_judged_at_some_entries(self) -> None:
        def vjp(x: Any, w: Any) -> Any:
            return 2 * x * w * [1, 1, 1.5]

        assert not fastbp.check_vjp(lambda x: x**2, vjp, self.at)
        report = fastbp.check_vjp(lambda x: x**2, vjp, self.at, entries=self.at < 3)
        assert (report.verdict, report.entries) == ("passed", 2)

    @METHODS
    def test_a_jvp_is_asked_along_some_entries(self, method: str) -> None:
        def jvp(x: Any, v: Any) -> Any:
            return 2 * x * v * [1, 1, 1.5]

        assert not fastbp.check_jvp(lambda x: x**2, jvp, self.at, method=method)
        report = fastbp.check_jvp(lambda x: x**2, jvp, self.at, entries=self.at < 3, method=method)
        assert report.verdict == "passed"
        assert "2 of 3 entries were chosen; the others are not judged" in report.notes

    def test_a_wrong_column_keeps_its_place(self) -> None:
        report = fastbp.check_jvp(
            lambda x: x**2, lambda x, v: 2 * x * v * [1, 1, 1.5], self.at, method="every",
            entries="x[2]",
        )  # fmt: skip
        assert [failure.where for failure in report.failures] == ["output by x[2, 2]"]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("weights", r"entries: 'weights' matches none of p\['layer'\]\['bias'\], p\['layer'\]\['w"),
        (["layer.bias", "layer.weight[2, 0]"], r"entries: 'layer.weight\[2, 0\]' matches none of"),
        (0, "entries must be at least 1, not 0"),
        (False, "entries must be True, False or a mask|entries must be names"),
        (
            {"layer": {"bias": np.array([True])}},
            r"entries\['layer'\]\['bias'\] must be True, False",
        ),
        ({"layer": {"bias": 1.0}}, "must be True, False or a mask of shape .2,., not float64"),
        ({"other": True}, r"there is no array for entries\['other'\]"),
        ({"layer": {"bias": False}}, "entries must choose at least one entry"),
    ],
)
def test_entries_that_mean_nothing_are_refused(entries: Any, message: str) -> None:
    with pytest.raises(fastbp.OptionError, match=message):
        check(entries)


def test_some_entries_of_very_many_cost_little() -> None:
    at = np.linspace(-1.0, 1.0, 10_000)
    report = fastbp.check_gradient(lambda x: np.sum(x**2), lambda x: 2 * x, at, entries=100)
    assert (report.verdict, report.entries) == ("passed", 100)
    assert report.evaluations < 600


@pytest.mark.parametrize("form", [np.asarray, sparse.csc_array, aslinearoperator])
@METHODS
def test_symmetry_is_that_of_the_chosen_entries(form: Any, method: str) -> None:
    matrix = np.array([[2.0, 1.0, 0.5], [1.0, 3.0, 1.0], [0.5, 1.0, 4.0]])
    wrong = matrix.copy()
    wrong[0, 1] = 9.0

    def gradient(x: np.ndarray) -> Any:
        return matrix @ x

    for entries, verdict in ((["x[0]", "x[2]"], "passed"), (["x[0]", "x[1]"], "failed")):
        options: Any = {"entries": entries, "method": method, "seed": 0}
        report = fastbp.check_hessian(gradient, form(wrong), np.ones(3), **options)
        assert report.arrays[-1].verdict == verdict
        assert report.arrays[-1].name == "hessian, symmetry"
        report = fastbp.check_hvp(gradient, lambda _, v: wrong @ v, np.ones(3), **options)
        assert report.arrays[-1].verdict == verdict
        assert report.arrays[-1].name == "hvp, symmetry"


def test_rmatvec_is_compared_in_the_chosen_columns() -> None:
    matrix = np.array([[2.0, 1.0], [1.0, 3.0]])
    wrong = np.array([[2.0, 2.0], [1.0, 3.0]])
    given = LinearOperator(
        (2, 2), matvec=lambda v: matrix @ v, rmatvec=lambda u: wrong.T @ u, dtype=np.float64
    )
    for entries, verdict in (("x[0]", "passed"), ("x[1]", "failed")):
        report = fastbp.check_jacobian(lambda x: matrix @ x, given, np.ones(2), entries=entries)
        assert report.verdict == verdict


@pytest.mark.parametrize("name", ["x[,]", "x[ ]", "x[0 1]", "x[0,]", "x[" + "9" * 20 + "]"])
def test_an_index_that_is_none_is_an_unknown_name(name: str) -> None:
    with pytest.raises(fastbp.OptionError, match="matches none of x"):
        fastbp.check_gradient(lambda x: np.sum(x), np.ones(2), np.ones(2), entries=name)


def test_a_hessian_by_some_entries() -> None:
    hessian = 6 * np.eye(3)
    hessian[2, 2] = 0.0
    for entries, verdict in (("x[0]", "passed"), ("x[2]", "failed"), (3, "failed")):
        report = fastbp.check_hessian(lambda x: 3 * x**2, hessian, np.ones(3), entries=entries)
        assert report.verdict == verdict
