"""What functions take and return: nestings, keywords, what is no float, sparse tensors."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import fastbp  # noqa: E402
import fastbp.torch  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:Sparse")
X = torch.tensor([[0.3, -0.7, 1.1], [2.0, -1.3, 0.4]], dtype=torch.float64)


class Wrong(torch.autograd.Function):
    """The square, with a derivative that is wrong in its last entry."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        (x,) = ctx.saved_tensors
        factor = torch.full_like(x, 2.0)
        factor.view(-1)[-1] = 2.5
        return factor * x * gradient


class Pair(NamedTuple):
    value: Any
    rest: Any


STRUCTURES: dict[str, Any] = {
    "tuple": lambda y: (y, y.sum()),
    "list": lambda y: [y, [y.sin()]],
    "dict": lambda y: {"a": y, "b": {"c": y.sum()}},
    "named tuple": lambda y: Pair(y, y.mean()),
    "nested": lambda y: (y, {"h": [y.sum(), (y.cos(),)]}),
    "None": lambda y: (y, None),
    "number": lambda y: {"loss": y.sum(), "steps": 3},
    "indices": lambda y: torch.max(y, 1),
    "mask": lambda y: (y, y > 0),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_results_of_any_structure(name: str) -> None:
    structure = STRUCTURES[name]
    right = fastbp.torch.check_function(lambda x: structure(x * x), X, seed=0)
    assert right.verdict == "passed"
    wrong = fastbp.torch.check_function(lambda x: structure(Wrong.apply(x)), X, seed=0)
    if name == "indices":  # the wrong entry is not among the largest
        return
    assert wrong.verdict == "failed"
    assert {failure.where for failure in wrong.failures} == {"inputs[0][1, 2]"}


def test_outputs_that_are_not_checked_are_named() -> None:
    def f(x: Any) -> Any:
        return {"y": x**2, "arg": x.argmax(), "log": x.detach().sum(), "name": "f"}

    report = fastbp.torch.check_function(f, X, seed=0)
    assert report.verdict == "passed"
    assert [note for note in report.notes if "not checked" in note] == [
        "output['arg'] is of torch.int64: not checked",
        "output['log'] requires no gradient: not checked",
        "output['name'] is of type str: not checked",
    ]


def test_a_result_that_requires_no_gradient_has_none() -> None:
    report = fastbp.torch.check_function(lambda x: x.detach() ** 2, X, seed=0)
    assert report.verdict == "failed"
    report = fastbp.torch.check_function(lambda x: torch.zeros(3) + 0 * x.detach()[0], X)
    assert report.verdict == "vacuous"


def test_arguments_of_any_structure() -> None:
    def f(parameters: Any, table: Any, mode: Any, power: Any, *, scale: Any, shift: Any) -> Any:
        assert mode == "mean"
        assert shift is None
        rows = parameters["weight"][table] ** power
        return (rows * scale["by"]).mean() + parameters["rest"][0].sum()

    inputs = ({"weight": X, "rest": [X[0]]}, torch.tensor([1, 0]), "mean", 2)
    kwargs = {"scale": {"by": X[1].clone()}, "shift": None}
    report = fastbp.torch.check_function(f, *inputs, kwargs=kwargs, seed=0)
    assert report.verdict == "passed"
    assert [row.name for row in report.arrays] == [
        "inputs[0]['rest'][0]", "inputs[0]['weight']", "inputs['scale']['by']",
    ]  # fmt: skip
    wrong = fastbp.torch.check_function(
        lambda nested, *, by: (Wrong.apply(nested["w"]) * by).sum(), {"w": X}, by=3, seed=0
    )
    assert [failure.where for failure in wrong.failures] == ["inputs[0]['w'][1, 2]"]


def test_inputs_that_require_no_gradient_are_held_fixed_beside_those_that_do() -> None:
    x, target = X.clone().requires_grad_(), X + 1
    report = fastbp.torch.check_function(
        lambda x, target: ((x - Wrong.apply(target)) ** 2).sum(), x, target, seed=0
    )
    assert report.verdict == "passed"
    assert [row.name for row in report.arrays] == ["inputs[0]"]
    assert "inputs[1] requires no gradient: held fixed" in report.notes
    assert x.grad is None


def test_tensors_that_f_changes_stay_as_they_are() -> None:
    mean, steps = torch.zeros(3, dtype=torch.float64), torch.tensor(0)

    def f(x: Any, mean: Any, steps: Any) -> Any:
        steps += 1
        return torch.nn.functional.batch_norm(x, mean, torch.ones_like(mean), training=True) * steps

    x = X.clone().requires_grad_()
    assert fastbp.torch.check_function(f, x, mean, steps, seed=0).verdict == "passed"
    assert mean.tolist() == [0, 0, 0]
    assert steps == 0


@pytest.mark.parametrize("layout", ["coo", "csr", "csc", "bsr", "bsc"])
def test_sparse_inputs_are_checked_by_what_they_store(layout: str) -> None:
    block = {"blocksize": (1, 1)} if layout.startswith("b") else {}
    s = X.relu().to_sparse(layout=getattr(torch, f"sparse_{layout}"), **block)
    ones = torch.ones(3, 2, dtype=torch.float64)
    functions = {
        "to_dense": lambda s: (s.to_dense() ** 2).sum(),
        "dense results": lambda s: torch.tanh(s.to_dense()) @ ones,
    }
    if layout in ("coo", "csr"):
        functions["product"] = lambda s: torch.sparse.mm(s, ones).sum()
    for f in functions.values():
        report = fastbp.torch.check_function(f, s, seed=0)
        assert report.verdict == "passed"
        assert report.arrays[0].entries == 4
    wrong = fastbp.torch.check_function(lambda s: Wrong.apply(s.to_dense()), s, seed=0)
    assert wrong.verdict == "failed"
    assert len(wrong.failures) == 1
    assert s.layout is getattr(torch, f"sparse_{layout}")


def test_sparse_gradients_and_results() -> None:
    indices = torch.tensor([0, 1, 0])
    embedding = torch.nn.functional.embedding
    report = fastbp.torch.check_function(
        lambda weight: embedding(indices, weight, sparse=True) ** 2, X, seed=0
    )
    assert report.verdict == "passed"
    s = X.relu().to_sparse()
    assert fastbp.torch.check_function(lambda s: s * 2, s, seed=0).verdict == "passed"
    report = fastbp.torch.check_function(lambda x: x.relu().to_sparse(), X, seed=0)
    assert report.verdict == "passed"


def test_torchs_zero_without_memory_is_read() -> None:
    assert fastbp.torch.check_function(torch.sgn, X[0]).verdict == "vacuous"
    assert fastbp.torch.check_function(lambda x: (torch.sgn(x), x**2), X[0]).verdict == "passed"


def penalty(x: Any) -> Any:
    (slope,) = torch.autograd.grad(torch.tanh(x).pow(2).sum(), x, create_graph=True)
    return (slope**2).sum()


def forces(positions: Any) -> Any:
    energy = (positions[0] - positions[1]).norm()
    return energy, -torch.autograd.grad(energy, positions, create_graph=True)[0]


def test_derivatives_inside_the_function() -> None:
    assert fastbp.torch.check_function(penalty, X, seed=0).verdict == "passed"
    assert fastbp.torch.check_function(forces, X, seed=0).verdict == "passed"

    def detached(x: Any) -> Any:  # a graph that ends at the first derivative
        (slope,) = torch.autograd.grad(torch.tanh(x).pow(2).sum(), x)
        return (slope * x).sum()

    assert fastbp.torch.check_function(detached, X, seed=0).verdict == "failed"


def test_random_numbers_are_the_same_in_each_call() -> None:
    report = fastbp.torch.check_function(
        lambda x: torch.nn.functional.dropout(x, 0.5).sum(), X, seed=0
    )
    assert report.verdict == "passed"
    assert "f draws random numbers: the same ones in each call" in report.notes


def test_a_module_in_single_precision_is_differenced_in_float64() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    report = fastbp.torch.check_function(module, X.float(), seed=0)
    assert (report.verdict, report.dtype) == ("passed", "float32, differenced in float64")
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}

    def single_only(x: Any) -> Any:
        if x.dtype != torch.float32:
            raise TypeError("single precision only")
        return x**2

    report = fastbp.torch.check_function(single_only, X.float(), seed=0)
    assert (report.verdict, report.dtype) == ("passed", "float32")


def test_complex_numbers_and_kinds_of_results() -> None:
    z = torch.complex(X, X.flip(0))
    assert fastbp.torch.check_function(lambda z: (z * z.conj(), z.abs()), z, seed=0)
    assert fastbp.torch.check_function(lambda x: torch.fft.fft(x), X, seed=0)
    assert fastbp.torch.check_function(lambda z: {"r": z.real, "n": z.angle().sum()}, z, seed=0)
    report = fastbp.torch.check_function(lambda x: torch.complex(Wrong.apply(x), x), X, seed=0)
    assert report.verdict == "failed"


CALLS: dict[str, Any] = {
    "no tensor": (lambda x: x, (np.ones(2), 3), fastbp.DTypeError,
        r"at least one tensor of floats, in 16 bits at least: inputs\[0\] is a ndarray, inputs\[1\]"
        r" is an int"),
    "integers": (lambda x: x, (torch.arange(3),), fastbp.DTypeError,
        r"inputs\[0\] is of torch.int64"),
    "nothing": (lambda: torch.ones(1), (), fastbp.DTypeError, "there are none"),
    "empty": (lambda x: x, (torch.zeros(0, 3),), fastbp.ShapeError, "all tensors are empty"),
    "meta": (lambda x: x, (torch.ones(2, device="meta"),), fastbp.DTypeError,
        r"inputs\[0\] must hold numbers, but it is on the device meta"),
    "mkldnn": (lambda x: x, (torch.ones(2, 2).to_mkldnn(),), fastbp.DTypeError,
        "must be strided or sparse, not torch._mkldnn"),
    "an integer result": (lambda x: x.argmax(), (X,), fastbp.DTypeError,
        "f must return a tensor of floats, or a nesting with one, not a tensor of torch.int64"),
    "a number": (lambda x: x.sum().item(), (X,), fastbp.DTypeError,
        "not float. Numbers and arrays have lost their history: return the tensor itself"),
    "an array": (lambda x: {"a": x.detach().numpy()}, (X,), fastbp.DTypeError,
        "not dict of ndarray. Numbers and arrays have lost their history"),
    "None": (lambda _: None, (X,), fastbp.DTypeError, "not NoneType"),
    "f raises": (lambda x: x @ x, (X,), fastbp.EvaluationError, "f raised RuntimeError"),
    "another structure": (
        lambda x: (x.sum(),) * (1 if x.sum() == X.sum() else 2), (X,), fastbp.FastbpError,
        "must always return the same structure"),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_errors_name_what_was_expected_and_what_came(name: str) -> None:
    f, inputs, kind, message = CALLS[name]
    with pytest.raises(kind, match=message):
        fastbp.torch.check_function(f, *inputs, seed=0)


def test_a_backward_pass_that_raises_is_told_from_a_function_that_does() -> None:
    class Raising(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(_: Any, *_gradients: Any) -> Any:
            raise ValueError("no")

    with pytest.raises(fastbp.EvaluationError, match="the backward pass of f raised ValueError"):
        fastbp.torch.check_function(Raising.apply, X)


def test_keywords_are_options_or_arguments_of_f() -> None:
    assert fastbp.torch.check_function(torch.cumsum, X, dim=1, seed=0).verdict == "passed"
    with pytest.raises(fastbp.OptionError, match="colour is no option"):
        fastbp.torch.check_function(lambda x: x, X, colour="red")
    with pytest.raises(fastbp.OptionError, match="dim is given twice"):
        fastbp.torch.check_function(torch.cumsum, X, kwargs={"dim": 1}, dim=1)
    with pytest.raises(fastbp.DTypeError, match="kwargs must have names as keys"):
        fastbp.torch.check_function(torch.cumsum, X, kwargs={1: 1})
    for options in ({"order": 3}, {"order": True}):
        with pytest.raises(fastbp.OptionError, match="order must be 1 or 2, not"):
            fastbp.torch.check_function(torch.sin, X, **options)
    for name in ("forward_ad", "batched"):
        with pytest.raises(fastbp.FastbpError, match=name):
            fastbp.torch.check_function(torch.sin, X, **{name: 1})


def test_a_re_entrant_checkpoint_is_checked_and_other_gradients_stay_as_they_are() -> None:
    from torch.utils.checkpoint import checkpoint

    layer = torch.nn.Linear(3, 3).double()
    kept = layer.weight.grad = torch.ones(3, 3, dtype=torch.float64)
    x = torch.linspace(0.1, 1.0, 3, dtype=torch.float64)
    for forgotten, verdict in ((1.0, "passed"), (1.01, "failed")):

        def block(x: Any, factor: float = forgotten) -> Any:
            return factor * layer(x).tanh() - (factor - 1.0) * layer(x).tanh().detach()

        report = fastbp.torch.check_function(
            lambda x, block=block: checkpoint(block, x, use_reentrant=True), x, seed=0
        )
        assert report.verdict == verdict
    assert layer.weight.grad is kept
    assert torch.equal(kept, torch.ones_like(kept))
    assert layer.bias.grad is None


def test_what_comes_after_a_re_entrant_checkpoint_is_checked_too() -> None:
    from torch.utils.checkpoint import checkpoint

    class Last(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, bias: Any, factor: Any) -> Any:
            ctx.save_for_backward(x)
            ctx.name = ctx.variable = "whatever a user keeps"
            ctx.factor = factor
            return x.sin() + bias

        @staticmethod
        def backward(ctx: Any, incoming: Any) -> Any:
            [x] = ctx.saved_tensors
            return ctx.factor * incoming * x.cos(), incoming, None

    bias = torch.ones(3, dtype=torch.float64, requires_grad=True)
    kept = bias.grad = torch.full((3,), 7.0, dtype=torch.float64)
    x = torch.linspace(0.1, 1.0, 3, dtype=torch.float64)
    for factor, verdict in ((1.0, "passed"), (1.01, "failed")):
        report = fastbp.torch.check_function(
            lambda x, factor=factor: Last.apply(
                checkpoint(torch.exp, x, use_reentrant=True), bias, factor
            ),
            x,
            seed=0,
        )
        assert report.verdict == verdict
    assert bias.grad is kept
    assert torch.equal(kept, torch.full_like(kept, 7.0))


def test_a_tensor_without_numbers_is_refused_by_the_checks_of_functions_too() -> None:
    at = torch.ones(3, device="meta")
    with pytest.raises(
        fastbp.DTypeError, match=r"^p must hold numbers, but it is on the device meta\.$"
    ):
        fastbp.check_gradient(lambda p: (p**2).sum(), lambda p: 2 * p, at)
