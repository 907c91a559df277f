"""Modules of every kind, with a right gradient and with one that is off by a thousandth."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from support.torch_modules import (  # noqa: E402
    Calling,
    equal,
    identity,
    state_of,
    wrong_identity,
)
from torch import nn  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

import fastbp.torch  # noqa: E402
from fastbp.errors import DTypeError, EvaluationError  # noqa: E402

RIGHT_AND_WRONG = pytest.mark.parametrize(
    ("hand", "verdict"), [(identity, "passed"), (wrong_identity, "failed")]
)
# Where to find the mistake takes far longer than to pass what is right.
RIGHT_AND_SLOWLY_WRONG = pytest.mark.parametrize(
    ("hand", "verdict"),
    [(identity, "passed"), pytest.param(wrong_identity, "failed", marks=pytest.mark.long)],
)


def linear() -> Any:
    return nn.Linear(2, 2)


def part(hand: Any) -> Any:
    return Calling(lambda _, x: hand(x))


@dataclasses.dataclass
class Batch:
    x: Any
    scale: float
    rows: Any


# ---- what modules take and return ----

X = torch.tensor([[0.3, -0.7], [1.1, 0.4], [-0.2, 0.9]])
TOKENS = torch.tensor([1, 2, 2])
INPUTS: dict[str, Any] = {
    "a dict": (lambda one, batch: one(batch["x"]), ({"x": X},), {}),
    "a list in a dict": (lambda one, b: one(b["x"][0] * b["k"]), ({"x": [X], "k": 2},), {}),
    "a tuple": (lambda one, pair: one(pair[0]) + pair[1], ((X, 1.0),), {}),
    "a dataclass": (lambda one, b: one(b.x)[b.rows] * b.scale, (Batch(X, 2.0, TOKENS),), {}),
    "keywords": (lambda one, x, k, mask: one(x) * k * mask, (X,), {"k": 2.0, "mask": X > 0}),
    "what is no tensor": (lambda one, x, how, n: one(x) if how == "id" else n, (X, "id", None), {}),
    "integers beside floats": (lambda one, x, rows: one(x)[rows], (X, TOKENS), {}),
    "a sparse matrix": (lambda one, a, x: a @ one(x), (torch.eye(3).to_sparse(), X), {}),
    "floats as integers": (lambda one, x, t: one(x) * t.long()[:, None], (X, TOKENS.float()), {}),
}  # fmt: skip


@RIGHT_AND_SLOWLY_WRONG
@pytest.mark.parametrize("kind", INPUTS)
def test_modules_are_called_with_what_they_take(kind: str, hand: Any, verdict: str) -> None:
    function, arguments, keywords = INPUTS[kind]
    module = Calling(
        lambda self, *given, **named: function(lambda x: hand(self.parts[0](x)), *given, **named),
        linear(),
    )
    report = fastbp.torch.check_module(module, *arguments, seed=0, **keywords)
    assert report.verdict == verdict, report


@RIGHT_AND_WRONG
def test_keywords_that_are_options_here_go_into_kwargs(hand: Any, verdict: str) -> None:
    module = Calling(lambda self, x, target: hand(self.parts[0](x)) * target, linear())
    report = fastbp.torch.check_module(module, X, kwargs={"target": X}, seed=0)
    assert report.verdict == verdict


def test_entries_of_nested_inputs_are_named_as_one_writes_them() -> None:
    module = Calling(lambda _, batch: wrong_identity(batch["x"][0]))
    report = fastbp.torch.check_module(module, {"x": [X]}, seed=0)
    assert report.failures[0].array == "the whole module, input[0]['x'][0]"


RESULTS: dict[str, Any] = {
    "a dict": lambda y: {"y": y, "n": 3, "rows": TOKENS},
    "nested": lambda y: (None, [y, {"square": y**2}]),
    "a dataclass": lambda y: Batch(y, 1.0, None),
    "complex": lambda y: torch.complex(y, y**2),
    "sparse beside dense": lambda y: (torch.eye(3).to_sparse(), y),
}


@RIGHT_AND_SLOWLY_WRONG
@pytest.mark.parametrize("kind", RESULTS)
def test_modules_return_what_they_like(kind: str, hand: Any, verdict: str) -> None:
    inner = Calling(lambda self, x: RESULTS[kind](hand(self.parts[0](x))), linear())
    report = fastbp.torch.check_module(inner, X, seed=0)
    assert report.verdict == verdict, report


@RIGHT_AND_SLOWLY_WRONG
def test_a_loss_takes_whatever_a_module_returns(hand: Any, verdict: str) -> None:
    module = Calling(
        lambda self, x: torch.distributions.Normal(hand(self.parts[0](x)), 1), linear()
    )
    report = fastbp.torch.check_module(
        module, X, loss=lambda found, y: -found.log_prob(y).mean(), target=X + 1, seed=0
    )
    assert report.verdict == verdict, report
    weights = nn.CrossEntropyLoss(weight=torch.tensor([0.2, 0.8]))  # of float32
    module = nn.Sequential(linear(), part(hand))
    report = fastbp.torch.check_module(
        module, X, loss=weights, target=torch.tensor([0, 1, 1]), seed=0
    )
    assert report.verdict == verdict
    assert weights.weight.dtype == torch.float32


# ---- which gradients are asked for ----


class Masked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, mask: Any) -> Any:
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        return gradient * ctx.saved_tensors[0], None


def test_an_input_that_gets_no_gradient_is_held_fixed_and_named() -> None:
    module = Calling(lambda self, x, mask: Masked.apply(self.parts[0](x), mask), linear())
    mask = torch.tensor([[1.0, 0.5], [0.0, 2.0], [1.0, 1.0]])
    report = fastbp.torch.check_module(module, X, mask, seed=0)
    assert report.verdict == "passed"
    assert "input[1] gets no gradient from the backward pass and was held fixed" in report.notes[1]


def test_an_input_that_requires_a_gradient_must_get_it() -> None:
    module = Calling(lambda self, x, mask: Masked.apply(self.parts[0](x), mask), linear())
    mask = torch.tensor([[1.0, 0.5], [0.0, 2.0], [1.0, 1.0]], requires_grad=True)
    report = fastbp.torch.check_module(module, X, mask, seed=0)
    assert [failure.array for failure in report.failures[:1]] == ["the whole module, input[1]"]
    assert mask.grad is None


def test_inputs_that_need_no_gradient_are_left_alone_where_others_do() -> None:
    module = Calling(lambda self, x, y: self.parts[0](x) + wrong_identity(y), linear())
    asked = X.clone().requires_grad_()
    assert fastbp.torch.check_module(module, asked, X, seed=0).verdict == "passed"
    assert fastbp.torch.check_module(module, X, asked, seed=0).verdict == "failed"


def test_frozen_parameters_are_held_fixed() -> None:
    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, weight: Any) -> Any:
            ctx.save_for_backward(weight)
            return x @ weight.T

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            return gradient @ ctx.saved_tensors[0], None

    module = Calling(lambda self, x: Product.apply(x, self.parts[0].weight), linear())
    assert fastbp.torch.check_module(module, X, seed=0).verdict == "failed"
    module.requires_grad_(False)
    assert fastbp.torch.check_module(module, X, seed=0).verdict == "passed"


# ---- how modules are made ----


def scripted(hand: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls scripting deprecated
        return nn.Sequential(torch.jit.script(nn.Sequential(linear(), nn.Tanh())), part(hand))


def traced(hand: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(torch.jit.trace(nn.Sequential(linear(), nn.Tanh()), X), part(hand))


def compiled(hand: Any) -> Any:
    return torch.compile(nn.Sequential(linear(), nn.Tanh(), part(hand)), backend="eager")


def compiled_part(hand: Any) -> Any:
    inner = torch.compile(nn.Sequential(linear(), nn.Tanh(), part(hand)), backend="eager")
    return nn.Sequential(linear(), inner)


def old_weight_norm(hand: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls it deprecated
        layer = nn.utils.weight_norm(linear())
    layer(X)  # which keeps a weight that has a history
    return nn.Sequential(layer, part(hand))


def pruned(hand: Any) -> Any:
    layer = linear()
    prune = pytest.importorskip("torch.nn.utils.prune")
    prune.random_unstructured(layer, "weight", 0.5)
    layer(X)
    return nn.Sequential(layer, part(hand))


def between_parts(hand: Any, *, use_reentrant: bool) -> Any:
    return Calling(
        lambda self, x: checkpoint(
            lambda h: hand(self.parts[0](h)).tanh(), x, use_reentrant=use_reentrant
        ),
        linear(),
    )


def reentrant(hand: Any) -> Any:
    return between_parts(hand, use_reentrant=True)


def not_reentrant(hand: Any) -> Any:
    return between_parts(hand, use_reentrant=False)


def constants_in_float32(hand: Any) -> Any:
    def forward(self: Any, x: Any) -> Any:
        scale = torch.tensor([1.0, 2.0])
        return self.parts[0](hand(x) * scale, torch.zeros(3, 2)) @ self.table

    return Calling(forward, nn.GRUCell(2, 2), table=torch.rand(2, 3))


def casts_to_float32(hand: Any) -> Any:
    def forward(self: Any, x: Any) -> Any:
        softmax = torch.softmax(x.float(), -1, dtype=torch.float32).type_as(x)
        return hand(self.parts[0](softmax).to(torch.bfloat16).float()).to(x.dtype)

    return Calling(forward, linear())


def forces(hand: Any) -> Any:
    def forward(self: Any, x: Any) -> Any:
        x.requires_grad_()
        energy = hand(torch.tanh(self.parts[0](x))).pow(2).sum()
        return energy, -torch.autograd.grad(energy, x, create_graph=True)[0]

    return Calling(forward, linear())


def attention(hand: Any) -> Any:
    class Attention(nn.MultiheadAttention):
        def forward(self, *arguments: Any) -> Any:
            return hand(super().forward(*arguments)[0])

    return Calling(lambda self, x: self.parts[0](x, x, x).tanh(), Attention(2, 1))


def complex_weights(hand: Any) -> Any:
    weight = nn.Parameter(torch.randn(3, 2, dtype=torch.complex64))
    spectral = Calling(lambda self, z: hand(z * self.weight), weight=weight)
    return nn.Sequential(
        Calling(lambda _, x: torch.fft.fft(x)),
        spectral,
        Calling(lambda _, z: torch.fft.ifft(z).real),
    )


def vmapped(hand: Any) -> Any:
    return Calling(lambda self, x: hand(torch.vmap(self.parts[0])(x)), linear())


MODULES: dict[str, Any] = {
    "scripted": scripted,
    "traced": traced,
    "compiled": compiled,
    "compiled part": compiled_part,
    "lazy": lambda hand: nn.Sequential(nn.LazyLinear(2), nn.LazyBatchNorm1d(), part(hand)),
    "re-entrant checkpoint": reentrant,
    "checkpoint": not_reentrant,
    "weight norm of old": old_weight_norm,
    "spectral norm": lambda hand: nn.Sequential(
        nn.utils.parametrizations.spectral_norm(linear()), part(hand)
    ),
    "spectral norm of old": lambda hand: nn.Sequential(
        nn.utils.spectral_norm(linear()), part(hand)
    ),
    "orthogonal": lambda hand: nn.Sequential(
        nn.utils.parametrizations.orthogonal(linear()), part(hand)
    ),
    "pruned": pruned,
    "DataParallel": lambda hand: nn.DataParallel(nn.Sequential(linear(), part(hand))),
    "constants in float32": constants_in_float32,
    "casts to float32": casts_to_float32,
    "forces": forces,
    "attention": attention,
    "complex": complex_weights,
    "vmap": vmapped,
}


# To find the mistake in these takes seconds: in float32 alone, thousands of evaluations.
SLOW_IF_WRONG = ("attention", "casts to float32")


@pytest.mark.parametrize(
    ("kind", "hand", "verdict"),
    [
        pytest.param(kind, *case, marks=[pytest.mark.long] if slow else [])
        for kind in MODULES
        for case in ((identity, "passed"), (wrong_identity, "failed"))
        for slow in [kind in SLOW_IF_WRONG and case[1] == "failed"]
    ],
)
# DataParallel itself warns of the module's CPU where there is a GPU.
@pytest.mark.filterwarnings("ignore:Using -1 to represent CPU:FutureWarning")
def test_modules_of_every_kind_are_judged_and_stay_as_they_are(
    kind: str, hand: Any, verdict: str
) -> None:
    module = MODULES[kind](hand)
    lazy = kind == "lazy"
    before = None if lazy else state_of(module)
    report = fastbp.torch.check_module(module, X, seed=0)
    assert report.verdict == verdict, report
    if lazy:
        assert module[0].has_uninitialized_params()
        assert any("lazy parameters" in note for note in report.notes)
    else:
        assert equal(state_of(module), before)


@RIGHT_AND_WRONG
@pytest.mark.parametrize("layer", [nn.Embedding, nn.EmbeddingBag])
def test_sparse_gradients_of_embeddings(layer: Any, hand: Any, verdict: str) -> None:
    made = layer(5, 2, sparse=True)
    rows = TOKENS if layer is nn.Embedding else TOKENS[None]
    report = fastbp.torch.check_module(nn.Sequential(made, part(hand)), rows, seed=0)
    assert report.verdict == verdict, report


@RIGHT_AND_SLOWLY_WRONG
def test_recurrent_layers_with_states(hand: Any, verdict: str) -> None:
    def forward(self: Any, x: Any, state: Any) -> Any:
        out, (h, c) = self.parts[0](x, state)
        return out, hand(h), c

    state = (torch.randn(1, 2, 2), torch.randn(1, 2, 2))
    module = Calling(forward, nn.LSTM(2, 2))
    assert fastbp.torch.check_module(module, torch.randn(2, 2, 2), state, seed=0).verdict == verdict


@RIGHT_AND_SLOWLY_WRONG
def test_packed_sequences(hand: Any, verdict: str) -> None:
    packed = nn.utils.rnn.pack_sequence([torch.randn(3, 2), torch.randn(1, 2)])
    module = Calling(lambda self, p: hand(self.parts[0](p)[0].data), nn.RNN(2, 2))
    assert fastbp.torch.check_module(module, packed, seed=0).verdict == verdict


def test_a_mistake_in_a_checkpoint_is_named_where_it_is() -> None:
    inner = nn.Sequential(linear(), part(wrong_identity), nn.Tanh())
    for use_reentrant in (True, False):
        outer = Calling(
            lambda self, x, how=use_reentrant: checkpoint(self.parts[0], x, use_reentrant=how),
            inner,
        )
        report = fastbp.torch.check_module(nn.Sequential(linear(), outer), X, seed=0)
        failed = [row.name for row in report.arrays if row.verdict == "failed"]
        assert failed == ["1.parts.0.1: Calling", "1.parts.0.1: Calling, input[0]"]


def test_a_mistake_in_what_is_compiled_is_named_as_the_user_knows_it() -> None:
    report = fastbp.torch.check_module(compiled_part(wrong_identity), X, seed=0)
    failed = [row.name for row in report.arrays if row.verdict == "failed"]
    assert failed == ["1.2: Calling", "1.2: Calling, input[0]"]


# ---- in which precision ----


class SineInFloat32(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, factor: float) -> Any:
        ctx.save_for_backward(x)
        ctx.factor = factor
        return torch.from_numpy(np.sin(x.detach().numpy().astype(np.float32)))

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        return gradient * ctx.saved_tensors[0].cos().float() * ctx.factor, None


class Float32Only(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, factor: float) -> Any:
        if x.dtype != torch.float32:
            raise TypeError("the kernel is for float32")
        ctx.save_for_backward(x)
        ctx.factor = factor
        return x.exp()

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        return gradient * ctx.saved_tensors[0].exp() * ctx.factor, None


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 4))]
)
@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "passed"), (1.1, "failed")])
@pytest.mark.parametrize("function", [SineInFloat32, Float32Only])
def test_what_has_float32_only_is_checked_in_that(
    function: Any, factor: float, verdict: str, seed: int
) -> None:
    module = nn.Sequential(
        linear(), Calling(lambda _, x: function.apply(x, factor)), nn.ReLU(), linear()
    )
    report = fastbp.torch.check_module(module, torch.randn(20, 2), seed=seed)
    assert report.verdict == verdict, report
    assert any(note.startswith("checked in float32") for note in report.notes)
    failed = [row.name for row in report.arrays if row.verdict == "failed"]
    assert failed == (["1: Calling", "1: Calling, input[0]"] if verdict == "failed" else [])


class WrongInHalf(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, factor: float) -> Any:
        ctx.save_for_backward(x)
        ctx.factor = factor if x.dtype in (torch.float16, torch.bfloat16) else 1.0
        return x.sin()

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        return gradient * ctx.saved_tensors[0].cos() * ctx.factor, None


@pytest.mark.parametrize(
    "dtype", [torch.float16, pytest.param(torch.bfloat16, marks=pytest.mark.long)]
)
@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "passed"), (1.5, "failed")])
def test_layers_in_half_precision_are_compared_with_float64(
    dtype: Any, factor: float, verdict: str
) -> None:
    sine = Calling(lambda _, x: WrongInHalf.apply(x, factor))
    module = nn.Sequential(linear(), sine, nn.LayerNorm(2), nn.Dropout(0.2), nn.ReLU()).to(dtype)
    report = fastbp.torch.check_module(module, torch.randn(20, 2).to(dtype), seed=0)
    name = str(dtype).removeprefix("torch.")
    assert report.verdict == verdict, report
    assert f"checked in float64, and each layer in {name} compared with that" in report.notes
    failed = [row.name for row in report.arrays if row.verdict == "failed"]
    assert failed == ([f"1: Calling, in {name}"] if verdict == "failed" else [])
    assert next(module.parameters()).dtype == dtype


@RIGHT_AND_WRONG
def test_the_formula_of_a_layer_in_half_precision_is_judged_in_float64(
    hand: Any, verdict: str
) -> None:
    module = nn.Sequential(linear(), part(hand)).to(torch.bfloat16)
    report = fastbp.torch.check_module(module, X.to(torch.bfloat16), seed=0)
    assert report.verdict == verdict


# ---- what goes wrong ----


def test_what_a_module_raises_is_told_with_the_layer() -> None:
    inner = nn.Sequential(linear(), nn.Linear(3, 2))
    with pytest.raises(EvaluationError, match=r"module raised RuntimeError: .*\(in 1\.1: Linear\)"):
        fastbp.torch.check_module(nn.Sequential(linear(), inner), X)


def test_what_a_backward_pass_raises_is_told_with_where_it_had_come() -> None:
    class Raising(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, x: Any) -> Any:
            return x.clone()

        @staticmethod
        def backward(_: Any, *gradients: Any) -> Any:
            raise KeyError("lost", len(gradients))

    module = nn.Sequential(linear(), Calling(lambda _, x: Raising.apply(x)), linear())
    with pytest.raises(
        EvaluationError, match=r"backward pass of module raised KeyError.*came to 1: Calling"
    ):
        fastbp.torch.check_module(module, X)


def test_a_module_without_values_or_without_a_gradient() -> None:
    with pytest.raises(DTypeError, match="weight is on the meta device"):
        fastbp.torch.check_module(nn.Linear(2, 2, device="meta"), X)
    module = Calling(lambda self, x: self.parts[0](x).detach(), linear())
    with pytest.raises(EvaluationError, match="returns nothing that requires a gradient"):
        fastbp.torch.check_module(module, X)
    module = nn.Sequential(nn.LazyLinear(2), nn.Linear(3, 2))
    with pytest.raises(EvaluationError, match="lazy parameters, and its first call raised"):
        fastbp.torch.check_module(module, X)
    with pytest.raises(DTypeError, match="kwargs must be a dict, not int"):
        fastbp.torch.check_module(linear(), X, kwargs=3)


def test_a_layer_that_jumps_at_the_point_says_so() -> None:
    class Signed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.signs = torch.nn.Parameter(torch.tensor([1.0, -1.0, 1.0]))

        def forward(self, x: Any) -> Any:
            return x.tanh() * self.signs.int() + 0 * self.signs

    report = fastbp.torch.check_module(Signed(), torch.ones(2, 3), seed=0)
    assert report.verdict == "inconclusive"
    assert "its values jump along a random direction" in report.arrays[0].reason
