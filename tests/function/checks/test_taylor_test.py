"""taylor_test: rates of remainders, what noise and kinks do to them, and the table."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.linalg import aslinearoperator

import fastbp
from fastbp.errors import DTypeError, GradientMismatchError, OptionError, ShapeError

pytestmark = pytest.mark.small


def rosenbrock(x: np.ndarray) -> float:
    return float(np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2))


def rosenbrock_gradient(x: np.ndarray) -> np.ndarray:
    inner = x[1:] - x[:-1] ** 2
    gradient = np.zeros_like(x)
    gradient[:-1] = -400 * inner * x[:-1] - 2 * (1 - x[:-1])
    gradient[1:] += 200 * inner
    return gradient


def flow(params: dict[str, np.ndarray]) -> float:
    """Half the squared end of an explicit Euler integration of y' = tanh(W y)."""
    y = params["y"]
    for _ in range(20):
        y = y + 0.05 * np.tanh(params["W"] @ y)
    return float(y @ y) / 2


def adjoint(params: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    states = [params["y"]]
    for _ in range(20):
        states.append(states[-1] + 0.05 * np.tanh(params["W"] @ states[-1]))
    back, by_w = states[-1].copy(), np.zeros_like(params["W"])
    for y in reversed(states[:-1]):
        inner = 0.05 * back * (1 - np.tanh(params["W"] @ y) ** 2)
        by_w += np.outer(inner, y)
        back = back + params["W"].T @ inner
    return {"W": by_w, "y": back}


def at_random(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"W": rng.normal(size=(3, 3)), "y": rng.normal(size=3)}


def test_rates_of_a_right_gradient_are_one_and_two_in_eight_evaluations() -> None:
    for seed in range(20):
        x = np.random.default_rng(seed).normal(size=6)
        result = fastbp.taylor_test(rosenbrock, rosenbrock_gradient, x, seed=seed)
        assert result.verdict == "passed", result
        assert result.evaluations == 8
        np.testing.assert_allclose(result.rates[1], 2.0, atol=0.1)
        assert bool(result)
        result.raise_unless_passed()


def test_an_adjoint_of_an_integrator_passes_and_a_wrong_one_fails() -> None:
    for seed in range(20):
        at = at_random(seed)
        assert fastbp.taylor_test(flow, adjoint, at, seed=seed).verdict == "passed"
        assert fastbp.taylor_test(flow, adjoint(at), at, seed=seed).verdict == "passed"

        def forgets_the_last_step(params: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            right = adjoint(params)
            return right | {"W": 0.95 * right["W"]}

        wrong = fastbp.taylor_test(flow, forgets_the_last_step, at, seed=seed)
        assert wrong.verdict == "failed", wrong
        assert wrong.reason.startswith("<g, v> is ")
        known = wrong.rates[1][np.isfinite(wrong.rates[1])]
        assert known[-1] == pytest.approx(1.0, abs=0.1)


def test_a_wrong_gradient_raises_with_its_table() -> None:
    result = fastbp.taylor_test(rosenbrock, np.ones(4), np.arange(4.0), seed=0)
    with pytest.raises(GradientMismatchError) as error:
        result.raise_unless_passed()
    assert error.value.report is result
    assert str(error.value).startswith("The gradient is wrong: <g, v> is ")
    assert "... - h <g, v>   rate" in str(error.value)
    with pytest.raises(OptionError, match="allow must be"):
        result.raise_unless_passed(allow="inconclusive")
    assert pickle.loads(pickle.dumps(result)).verdict == "failed"


def test_the_table() -> None:
    result = fastbp.taylor_test(lambda x: float(x[0] ** 2), lambda x: 2 * x, np.ones(1), seed=4)
    lines = str(result).splitlines()
    assert lines[0] == "PASSED: Taylor test of <lambda>(x), float64"
    assert lines[1].startswith("along seed 4: <g, v> = ")
    assert lines[2] == "the remainder of the linear model falls as h^2.00"
    assert lines[4].split("   ")[-1] == "rate"
    assert len(lines) == 6 + len(result.steps)
    assert [line.split()[-1] for line in lines[7:]] == ["2.00"] * 5
    assert repr(result) == "<TaylorTest: passed, <lambda>(x)>"


def test_single_precision_inside_leaves_out_the_rates_that_noise_spoils() -> None:
    def f(x: np.ndarray) -> float:
        return float(np.float32(rosenbrock(x)))

    for seed in range(20):
        x = np.random.default_rng(seed).normal(size=6)
        right = fastbp.taylor_test(f, rosenbrock_gradient, x, seed=seed)
        assert right.verdict == "passed", right
        wrong = fastbp.taylor_test(f, 1.1 * rosenbrock_gradient(x), x, seed=seed)
        assert wrong.verdict == "failed", wrong


def test_a_function_that_takes_single_precision_alone() -> None:
    def f(x: np.ndarray) -> float:
        assert x.dtype == np.float32
        return np.sum(np.sin(x) * x)

    def gradient(x: np.ndarray) -> np.ndarray:
        return np.cos(x) * x + np.sin(x)

    for seed in range(10):
        x = np.random.default_rng(seed).normal(size=5).astype(np.float32)
        result = fastbp.taylor_test(f, gradient, x, seed=seed)
        assert result.verdict != "failed", result
        assert result.dtype == "float32"
        assert fastbp.taylor_test(f, -gradient(x), x, seed=seed).verdict == "failed"


def test_noise_that_is_allowed() -> None:
    rng = np.random.default_rng(0)

    def f(x: np.ndarray) -> float:
        return rosenbrock(x) + 1e-4 * rng.normal()

    x = np.random.default_rng(1).normal(size=6)
    result = fastbp.taylor_test(f, rosenbrock_gradient, x, noise=0.1, seed=0)
    assert result.verdict == "passed", result
    assert 1e-5 < result.noise < 1e-3
    assert any("is not deterministic" in note for note in result.notes)
    result = fastbp.taylor_test(f, rosenbrock_gradient, x, seed=0)
    assert result.verdict == "failed"
    assert "called twice at the same point" in result.reason


def test_a_kink_at_the_point_is_inconclusive_and_named() -> None:
    result = fastbp.taylor_test(
        lambda x: float(np.sum(np.abs(x))), np.sign, np.array([0.0, 1.0, -2.0]), seed=0
    )
    assert result.verdict == "inconclusive"
    assert result.reason.startswith("f has a kink at the point: its slopes along v are ")
    result.raise_unless_passed(allow=["inconclusive"])
    with pytest.raises(GradientMismatchError, match="The gradient could not be judged: f has a"):
        result.raise_unless_passed()


def test_a_kink_beside_the_point_is_stepped_before() -> None:
    result = fastbp.taylor_test(
        lambda x: float(np.sum(np.maximum(x, 0) ** 2 + 5 * np.maximum(x - 1.001, 0))),
        lambda x: 2 * np.maximum(x, 0) + 5 * (x > 1.001),
        np.array([1.0, 1.0]),
        direction=np.ones(2),
    )
    assert result.verdict == "passed", result
    assert result.seed is None
    assert "along the given direction" in str(result)


def test_linear_functions_pass_without_a_rate() -> None:
    result = fastbp.taylor_test(lambda x: float(3 * x[0] - x[1]), np.array([3.0, -1.0]), np.ones(2))
    assert result.verdict == "passed"
    assert result.reason == "f is linear along v, and <g, v> is its slope"
    assert np.isnan(result.rates[1]).all()
    assert 0 < result.detectable < 1e-10


def test_what_cannot_be_judged() -> None:
    constant = fastbp.taylor_test(lambda _: 1.0, np.zeros(2), np.ones(2))
    assert constant.verdict == "inconclusive"
    assert constant.reason.endswith("nothing was tested")
    broken = fastbp.taylor_test(lambda _: np.nan, np.zeros(2), np.ones(2))
    assert (broken.verdict, broken.reason) == ("inconclusive", "f is nan at the point")
    edge = fastbp.taylor_test(lambda x: 0.0 if x[0] == 1 else np.nan, np.zeros(1), np.ones(1))
    assert edge.verdict == "inconclusive"
    assert edge.reason == "f has no finite slope along v, or is not finite there"


@pytest.mark.parametrize(
    ("gradient", "reason"),
    [
        (lambda _: np.ones(3), "the gradient by x must have shape (2,), not (3,)"),
        (lambda _: np.array([np.nan, 1.0]), "the gradient by x is not finite"),
        (lambda _: {"x": np.ones(2)}, "gradient['x'] is not in the argument"),
        (lambda x: x.fill(7.0) or x, "gradient changed its argument: x"),
    ],
)
def test_a_gradient_that_cannot_be_used_fails(gradient: Any, reason: str) -> None:
    result = fastbp.taylor_test(rosenbrock, gradient, np.array([0.5, 0.5]))
    assert (result.verdict, result.reason) == ("failed", reason)


def test_a_function_that_changes_its_argument_fails() -> None:
    def f(x: np.ndarray) -> float:
        x *= 2
        return float(np.sum(x))

    result = fastbp.taylor_test(f, 2 * np.ones(2), np.ones(2))
    assert (result.verdict, result.reason) == ("failed", "f changed its argument: x")


def test_structured_points_are_moved_along_their_set() -> None:
    rng = np.random.default_rng(0)
    root = rng.normal(size=(4, 4))
    matrix = root @ root.T + np.eye(4)

    def f(a: np.ndarray) -> float:
        return float(2 * np.sum(np.log(np.diagonal(np.linalg.cholesky(a)))))

    at = fastbp.positive_definite(matrix)
    result = fastbp.taylor_test(f, np.linalg.inv, at, seed=0)
    assert result.verdict == "passed", result
    assert "along positive definite matrices" in str(result)
    assert fastbp.taylor_test(f, lambda a: np.linalg.inv(a) / 2, at).verdict == "failed"
    assert fastbp.taylor_test(f, np.linalg.inv, matrix).verdict == "failed"


def test_tiny_probabilities_are_moved_by_their_own_size() -> None:
    def entropy(p: np.ndarray) -> float:
        return float(-np.sum(p * np.log(p)))

    for seed in range(10):
        z = 5 * np.random.default_rng(seed).normal(size=6)
        p = np.exp(z - z.max()) / np.sum(np.exp(z - z.max()))
        result = fastbp.taylor_test(entropy, lambda p: -np.log(p), fastbp.simplex(p), seed=seed)
        assert result.verdict == "passed", result
        assert result.evaluations == 8
        wrong = fastbp.taylor_test(entropy, lambda p: -1.01 * np.log(p), fastbp.simplex(p))
        assert wrong.verdict == "failed", wrong


def test_bounds_are_kept() -> None:
    seen = []

    def f(x: np.ndarray) -> float:
        seen.append(x.copy())
        return float(np.sum(x**1.5))

    x = np.array([0.0, 1.0])
    result = fastbp.taylor_test(
        f, lambda x: 1.5 * np.sqrt(x), x, bounds=(0.0, 1.0), scale=1.0, seed=0
    )
    assert result.verdict != "failed", result
    assert np.min(seen) >= 0
    assert np.max(seen) <= 1


@pytest.mark.parametrize(
    ("direction", "message"),
    [
        (np.ones(3), r"direction must be of real numbers of shape \(2,\) for x, not float64 of"),
        (
            {"x": np.ones(2)},
            r"direction must be of real numbers of shape \(2,\) for x, not nothing",
        ),
        (np.array([1.0, np.inf]), "direction must be finite, but it is not for x"),
        (np.zeros(2), "direction must not be 0"),
    ],
)
def test_senseless_directions_are_refused(direction: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        fastbp.taylor_test(rosenbrock, rosenbrock_gradient, np.ones(2), direction=direction)


def test_senseless_arguments_are_refused() -> None:
    with pytest.raises(OptionError, match="noise"):
        fastbp.taylor_test(rosenbrock, rosenbrock_gradient, np.ones(2), noise=-1.0)
    with pytest.raises(DTypeError):
        fastbp.taylor_test(rosenbrock, rosenbrock_gradient, np.ones(2, dtype=int))
    with pytest.raises(ShapeError, match="f must return one number"):
        fastbp.taylor_test(np.sin, np.cos, np.ones(2))


def test_the_same_seed_gives_the_same_bits_and_none_draws_one() -> None:
    x = np.arange(1.0, 5.0)
    one, two = (fastbp.taylor_test(rosenbrock, rosenbrock_gradient, x, seed=5) for _ in range(2))
    for first, second in zip(one.remainders, two.remainders, strict=True):
        np.testing.assert_array_equal(first, second)
    drawn = fastbp.taylor_test(rosenbrock, rosenbrock_gradient, x)
    assert drawn.seed is not None
    again = fastbp.taylor_test(rosenbrock, rosenbrock_gradient, x, seed=drawn.seed)
    np.testing.assert_array_equal(again.remainders[1], drawn.remainders[1])


@given(
    st.lists(st.sampled_from([(), (0,), (1,), (3,), (2, 0), (1, 5)]), min_size=1, max_size=4),
    st.integers(0, 10_000),
)
def test_points_of_every_shape(shapes: list[tuple[int, ...]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    at = [rng.normal(size=shape) for shape in [*shapes, (2,)]]

    def f(params: list[np.ndarray]) -> float:
        return float(sum(np.sum(np.exp(array)) for array in params))

    right = fastbp.taylor_test(f, [np.exp(array) for array in at], at, seed=seed)
    assert right.verdict == "passed", right
    wrong = [np.exp(array) for array in at]
    wrong[-1][1] *= 1.2
    assert fastbp.taylor_test(f, wrong, at, seed=seed).verdict == "failed"


# ---- second order ----


def rosenbrock_hessian(x: np.ndarray) -> np.ndarray:
    hessian = np.diag(np.append(1200 * x[:-1] ** 2 - 400 * x[1:] + 2, 0.0))
    hessian += np.diag(np.append(0.0, np.full(x.size - 1, 200.0)))
    beside = -400 * x[:-1]
    return hessian + np.diag(beside, 1) + np.diag(beside, -1)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array, aslinearoperator])
def test_a_right_hessian_has_rates_of_three(form: Any) -> None:
    for seed in range(10):
        x = np.random.default_rng(seed).normal(size=5)
        result = fastbp.taylor_test(
            rosenbrock, rosenbrock_gradient, x, hessian=form(rosenbrock_hessian(x)), seed=seed
        )
        assert result.verdict == "passed", result
        assert len(result.remainders) == len(result.rates) == 3
        known = result.rates[2][np.isfinite(result.rates[2])]
        np.testing.assert_allclose(np.median(known), 3.0, atol=0.15)
        assert "... - h^2/2 <v, H v>" in str(result)


def test_a_wrong_hessian_fails_though_the_gradient_is_right() -> None:
    for seed in range(10):
        x = np.random.default_rng(seed).normal(size=5)
        result = fastbp.taylor_test(
            rosenbrock, rosenbrock_gradient, x, seed=seed,
            hessian=lambda x: rosenbrock_hessian(x) + 50 * np.eye(5),
        )  # fmt: skip
        assert result.verdict == "failed", result
        assert "is not the second derivative along v" in result.reason
        assert fastbp.taylor_test(rosenbrock, rosenbrock_gradient, x, seed=seed)


def test_quadratic_functions_leave_nothing_of_their_model() -> None:
    def f(x: np.ndarray) -> float:
        return float(np.sum(x**2) + x[0] * x[1])

    x = np.array([0.5, -1.0])
    gradient = 2 * x + x[::-1]
    right = np.array([[2.0, 1.0], [1.0, 2.0]])
    result = fastbp.taylor_test(f, gradient, x, hessian=right, seed=0)
    assert result.verdict == "passed", result
    assert result.reason == "nothing is left of the quadratic model, but rounding"
    assert fastbp.taylor_test(f, gradient, x, hessian=2 * right, seed=0).verdict == "failed"


def test_hessians_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"hessian must have shape \(2, 2\), not \(3, 3\)"):
        fastbp.taylor_test(rosenbrock, rosenbrock_gradient, np.ones(2), hessian=np.eye(3))
    with pytest.raises(OptionError, match="taylor_test with a hessian takes no structured points"):
        fastbp.taylor_test(
            rosenbrock, rosenbrock_gradient, fastbp.sphere(np.ones(2)), hessian=np.eye(2)
        )


@pytest.fixture
def axes() -> Iterator[Any]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot.figure().add_subplot()
    pyplot.close("all")


def test_a_plot_shows_remainders_beside_lines_of_their_slope(axes: Any) -> None:
    result = fastbp.taylor_test(rosenbrock, rosenbrock_gradient, np.arange(1.0, 4.0), seed=0)
    assert result.plot(axes) is axes
    assert [line.get_label() for line in axes.lines] == [
        "remainder of order 0", "slope 1", "remainder of order 1", "slope 2",
    ]  # fmt: skip
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    np.testing.assert_array_equal(axes.lines[2].get_ydata(), result.remainders[1])
    np.testing.assert_allclose(axes.lines[3].get_ydata(), result.remainders[1], rtol=0.1)
    assert axes.get_title() == "rosenbrock(x): passed"


@pytest.mark.filterwarnings("error")
def test_a_plot_shows_what_is_finite_and_names_as_they_are(axes: Any) -> None:
    result = fastbp.taylor_test(rosenbrock, rosenbrock_gradient, np.arange(1.0, 4.0), seed=0)
    remainders = [np.full(len(result.steps), np.inf), np.zeros(len(result.steps))]
    remainders[1][2] = 1e-5
    odd = replace(result, remainders=remainders, function="$\\frac{$\u4e2d" + "x" * 10_000)
    odd.plot(axes)
    axes.figure.canvas.draw()
    assert axes.lines[0].get_ydata().tolist() == [1e-5]
    assert axes.get_title() == "$\\frac{$" + r"\u4e2d" + "x" * 11 + "..." + "x" * 12 + ": passed"


def test_a_plot_without_matplotlib_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = fastbp.taylor_test(rosenbrock, rosenbrock_gradient, np.ones(2))
    with pytest.raises(OptionError, match=r'plot needs matplotlib: python -m pip install "fastbp'):
        result.plot()
