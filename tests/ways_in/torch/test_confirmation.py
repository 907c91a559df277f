"""Right gradients are confirmed in few operations, and nothing else is."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import fastbp.torch  # noqa: E402

GENERAL = {"most": 11}  # an option that nobody but the general methods obeys


def scaled(f: Any, factor: Any) -> Any:
    """Return a function whose backward pass is that of f, times a factor for each entry."""

    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return f(x)

        @staticmethod
        def backward(ctx: Any, incoming: Any) -> Any:
            with torch.enable_grad():
                leaf = ctx.saved_tensors[0].detach().requires_grad_()
                (gradient,) = torch.autograd.grad(f(leaf), leaf, incoming)
            return gradient * factor

    return Scaled.apply


SMOOTH: dict[str, Any] = {
    "tanh": torch.tanh,
    "softmax": lambda x: torch.softmax(x, -1),
    "norm": lambda x: x.norm(),
    "log": lambda x: torch.log(x.abs() + 1),
    "logsumexp": lambda x: torch.logsumexp(x, 0),
    "polynomial": lambda x: (x**3 - 2 * x).sum(),
    "large": lambda x: 1e9 * x.exp(),
    "small": lambda x: 1e-9 * x.sin().sum(),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_functions_take_few_values_an_entry(name: str) -> None:
    x = torch.randn(3, 4, dtype=torch.float64) + 0.1
    report = fastbp.torch.check_function(SMOOTH[name], x, seed=0)
    assert report.verdict == "passed"
    assert report.evaluations <= 16 * x.numel() + 1
    general = fastbp.torch.check_function(SMOOTH[name], x, seed=0, **GENERAL)
    assert general.verdict == "passed"
    names = [(row.name, row.shape, row.entries) for row in report.arrays]
    assert names == [(row.name, row.shape, row.entries) for row in general.arrays]
    assert (report.function, report.dtype) == (general.function, general.dtype)


@pytest.mark.long
@pytest.mark.parametrize("off", [1e-8, 1e-5, 0.1, 1.0])
@pytest.mark.parametrize("name", SMOOTH)
def test_a_wrong_entry_is_never_confirmed(name: str, off: float) -> None:
    x = torch.rand(3, 4, dtype=torch.float64) + 0.5
    if name == "large":
        x = x / 4
    factor = torch.ones(3, 4, dtype=torch.float64)
    factor[1, 2] = 1 + off
    report = fastbp.torch.check_function(scaled(SMOOTH[name], factor), x, seed=0)
    assert report.verdict == "failed"
    assert [failure.where for failure in report.failures] == ["inputs[0][1, 2]"]


@pytest.mark.parametrize("entries", [4, 12])
@pytest.mark.parametrize("size", [1e-9, 1e-11, 1e-12])
@pytest.mark.parametrize("off", [-1.0, -0.5, 1.0])
def test_a_small_entry_does_not_hide_beside_large_ones(
    entries: int, size: float, off: float
) -> None:
    x = torch.rand(entries, dtype=torch.float64) + 0.5
    sizes, factor = torch.ones(2, entries, dtype=torch.float64)
    sizes[2], factor[2] = size, 1 + off
    for f in (lambda x: (sizes * x.sin()).sum(), lambda x: torch.tanh(sizes * x)):
        wrong = fastbp.torch.check_function(scaled(f, factor), x, seed=0)
        general = fastbp.torch.check_function(scaled(f, factor), x, seed=0, **GENERAL)
        assert wrong.verdict == general.verdict
        assert wrong.evaluations == general.evaluations


def test_an_entry_that_f_does_not_depend_on_is_confirmed() -> None:
    x = torch.rand(5, dtype=torch.float64)
    report = fastbp.torch.check_function(lambda x: x[1:].sin(), x, seed=0)
    assert (report.verdict, report.evaluations) == ("passed", 8 * 5 + 1)
    general = fastbp.torch.check_function(lambda x: x[1:].sin(), x, seed=0, **GENERAL)
    assert general.evaluations != report.evaluations


@pytest.mark.parametrize(
    "f", [lambda x: 3 * x.flip(0), lambda x: x.reshape(5, 6).sum(0)], ids=["flip", "sum"]
)
def test_a_function_that_is_straight_along_each_entry_takes_two_values(f: Any) -> None:
    x = torch.linspace(0.3, 2.0, 30, dtype=torch.float64)
    report = fastbp.torch.check_function(f, x, seed=0)
    assert (report.verdict, report.evaluations) == ("passed", 8 * 3 + 2 * 27 + 1)
    general = fastbp.torch.check_function(f, x, seed=0, **GENERAL)
    assert report.detectable <= 2 * general.detectable


def test_one_entry_does_not_bend_unseen_beside_straight_ones() -> None:
    x = torch.linspace(0.3, 2.0, 30, dtype=torch.float64)
    f = lambda x: torch.where(torch.arange(30) == 5, x**3, x)  # noqa: E731
    report = fastbp.torch.check_function(f, x, seed=0)
    assert (report.verdict, report.evaluations) == ("passed", 8 * 4 + 2 * 27 + 1)
    for off in (1e-8, 1e-6):
        factor = torch.ones(30, dtype=torch.float64)
        factor[5] += off
        wrong = fastbp.torch.check_function(scaled(f, factor), x, seed=0)
        assert [failure.where for failure in wrong.failures] == ["inputs[0][5]"]


def test_a_kink_at_the_point_does_not_hide_beside_straight_entries() -> None:
    x = torch.linspace(0.3, 2.0, 30, dtype=torch.float64)
    x[5] = 0.0
    report = fastbp.torch.check_function(torch.abs, x, seed=0)
    assert (report.verdict, report.arrays[0].kinks) == ("passed", 1)


@pytest.mark.parametrize("entries", [1, 6, 7, 30])
def test_an_array_that_f_does_not_depend_on_is_confirmed_as_untested(entries: int) -> None:
    x, y = torch.linspace(0.1, 0.9, 2 * entries, dtype=torch.float64).reshape(2, -1)
    f = lambda x, y: torch.maximum(x + 2, y)  # noqa: E731
    report = fastbp.torch.check_function(f, x, y, seed=0)
    general = fastbp.torch.check_function(f, x, y, seed=0, **GENERAL)
    for found in (report, general):
        assert found.verdict == "passed"
        assert [(row.name, row.verdict, row.zero, row.reason) for row in found.arrays] == [
            ("inputs[0]", "passed", 0, ""),
            ("inputs[1]", "untested", entries, "zero on both sides in every entry"),
        ]
    # Of a larger array three entries are looked at as closely as all of a small one.
    closely = entries if entries <= 6 else 3
    assert report.evaluations == (8 + 14) * closely + (2 + 4) * (entries - closely) + 1
    assert report.evaluations != general.evaluations


@pytest.mark.parametrize(
    "f",
    [
        torch.sign,
        torch.floor,
        lambda x: 0 * x,
        lambda x: (x > 0.2).double().sum() * 2.0**24 + 0 * x.sum(),
    ],
    ids=["sign", "floor", "zero", "few digits"],
)
def test_a_function_that_is_constant_beside_a_few_entries_is_confirmed_as_vacuous(f: Any) -> None:
    x = torch.tensor([0.3, 0.6], dtype=torch.float64)
    report = fastbp.torch.check_function(f, x.requires_grad_(), seed=0)
    general = fastbp.torch.check_function(f, x, seed=0, **GENERAL)
    assert report.evaluations == 14 * 2 + 1 != general.evaluations
    for found in (report, general):
        [row] = found.arrays
        assert (found.verdict, row.verdict, row.zero) == ("vacuous", "untested", 2)
    # What few digits may hide is in the bars of both.
    assert report.arrays[0].detectable == pytest.approx(general.arrays[0].detectable, rel=0.5)


@pytest.mark.parametrize("entries", [3, 9])
@pytest.mark.parametrize("size", [1.0, 1e-6, 1e-12])
def test_a_derivative_that_is_given_as_0_is_never_confirmed(size: float, entries: int) -> None:
    class Forgetful(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, x: Any, y: Any) -> Any:
            return x.sin() + size * y

        @staticmethod
        def backward(_: Any, incoming: Any) -> Any:
            return incoming, torch.zeros_like(incoming)

    x = torch.zeros(entries, dtype=torch.float64)
    y = torch.rand(entries, dtype=torch.float64) + 0.5
    report = fastbp.torch.check_function(Forgetful.apply, x, y, seed=0)
    general = fastbp.torch.check_function(Forgetful.apply, x, y, seed=0, **GENERAL)
    assert (report.verdict, report.evaluations) == (general.verdict, general.evaluations)
    assert report.verdict == "failed"


@pytest.mark.parametrize("entries", [5, 12])
@pytest.mark.parametrize("distance", [0.1, 0.03])
def test_entries_near_a_pole_are_confirmed_with_shorter_steps(
    entries: int, distance: float
) -> None:
    x = torch.linspace(2.0, 3.0, entries, dtype=torch.float64)
    x[1] = 1 + distance
    f = lambda x: 1 / (x - 1)  # noqa: E731
    report = fastbp.torch.check_function(f, x, seed=0)
    general = fastbp.torch.check_function(f, x, seed=0, **GENERAL)
    assert report.verdict == general.verdict == "passed"
    assert report.arrays[0].detectable < 2 * general.arrays[0].detectable
    assert report.evaluations != general.evaluations
    for wrong in (1, entries - 1):
        factor = torch.ones(entries, dtype=torch.float64)
        factor[wrong] = 1 + 1e-5
        report = fastbp.torch.check_function(scaled(f, factor), x, seed=0)
        assert [failure.where for failure in report.failures] == [f"inputs[0][{wrong}]"]


def rounded(x: Any) -> Any:
    return x.float().sin().double()


def hidden_kink(x: Any) -> Any:
    return torch.where(x.abs() > 1.001, x + (x.abs() - 1.001), x)


OTHERS: dict[str, tuple[Any, Any]] = {
    "a kink": (torch.abs, [0.0, 1.0]),
    "a kink beside the point": (hidden_kink, [1.0, 2.0]),
    "float32 inside": (rounded, [0.3, 0.7]),
    "steps": (lambda x: torch.round(x * 1e6) / 1e6 + 0 * x, [0.3, 0.7]),
    "an edge": (lambda x: torch.sqrt(x), [1e-9, 1.0]),
    "an oscillation": (lambda x: torch.sin(2e5 * x), [0.3, 0.7]),
    "an oscillation with the period of a step": (
        lambda x: x + 1e-3 * torch.sin(2 * np.pi * 2**9 * x), [0.75, 0.5],
    ),
    "NaN": (lambda x: torch.log(x), [-1.0, 2.0]),
    "infinity": (lambda x: x, [np.inf, 1.0]),
    "two scales": (lambda x: torch.log(x), [1e-6, 1.0]),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_in_doubt_is_left_to_the_general_methods(name: str) -> None:
    f, numbers = OTHERS[name]
    x = torch.tensor(numbers, dtype=torch.float64)
    report = fastbp.torch.check_function(f, x, seed=0)
    general = fastbp.torch.check_function(f, x, seed=0, **GENERAL)
    assert report.verdict == general.verdict
    if name != "two scales":  # each on its own scale: a smooth function
        assert report.evaluations == general.evaluations


def test_an_oscillation_that_hides_behind_a_step_is_seen() -> None:
    for power in range(4, 12):
        x = torch.tensor([0.75, 0.5], dtype=torch.float64)
        f = scaled(lambda x, k=2**power: x + torch.sin(2 * np.pi * k * x) / k, 1.0)
        assert fastbp.torch.check_function(f, x, seed=0).verdict != "failed"

        class Forgetful(torch.autograd.Function):
            @staticmethod
            def forward(_: Any, x: Any, k: int = 2**power) -> Any:
                return x + torch.sin(2 * np.pi * k * x) / k

            @staticmethod
            def backward(_: Any, incoming: Any) -> Any:
                return incoming, None

        assert fastbp.torch.check_function(Forgetful.apply, x, seed=0).verdict != "passed"


class Slow:
    """The sum of sines, in two milliseconds; counts the calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: Any) -> Any:
        self.calls += 1
        time.sleep(0.002)
        return torch.sin(x).sum()


@pytest.mark.parametrize("method", ["auto", "every"])
@pytest.mark.parametrize("order", [1, 2])
def test_a_budget_is_kept_by_all_that_is_checked(method: str, order: int) -> None:
    f = Slow()
    x = torch.linspace(0.1, 1.0, 400, dtype=torch.float64)
    options: dict[str, Any] = {"method": method, "order": order, "forward_ad": order == 2}
    fastbp.torch.check_function(f, x, budget=0.2, seed=0, **options)
    assert 0.002 * f.calls <= 0.4


def test_methods_and_options_are_obeyed() -> None:
    x = torch.randn(5, dtype=torch.float64)
    probed = fastbp.torch.check_function(torch.sin, x, method="probe", seed=0)
    assert probed.method == "probe"
    assert fastbp.torch.check_function(torch.sin, x, seed=0).method == "every"
    wrong = scaled(torch.sin, 1 + 1e-6)
    assert fastbp.torch.check_function(wrong, x, seed=0).verdict == "failed"
    assert fastbp.torch.check_function(wrong, x, seed=0, rtol=1e-5).verdict == "passed"
