"""Exact differences: options, refused data, progress."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.exact_differences import exact
from support.strategies import LOSSES, make_problem

import fastbp
from fastbp.errors import FastbpError, OptionError

# ---- options ----


@pytest.mark.small
def test_exact_is_the_default():
    problem = make_problem([3, 4, 2], 3)
    np.testing.assert_array_equal(exact(problem).flat, exact(problem, method="exact").flat)
    assert (exact(problem).flat != exact(problem, method="replay").flat).any()


@pytest.mark.small
@pytest.mark.parametrize(
    "options", [{"scheme": "central"}, {"scheme": "other"}, {"delta": 1e-6}, {"delta": -1}]
)
def test_scheme_and_delta_belong_to_replay(options):
    problem = make_problem([3, 4, 2], 3)
    (name,) = options
    with pytest.raises(OptionError, match=rf"{name} must be None with method=\"exact\""):
        exact(problem, **options)


@pytest.mark.small
@pytest.mark.parametrize("method", ["secant", "Exact", None, 1])
def test_unknown_methods(method):
    problem = make_problem([2, 2], 1)
    with pytest.raises(OptionError, match=r"method.*'exact'.*'replay'"):
        exact(problem, method=method)


@pytest.mark.small
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["x", "y"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_named(value, name, loss):
    problem = make_problem([3, 4, 2], 3, loss=loss, class_indices=False)
    getattr(problem, name)[1, 1] = value
    with pytest.raises(FastbpError, match=f"^{name} must"):
        exact(problem)


@pytest.mark.small
@given(st.sampled_from([(3, 2), (4, 3)]))
def test_data_of_another_shape_is_named(shape):
    problem = make_problem([4, 4, 2], 2)
    with pytest.raises(FastbpError, match=r"^x .*4"):
        fastbp.finite_differences(problem.network(), np.ones(shape)[:3], problem.y)


# ---- progress ----


@pytest.mark.small
@pytest.mark.parametrize("progress", [None, False])
def test_no_bar_where_there_is_no_terminal(capfd, progress):
    exact(make_problem([3, 4, 2], 3), progress=progress)
    assert capfd.readouterr() == ("", "")


@pytest.mark.small
def test_a_bar_on_stderr_when_asked_for(capsys, monkeypatch):
    monkeypatch.setattr(
        "fastbp.network.sensitivities.exact.OPERATIONS_PER_CALL", 1.0
    )  # every block for itself
    problem = make_problem([3, 4, 5, 2], 3)
    quiet = exact(problem, progress=False)
    loud = exact(problem, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "100%" in captured.err
    np.testing.assert_array_equal(loud.flat, quiet.flat)


@pytest.mark.small
@pytest.mark.parametrize("progress", ["yes", 2])
def test_senseless_progress(progress):
    with pytest.raises(OptionError, match="progress"):
        exact(make_problem([2, 2], 1), progress=progress)
