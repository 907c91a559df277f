"""Replay: options, refused data, progress."""

from __future__ import annotations

import numpy as np
import pytest
from support.replays import replay
from support.strategies import make_problem

import fastbp
from fastbp.errors import FastbpError, OptionError

SCHEMES = ("central", "forward")


# ---- options ----


@pytest.mark.small
def test_the_defaults_are_central_and_a_millionth():
    problem = make_problem([3, 4, 2], 3)
    net = problem.network()
    plain = replay(net, problem.x, problem.y)
    spelt_out = replay(net, problem.x, problem.y, scheme="central", delta=1e-6)
    np.testing.assert_array_equal(plain.flat, spelt_out.flat)


@pytest.mark.small
@pytest.mark.parametrize("method", ["secant", "Replay", None, 1])
def test_unknown_methods(method):
    problem = make_problem([2, 2], 1)
    net = problem.network()
    with pytest.raises(OptionError, match=r"method.*replay"):
        replay(net, problem.x, problem.y, method=method)
    with pytest.raises(OptionError, match=r"method.*replay"):
        fastbp.check_network(net, problem.x, problem.y, method=method)


@pytest.mark.small
@pytest.mark.parametrize("scheme", ["backward", "Central", 1])
def test_unknown_schemes(scheme):
    problem = make_problem([2, 2], 1)
    with pytest.raises(OptionError, match=r"scheme.*central.*forward"):
        replay(problem.network(), problem.x, problem.y, scheme=scheme)


@pytest.mark.small
@pytest.mark.parametrize(
    "delta", [0, 0.0, -1e-6, np.nan, np.inf, -np.inf, "1e-6", 1e-6 + 0j, [1e-6], 1e-20, 1e-300]
)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_senseless_steps(delta, scheme):
    problem = make_problem([3, 4, 2], 3)
    with pytest.raises(FastbpError, match="delta"):
        replay(problem.network(), problem.x, problem.y, delta=delta, scheme=scheme)


@pytest.mark.small
def test_a_step_that_one_large_parameter_swallows():
    problem = make_problem([3, 4, 2], 3)
    net = problem.network()
    net.weights[1][1, 2] = 1e11
    with pytest.raises(OptionError, match=r"delta.*weights\[1\]"):
        replay(net, problem.x, problem.y)


@pytest.mark.small
def test_bad_data_is_named():
    problem = make_problem([3, 4, 2], 5)
    with pytest.raises(FastbpError, match=r"^x .*3"):
        replay(problem.network(), problem.x.T, problem.y.T)


# ---- progress ----


@pytest.mark.small
@pytest.mark.parametrize("progress", [None, False])
def test_no_bar_where_there_is_no_terminal(capfd, progress):
    problem = make_problem([3, 4, 2], 3)
    replay(problem.network(), problem.x, problem.y, progress=progress)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


@pytest.mark.small
def test_a_bar_on_stderr_when_asked_for(capsys):
    problem = make_problem([3, 4, 2], 3)
    net = problem.network()
    quiet = replay(net, problem.x, problem.y, progress=False)
    loud = replay(net, problem.x, problem.y, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "100%" in captured.err
    np.testing.assert_array_equal(loud.flat, quiet.flat)


@pytest.mark.small
@pytest.mark.parametrize("progress", ["yes", 2])
def test_senseless_progress(progress):
    problem = make_problem([2, 2], 1)
    with pytest.raises(OptionError, match="progress"):
        replay(problem.network(), problem.x, problem.y, progress=progress)


@pytest.mark.small
def test_the_network_is_called_net_as_in_every_other_function():
    net = fastbp.Network.random([2, 2], seed=1)
    x, y = np.ones((2, 1)), np.zeros((2, 1))
    by_name = fastbp.finite_differences(net=net, x=x, y=y, method="replay")
    assert by_name.flat.tobytes() == replay(net, x, y).flat.tobytes()
