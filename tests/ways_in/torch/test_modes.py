"""Forward mode, batched and undefined incoming gradients, the second order."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from support.torch_modules import cube  # noqa: E402

import fastbp  # noqa: E402
import fastbp.torch  # noqa: E402

X = torch.tensor([0.3, -0.7, 1.1, 2.0], dtype=torch.float64)


def square(factor: Any = 2.0, tangent_factor: Any = 2.0) -> Any:
    """Return x ** 2 with these factors in its backward pass and its forward mode."""

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            ctx.save_for_forward(x)
            return x * x

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            return factor * ctx.saved_tensors[0] * gradient

        @staticmethod
        def jvp(ctx: Any, tangent: Any) -> Any:
            return tangent_factor * ctx.saved_tensors[0] * tangent

    return Square.apply


@pytest.mark.parametrize(
    "reduce",
    [lambda y: y, lambda y: y.sum(), lambda y: (y, y.mean())],
    ids=["vector", "number", "both"],
)
@pytest.mark.parametrize("method", ["auto", "every"])
def test_the_forward_mode_is_checked_too(reduce: Any, method: str) -> None:
    def report(f: Any) -> Any:
        return fastbp.torch.check_function(
            lambda x: reduce(f(x)), X, forward_ad=True, seed=0, method=method
        )

    assert report(square()).verdict == "passed"
    one_off = torch.tensor([2.0, 2.0, 2.1, 2.0], dtype=torch.float64)
    wrong = report(square(tangent_factor=one_off))
    assert wrong.verdict == "failed"
    assert {row.name.split(":")[0] for row in wrong.arrays if row.verdict == "failed"} == {
        "forward"
    }
    assert fastbp.torch.check_function(
        lambda x: reduce(square(tangent_factor=one_off)(x)), X, seed=0
    )
    assert report(square(factor=one_off)).verdict == "failed"


def test_functions_without_a_forward_mode_are_told() -> None:
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, x: Any) -> Any:
            return 2 * x

        @staticmethod
        def backward(_: Any, gradient: Any) -> Any:
            return 2 * gradient

    with pytest.raises(fastbp.EvaluationError, match="the forward mode of f raised"):
        fastbp.torch.check_function(Doubled.apply, X, forward_ad=True)


def test_forward_mode_of_complex_numbers_and_nestings() -> None:
    z = torch.complex(X, X.flip(0))
    report = fastbp.torch.check_function(
        lambda nested, k: {"y": nested["z"] ** k * nested["x"], "i": torch.tensor(1)},
        {"z": z, "x": X}, 2, forward_ad=True, seed=0,
    )  # fmt: skip
    assert report.verdict == "passed"
    assert [row.name for row in report.arrays if row.name.startswith("forward")] == [
        "forward: output['y'] by inputs[0]['x']", "forward: output['y'] by inputs[0]['z']",
    ]  # fmt: skip


def test_batched_backward_passes() -> None:
    assert fastbp.torch.check_function(
        lambda x, w: (torch.tanh(x), (x * w).sum()), X, X.flip(0), batched=True, seed=0
    )

    class WithFallback(torch.autograd.Function):
        """Right for one gradient at a time, wrong for a batch, which NumPy cannot see."""

        @staticmethod
        def forward(_: Any, x: Any) -> Any:
            return 2 * x

        @staticmethod
        def backward(_: Any, gradient: Any) -> Any:
            try:
                return torch.from_numpy(2 * gradient.numpy())
            except RuntimeError:
                return 3 * gradient

    report = fastbp.torch.check_function(WithFallback.apply, X, batched=True, seed=0)
    assert report.verdict == "failed"
    assert report.arrays[-1].name == "batched backward"
    assert "is wrong by inputs[0] when it is batched (vmap)" in report.arrays[-1].reason
    assert fastbp.torch.check_function(WithFallback.apply, X, seed=0).verdict == "passed"

    class ThroughNumPy(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, x: Any) -> Any:
            return 2 * x

        @staticmethod
        def backward(_: Any, gradient: Any) -> Any:
            return torch.from_numpy(2 * gradient.numpy())

    report = fastbp.torch.check_function(ThroughNumPy.apply, X, batched=True, seed=0)
    assert report.verdict == "failed"
    assert report.arrays[-1].reason.startswith("cannot be batched (vmap): ")


def without_gradient(answer: Any) -> Any:
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.set_materialize_grads(False)
            return 2 * x

        @staticmethod
        def backward(_: Any, gradient: Any) -> Any:
            return answer() if gradient is None else 2 * gradient

    return Doubled.apply


def test_incoming_gradients_may_be_undefined() -> None:
    assert fastbp.torch.check_function(without_gradient(lambda: None), X, seed=0)
    assert fastbp.torch.check_function(without_gradient(lambda: torch.zeros(4)), X, seed=0)
    report = fastbp.torch.check_function(
        without_gradient(lambda: torch.ones(4, dtype=torch.float64)), X, seed=0
    )
    assert report.verdict == "failed"
    assert report.arrays[-1].reason == (
        "gives a gradient by inputs[0] that is not 0 where no gradient comes in"
    )

    def raises() -> None:
        raise TypeError("not a tensor")

    report = fastbp.torch.check_function(without_gradient(raises), X, seed=0)
    assert report.verdict == "failed"
    assert report.arrays[-1].reason == "raises where no gradient comes in: not a tensor"


def test_the_second_order() -> None:
    right = cube(lambda x, gradient: 3 * x**2 * gradient)
    report = fastbp.torch.check_function(right, X, order=2, seed=0)
    assert report.verdict == "passed"
    assert [row.name for row in report.arrays] == [
        "inputs[0]", "backward by inputs[0]", "backward by inputs['incoming gradient'][0]",
    ]  # fmt: skip
    for wrong, place in (
        (lambda x, gradient: 3 * x.detach() ** 2 * gradient, "inputs[0]"),
        (lambda x, gradient: 3 * x.detach() * x * gradient, "inputs[0]"),
        (lambda x, gradient: 3 * x**2 * gradient.detach(), "inputs['incoming gradient'][0]"),
        (lambda x, gradient: (3 * x**2 * gradient).detach(), "inputs[0]"),
    ):
        assert fastbp.torch.check_function(cube(wrong), X, seed=0).verdict == "passed"
        report = fastbp.torch.check_function(cube(wrong), X, order=2, seed=0)
        assert report.verdict == "failed"
        assert f"backward by {place}" in {failure.array for failure in report.failures}


@pytest.mark.parametrize("calls", [1, 20])
def test_what_ends_the_check_of_the_second_order_carries_the_first(calls: int) -> None:
    left, begun = calls, False

    def interrupted(x: Any, gradient: Any) -> Any:
        nonlocal left, begun
        begun |= torch.is_grad_enabled()  # from the first call of the second check on
        left -= begun
        if left == 0:
            raise KeyboardInterrupt
        return 3 * x**2 * gradient

    with pytest.raises(KeyboardInterrupt) as caught:
        fastbp.torch.check_function(cube(interrupted), X, order=2, method="probe", seed=0)
    report = vars(caught.value)["report"]
    second = ["backward by inputs[0]", "backward by inputs['incoming gradient'][0]"]
    assert [row.name for row in report.arrays] == ["inputs[0]", *(second if calls > 1 else [])]
    assert report.arrays[0].verdict == "passed"
    assert all(row.reason == "not judged: interrupted" for row in report.arrays[1:])


def test_a_backward_pass_that_can_be_differentiated_only_once() -> None:
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x**2

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, gradient: Any) -> Any:
            return 2 * ctx.saved_tensors[0] * gradient

    assert fastbp.torch.check_function(Once.apply, X, seed=0).verdict == "passed"
    report = fastbp.torch.check_function(Once.apply, X, order=2, seed=0)
    assert report.verdict == "failed"
    assert {failure.given for failure in report.failures} == {0.0}


def test_the_second_order_of_nestings_and_of_what_is_held_fixed() -> None:
    def f(nested: Any, power: Any, mask: Any) -> Any:
        return {"y": nested["x"] ** power * mask, "n": (nested["x"] * nested["w"]).sum()}

    inputs = {"x": X, "w": X.flip(0)}, 3, torch.tensor([True, False, True, True])
    report = fastbp.torch.check_function(f, *inputs, order=2, seed=0)
    assert report.verdict == "passed"
    assert len(report.arrays) == 6
    z = torch.complex(X, X.flip(0))
    assert fastbp.torch.check_function(lambda z: z**3, z, order=2, seed=0).verdict == "passed"
    linear = fastbp.torch.check_function(lambda x: 2 * x, X, order=2, seed=0)
    assert linear.verdict == "passed"
