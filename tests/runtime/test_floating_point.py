"""What a caller told NumPy to do with an overflow: functions obey, the library answers as ever."""

from __future__ import annotations

import dataclasses
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import fastbp
from fastbp import notebook
from fastbp.errors import EvaluationError
from fastbp.runtime.floating_point import callers_errstate, own_errstate

pytestmark = pytest.mark.small

RAISE = {"divide": "raise", "over": "raise", "under": "raise", "invalid": "raise"}


def networks() -> dict[str, tuple[fastbp.Network, np.ndarray, np.ndarray]]:
    """Networks in which numbers leave their range, or vanish, somewhere on the way."""
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((3, 4)), rng.standard_normal((2, 4))
    found = {}
    for name, loss, factor in (
        ("usual", "least_squares", 1.0),
        ("large", "least_squares", 1e160),
        ("small", "least_squares", 1e-170),
        ("sure", "softmax_cross_entropy", 1e160),
        ("unsure", "sigmoid_cross_entropy", 1e-170),
    ):
        net = fastbp.Network.random([3, 5, 2], seed=0, loss=loss)
        net.weights[0][:] *= factor
        net.biases[0][:] *= factor
        target = y if loss == "least_squares" else np.full((2, 4), 0.5)
        found[name] = net, x, target
    single = fastbp.Network.random([3, 5, 2], seed=0, dtype=np.float32)
    single.weights[0][:] *= 1e-30
    found["float32, small"] = single, x.astype(np.float32), y.astype(np.float32)
    tiny = fastbp.Network([np.array([[1.0, 1e-170], [0.5, 1.0]]), np.array([[1.0, 2.0]])])
    found["one tiny weight"] = tiny, np.array([[1.0, 2.0], [0.5, 1.0]]), np.array([[0.5, 1.5]])
    custom = fastbp.Network(
        [np.eye(3), np.ones((2, 3))], scale=1e-300, weight_decay=1e-10,
        loss=(lambda output, _: sum(np.ravel(output).tolist()), lambda _, y: 0 * y + 1e-30),
    )  # fmt: skip
    found["custom, small"] = custom, x, y
    dead = fastbp.Network([np.eye(2), np.eye(2)], relu_at_zero=0.5)
    found["zeros"] = dead, np.zeros((2, 3)), np.zeros((2, 3))
    return found


NETWORKS = networks()


def wrong(gradients: fastbp.Gradients, where: float) -> fastbp.Gradients:
    with np.errstate(over="ignore", under="ignore"):
        gradients.weights[0][0, 0] = where
    return gradients


def without_times(report: fastbp.Report) -> fastbp.Report:
    """Leave out when the report was made, and how long that, and to compile, took."""
    return dataclasses.replace(report, seconds=0.0, compile_seconds=0.0, made="")


def checks(method: str, net: fastbp.Network, x: np.ndarray, y: np.ndarray) -> list[object]:
    """Check a right gradient, and wrong ones: of usual size, at both ends of the range, NaN."""
    found: list[object] = []
    for value in (None, 0.25, 1e300, 1e-300, np.nan):
        try:
            given = None
            if value is not None:
                given = wrong(net.loss_and_gradients(x, y)[1], value)
            report = fastbp.check_network(net, x, y, given, method=method, seed=1)
            found.append(without_times(report).to_dict())
            found.append(str(without_times(report)))
        except fastbp.FastbpError as error:
            found.append(repr(error))
    return found


def numbers(net: fastbp.Network, x: np.ndarray, y: np.ndarray) -> list[object]:
    """Everything that a network computes, and its differences with their bars and sides."""
    found: list[object] = []
    for ask in (
        lambda: net.loss(x, y),
        lambda: net.forward(x).output.tolist(),
        lambda: net.loss_and_gradients(x, y)[1].flat.tolist(),
        *(
            lambda method=method: [
                part.flat.tolist()
                for differences in [fastbp.finite_differences(net, x, y, method=method)]
                for part in (
                    differences, differences.error_bar, differences.kinks,
                    differences.left, differences.right,
                )
                if part is not None
            ]
            for method in ("exact", "replay")
        ),
    ):  # fmt: skip
        try:
            found.append(ask())
        except fastbp.FastbpError as error:
            found.append(repr(error))
    return found


def same_under_raise(ask) -> None:
    usual = ask()
    with np.errstate(**RAISE):
        raising = ask()
        assert np.geterr() == RAISE
    np.testing.assert_equal(raising, usual)


EVERYDAY = ("usual", "float32, small")


@pytest.mark.parametrize("method", ["certified", "exact", "replay"])
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in EVERYDAY else [pytest.mark.long]) for name in NETWORKS],
)
def test_checks_of_networks(name: str, method: str) -> None:
    same_under_raise(lambda: checks(method, *NETWORKS[name]))


@pytest.mark.parametrize("name", NETWORKS)
def test_numbers_of_networks(name: str) -> None:
    same_under_raise(lambda: numbers(*NETWORKS[name]))


POINTS = {
    "usual": np.array([0.5, -1.25, 2.0]),
    "small": np.array([1e-300, 0.0, 1.0]),
    "large": np.array([1e150, 1.0, -3.0]),
}


@pytest.mark.parametrize("method", ["every", "probe"])
@pytest.mark.parametrize("at", POINTS.values(), ids=POINTS)
@pytest.mark.parametrize("factor", [2.0, 2.5, 0.0, 1e-300, 1e300, np.nan, np.inf])
def test_checks_of_functions(at: np.ndarray, method: str, factor: float) -> None:
    def ask():
        with np.errstate(all="ignore"):
            given = factor * at
        try:
            report = fastbp.check_gradient(quadratic_in_lists, given, at, method=method, seed=1)
        except fastbp.FastbpError as error:
            return repr(error)
        return str(without_times(report))

    same_under_raise(ask)


def quadratic_in_lists(x) -> float:
    """The same in Python's own floats, which no setting of NumPy touches."""
    return sum(value * value for value in x.tolist())


def test_products_and_numerical_gradients() -> None:
    at = POINTS["small"]

    def f(x):
        a, b, c = x.tolist()
        return np.array([a * b, c * c])

    def vjp(x, w):
        (a, b, c), (u, v) = x.tolist(), w.tolist()
        return np.array([b * u, a * u, 2 * c * v])

    def jvp(x, t):
        (a, b, c), (p, q, r) = x.tolist(), t.tolist()
        return np.array([b * p + a * q, 2 * c * r])

    def ask():
        reports = [
            fastbp.check_vjp(f, vjp, at, seed=2), fastbp.check_jvp(f, jvp, at, seed=2),
            fastbp.check_vjp(f, lambda x, w: vjp(x, w) * 0.5, at, seed=2),
        ]  # fmt: skip
        found = fastbp.numerical_gradient(quadratic_in_lists, at)
        texts = [str(without_times(report)) for report in reports]
        return texts, found.value.tolist(), found.error_bar.tolist()

    same_under_raise(ask)


def test_the_notebook(capsys) -> None:
    def ask():
        weights, biases = notebook.init_params()
        x, y = np.full((1, 2), 1e-170), np.full((1, 2), 20.0)
        output, f, h = notebook.compute_network_output(x, weights, biases)
        slope = notebook.d_loss_d_output(output, y)
        gradients = notebook.backward_pass(weights, biases, f, h, y)
        notebook.check_derivatives(all_weights=weights, all_biases=biases, net_input=x, y=y)
        return output.tolist(), slope.tolist(), str(gradients), capsys.readouterr().out

    same_under_raise(ask)


def test_problem_files(tmp_path: pathlib.Path) -> None:
    net, x, y = NETWORKS["float32, small"]

    def ask():
        fastbp.save_problem(tmp_path / "p.npz", net, x, y)
        return fastbp.load_problem(tmp_path / "p.npz").net.parameters.tolist()

    same_under_raise(ask)


@pytest.mark.long
def test_everything_is_imported_under_raise() -> None:
    program = (
        "import numpy as np; np.seterr(all='raise'); import fastbp; "
        "[getattr(fastbp, name) for name in fastbp.__all__]; import fastbp.notebook; "
        "net = fastbp.Network.random([2, 3, 1]); "
        "assert fastbp.check_network(net, np.ones((2, 4)), np.zeros((1, 4)))"
    )
    subprocess.run([sys.executable, "-P", "-c", program], check=True)


# ---- what belongs to the user runs as the user wants it ----


def states_seen(run, *states: dict[str, str]) -> list[dict[str, str]]:
    """Run under some settings, and return what the function that ``run`` is given saw."""
    seen: list[dict[str, str]] = []
    for state in states:
        with np.errstate(**state):
            run(lambda: seen.append(np.geterr()))
    return seen


def check_a_gradient(note) -> None:
    def f(x):
        note()
        return float(x @ x)

    def gradient(x):
        note()
        return 2 * x

    fastbp.check_gradient(f, gradient, np.ones(2))


def check_a_custom_loss(note) -> None:
    def value(output, y):
        note()
        return float(np.sum((output - y) ** 2))

    def gradient(output, y):
        note()
        return 2 * (output - y)

    net = fastbp.Network([np.eye(2)], loss=(value, gradient))
    net.loss_and_gradients(np.ones((2, 3)), np.zeros((2, 3)))
    fastbp.check_network(net, np.ones((2, 3)), np.zeros((2, 3)))


def check_a_backward_pass(note) -> None:
    net = fastbp.Network([np.eye(2)])

    def backward(_weights, _biases, x, y):
        note()
        return net.loss_and_gradients(x, y)[1].weights, None

    fastbp.check_network(net, np.ones((2, 3)), np.zeros((2, 3)), backward)


@pytest.mark.parametrize("run", [check_a_gradient, check_a_custom_loss, check_a_backward_pass])
def test_functions_of_users_run_under_the_users_setting(run) -> None:
    quiet = dict.fromkeys(RAISE, "ignore")
    mixed = RAISE | {"under": "ignore"}
    for state in (RAISE, mixed, quiet):
        seen = states_seen(run, state)
        assert seen
        assert all(one == state for one in seen)


def test_an_underflow_that_the_user_wants_to_see_is_seen() -> None:
    def f(x):
        return float(np.sum(x * np.float64(1e-200) * np.float64(1e-200)))

    assert fastbp.check_gradient(f, lambda x: 0 * x, np.ones(2)).verdict == "vacuous"
    with np.errstate(under="raise"), pytest.raises(EvaluationError) as caught:
        fastbp.check_gradient(f, lambda x: 0 * x, np.ones(2))
    assert isinstance(caught.value.__cause__, FloatingPointError)


def test_a_check_inside_a_function_that_is_checked() -> None:
    """Each level has a setting of its own: that of whoever called it."""
    seen = []

    def inner(x):
        seen.append(np.geterr()["under"])
        return float(x @ x)

    def outer(x):
        with np.errstate(under="raise"):
            assert fastbp.check_gradient(inner, lambda x: 2 * x, np.ones(1))
        seen.append(np.geterr()["under"])
        return float(x @ x)

    with np.errstate(under="ignore"):
        fastbp.check_gradient(outer, lambda x: 2 * x, np.ones(1), method="every")
    assert set(seen) == {"raise", "ignore"}
    changes = [one for one, two in zip(seen, [*seen[1:], None], strict=True) if one != two]
    assert changes[:2] == ["raise", "ignore"]


def test_the_callers_setting_comes_back_after_an_exception() -> None:
    @own_errstate
    def fails(user):
        with callers_errstate():
            user()

    def user():
        assert np.geterr() == RAISE
        raise KeyError("user")

    with np.errstate(**RAISE):
        for _ in range(2):
            with pytest.raises(KeyError):
                fails(user)
            assert np.geterr() == RAISE


def test_warnings_are_kept_from_points_that_the_user_did_not_choose() -> None:
    with np.errstate(divide="warn", over="print", under="raise", invalid="ignore"):
        with callers_errstate(warn=False):
            assert np.geterr() == {
                "divide": "ignore", "over": "ignore", "under": "raise", "invalid": "ignore",
            }  # fmt: skip
        with callers_errstate():
            assert np.geterr()["divide"] == "warn"
