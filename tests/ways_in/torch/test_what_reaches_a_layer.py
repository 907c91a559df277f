"""Memory layouts, hooks and modules with children: what reaches a layer, and what is its own."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from support.torch_modules import WrongProduct, as_in_memory, square  # noqa: E402

import fastbp.torch  # noqa: E402
from fastbp.torch.layout import copied_in_layout, overlaps  # noqa: E402


class Layer(torch.nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


def verdicts(report: Any) -> dict[str, str]:
    return {row.name: row.verdict for row in report.arrays if "," not in row.name}


def sum_of(output: Any) -> Any:
    return output.sum()


LAYOUTS = {
    "transposed": lambda: torch.randn(4, 3).t(),
    "gaps": lambda: torch.randn(3, 8)[:, ::2],
    "offset and gaps": lambda: torch.randn(5, 9)[2:, 3:7],
    "expanded": lambda: torch.randn(3, 1).expand(3, 4),
    "windows": lambda: torch.randn(6).unfold(0, 4, 1),
    "channels last": lambda: torch.randn(1, 3, 2, 2).to(memory_format=torch.channels_last),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_copy_lies_in_memory_as_its_original(layout: str) -> None:
    tensor = LAYOUTS[layout]()
    for dtype in (None, torch.float64):
        copied = copied_in_layout(tensor, dtype)
        assert copied.stride() == tensor.stride()
        assert copied.dtype == (dtype or tensor.dtype)
        assert torch.equal(copied, tensor.to(copied.dtype))
        assert torch.equal(as_in_memory(copied), as_in_memory(tensor).to(copied.dtype))
        assert copied.data_ptr() != tensor.data_ptr()
    assert overlaps(tensor) == (layout in ("expanded", "windows"))
    conjugate = torch.randn(3, 4, dtype=torch.complex64).t().conj()
    assert torch.equal(copied_in_layout(conjugate), conjugate)
    assert copied_in_layout(conjugate).stride() == conjugate.stride()


@pytest.mark.long
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_module_is_asked_in_the_layout_of_its_input(layout: str) -> None:
    x = LAYOUTS[layout]()
    before = x.clone()
    wrong = torch.nn.Sequential(Layer(square(as_in_memory, torch.clone)), torch.nn.Tanh())
    assert verdicts(fastbp.torch.check_module(wrong, x, seed=0))["0: Layer"] == "failed"
    right = torch.nn.Sequential(Layer(square(torch.clone, torch.clone)), torch.nn.Tanh())
    assert fastbp.torch.check_module(right, x, seed=0).verdict == "passed"
    assert torch.equal(x, before)


def weighted_sum_of_the_transpose(output: Any) -> Any:
    return (output.t().contiguous() * torch.arange(20.0).reshape(4, 5)).sum()


@pytest.mark.parametrize("loss", [sum_of, weighted_sum_of_the_transpose])
def test_a_layer_is_asked_in_the_layout_of_its_incoming_gradient(loss: Any) -> None:
    x = torch.randn(5, 3)
    wrong = torch.nn.Sequential(torch.nn.Linear(3, 4), Layer(square(torch.clone, as_in_memory)))
    rows = verdicts(fastbp.torch.check_module(wrong, x, loss=loss, seed=0))
    assert rows == {"0: Linear": "passed", "1: Layer": "failed", "the whole module": "untested"}
    right = torch.nn.Sequential(torch.nn.Linear(3, 4), Layer(square(torch.clone, torch.clone)))
    assert fastbp.torch.check_module(right, x, loss=loss, seed=0).verdict == "passed"


@pytest.mark.parametrize("use", [torch.ones_like, torch.square])
def test_a_layer_before_a_plain_sum_is_asked_with_more_than_ones(use: Any) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), Layer(square(torch.clone, use)))
    report = fastbp.torch.check_module(module, torch.randn(5, 3), loss=sum_of, seed=0)
    assert verdicts(report)["1: Layer"] == "failed"


def test_a_layer_that_changes_its_incoming_gradient_is_named() -> None:
    module = torch.nn.Sequential(
        torch.nn.Linear(3, 4), Layer(square(torch.clone, lambda gradient: gradient.mul_(1)))
    )
    assert fastbp.torch.check_module(module, torch.randn(5, 3), seed=0).verdict == "passed"
    module[1] = Layer(square(torch.clone, lambda gradient: gradient.mul_(2) / 2))
    report = fastbp.torch.check_module(module, torch.randn(5, 3), seed=0)
    row = next(row for row in report.arrays if row.name == "1: Layer")
    assert row.verdict == "failed"
    assert row.reason == "its backward pass changes its incoming gradient in place"


def test_hooks_of_parameters_are_part_of_the_backward_pass() -> None:
    x = torch.randn(6, 3)

    def module(hook: Any, *between: Any) -> Any:
        made = torch.nn.Sequential(torch.nn.Linear(3, 4), *between, torch.nn.Linear(4, 2))
        made[0].weight.register_hook(hook)
        return made

    report = fastbp.torch.check_module(module(lambda g: 1.5 * g, torch.nn.Tanh()), x, seed=0)
    failed = [row.name for row in report.arrays if row.verdict == "failed"]
    assert failed == ["0: Linear", "0: Linear, weight"]
    report = fastbp.torch.check_module(module(lambda g: 0 * g, torch.nn.ReLU()), x, seed=0)
    assert report.verdict == "failed"
    for between in (torch.nn.Tanh(), torch.nn.ReLU()):
        assert fastbp.torch.check_module(module(lambda g: g.clone(), between), x, seed=0)
        original = module(lambda _: None, between)
        assert fastbp.torch.check_module(original, x, seed=0)
        assert len(original[0].weight._backward_hooks) == 1
        assert original[0].weight.grad is None


def test_hooks_after_accumulation_are_not_run_but_noted() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh())
    calls: list[Any] = []
    module[0].bias.register_post_accumulate_grad_hook(calls.append)
    report = fastbp.torch.check_module(module, torch.randn(5, 3), seed=0)
    assert report.verdict == "passed"
    assert report.notes[-1].startswith("hooks of parameters that run after accumulation")
    assert not calls


class Parent(torch.nn.Module):
    """A module with a child, that computes something itself."""

    def __init__(self, child: Any, own: Any) -> None:
        super().__init__()
        self.child, self.own = child, own

    def forward(self, x: Any) -> Any:
        return self.own(self.child(x))


def wrong_square(x: Any) -> Any:
    return square(torch.clone, lambda gradient: 0.5 * gradient)(x)


def test_a_module_with_children_is_named_where_its_own_backward_is_wrong() -> None:
    linear = torch.nn.Linear(4, 4)
    inner = Parent(linear, wrong_square)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), Parent(inner, torch.sin), torch.nn.Tanh())
    report = fastbp.torch.check_module(net, torch.randn(5, 3), seed=0)
    assert verdicts(report) == {
        "0: Linear": "passed",
        "1.child.child: Linear": "passed",
        "2: Tanh": "passed",
        "1.child: Parent": "failed",
        "the whole module": "untested",
    }


@pytest.mark.long
def test_a_module_whose_child_is_wrong_is_not_blamed_but_another_is() -> None:
    class Wrong(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(4, 4))

        def forward(self, x: Any) -> Any:
            return WrongProduct.apply(x, self.weight)

    net = torch.nn.Sequential(
        Parent(Wrong(), torch.sin),
        Parent(torch.nn.Linear(4, 4), wrong_square),
        Parent(torch.nn.Linear(4, 4), torch.sin),
    )
    rows = verdicts(fastbp.torch.check_module(net, torch.randn(5, 4), seed=0))
    failed = [name for name, verdict in rows.items() if verdict == "failed"]
    assert failed == ["0.child: Wrong", "1: Parent"]
    assert rows["2: Parent"] == "passed"


def test_modules_with_children_cost_nothing_where_all_is_right() -> None:
    net = torch.nn.Sequential(Parent(torch.nn.Linear(4, 4), torch.sin), torch.nn.Tanh())
    rows = verdicts(fastbp.torch.check_module(net, torch.randn(5, 4), seed=0))
    assert list(rows) == ["0.child: Linear", "1: Tanh", "the whole module"]
    assert set(rows.values()) == {"passed"}
