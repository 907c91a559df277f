"""Modules as they are written in research, right and with one mistake in a gradient."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from support.torch_modules import Calling, identity, wrong_identity  # noqa: E402
from torch import nn  # noqa: E402

import fastbp.torch  # noqa: E402


class EulerAdjoint(torch.autograd.Function):
    """A neural ODE by Euler's method, and its adjoint by hand."""

    @staticmethod
    def forward(ctx: Any, slope: Any, hand: Any, x: Any, *parameters: Any) -> Any:
        ctx.slope, ctx.hand, ctx.parameters, ctx.states = slope, hand, parameters, []
        with torch.no_grad():
            for _ in range(3):
                ctx.states.append(x)
                x = x + 0.1 * slope(x)
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        by_state = gradients[0]
        totals = [torch.zeros_like(parameter) for parameter in ctx.parameters]
        for state in reversed(ctx.states):
            with torch.enable_grad():
                x = state.detach().requires_grad_()
                found = torch.autograd.grad(
                    x + 0.1 * ctx.hand(ctx.slope(x)), (x, *ctx.parameters), by_state
                )
            by_state = found[0]
            totals = [total + part for total, part in zip(totals, found[1:], strict=True)]
        return None, None, by_state, *totals


def neural_ode(hand: Any) -> Any:
    slope = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    return Calling(
        lambda self, x: EulerAdjoint.apply(self.parts[0], hand, x, *self.parts[0].parameters()),
        slope,
    )


def fixed_point(hand: Any) -> Any:
    """A deep equilibrium model: the backward pass solves a linear equation in a hook."""

    def forward(self: Any, x: Any) -> Any:
        def step(z: Any) -> Any:
            return torch.tanh(0.3 * self.parts[0](z) + x)

        z = torch.zeros_like(x)
        with torch.no_grad():
            for _ in range(60):
                z = step(z)
        z = step(z)
        held = z.detach().requires_grad_()
        again = hand(step(held))

        def solve(gradient: Any) -> Any:
            found = gradient
            for _ in range(60):
                (product,) = torch.autograd.grad(again, held, found, retain_graph=True)
                found = product + gradient
            return found

        z.register_hook(solve)
        return z

    return Calling(forward, nn.Linear(2, 2))


class Attention(torch.autograd.Function):
    """Attention whose backward pass recomputes the probabilities, as flash attention does."""

    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any, hand: Any) -> Any:
        scores = query @ key.mT
        logarithm = scores.logsumexp(-1, keepdim=True)
        output = (scores - logarithm).exp() @ value
        ctx.save_for_backward(query, key, value, logarithm, output)
        ctx.hand = hand
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        query, key, value, logarithm, output = ctx.saved_tensors
        gradient = gradients[0]
        shares = (query @ key.mT - logarithm).exp()
        inner = (gradient * output).sum(-1, keepdim=True)
        if ctx.hand is wrong_identity:
            inner = torch.zeros_like(inner)
        by_scores = shares * (gradient @ value.mT - inner)
        return by_scores @ key, by_scores.mT @ query, shares.mT @ gradient, None


def recomputed_attention(hand: Any) -> Any:
    inner = Calling(lambda _, q, k, v: Attention.apply(q, k, v, hand))
    return Calling(
        lambda self, x: self.parts[1](*self.parts[0](x).chunk(3, -1)), nn.Linear(2, 6), inner
    )


def rotary_positions(hand: Any) -> Any:
    def forward(self: Any, x: Any) -> Any:
        angles = torch.outer(torch.arange(x.size(0), dtype=torch.float32), self.frequencies)
        z = torch.view_as_complex(self.parts[0](x).float().reshape(-1, 1, 2))
        turned = torch.view_as_real(z * torch.polar(torch.ones_like(angles), angles))
        return hand(turned.flatten(1)).type_as(x)

    return Calling(forward, nn.Linear(2, 2), frequencies=torch.tensor([0.7]))


def mixture_of_experts(hand: Any) -> Any:
    def forward(self: Any, x: Any) -> Any:
        gate, *experts = self.parts
        shares, chosen = gate(x).softmax(-1).topk(1, -1)
        y = torch.zeros_like(x)
        for number, expert in enumerate(experts):
            rows = (chosen[:, 0] == number).nonzero()[:, 0]
            y = y.index_add(0, rows, hand(shares)[rows] * expert(x[rows]))
        return y

    return Calling(forward, *(nn.Linear(2, 2) for _ in range(3)))


def message_passing(hand: Any) -> Any:
    def forward(self: Any, x: Any) -> Any:
        source, goal = torch.tensor([[0, 1, 2, 0], [1, 2, 0, 2]])
        messages = torch.relu(self.parts[0](torch.cat([x[source], x[goal]], -1)))
        return self.parts[1](torch.zeros(3, 2).index_add_(0, goal, hand(messages)), x)

    return Calling(forward, nn.Linear(4, 2), nn.GRUCell(2, 2))


def fourier_operator(hand: Any) -> Any:
    weight = nn.Parameter(torch.randn(2, 2, dtype=torch.complex64))

    def forward(self: Any, x: Any) -> Any:
        z = torch.fft.rfft(x, dim=0)
        modes = torch.zeros(z.shape, dtype=torch.complex64)
        modes[:2] = hand(z[:2] * self.weight)
        return torch.fft.irfft(modes, n=x.size(0), dim=0)

    return Calling(forward, weight=weight)


def physics_residual(hand: Any) -> Any:
    def forward(self: Any, x: Any) -> Any:
        x.requires_grad_()
        u = self.parts[1](torch.tanh(self.parts[0](x)))
        (slopes,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(slopes[:, 0].sum(), x, create_graph=True)
        return hand(slopes[:, 1]) - 0.1 * second[:, 0]

    return Calling(forward, nn.Linear(2, 2), nn.Linear(2, 1))


def fast_weights(hand: Any) -> Any:
    """One step of gradient descent inside, by torch.func."""

    def forward(self: Any, x: Any) -> Any:
        named = dict(self.parts[0].named_parameters())
        call = torch.func.functional_call
        loss = call(self.parts[0], named, (x,)).pow(2).mean()
        slopes = torch.autograd.grad(loss, tuple(named.values()), create_graph=True)
        moved = {
            key: value - 0.1 * hand(slope)
            for (key, value), slope in zip(named.items(), slopes, strict=True)
        }
        return call(self.parts[0], moved, (x,))

    return Calling(forward, nn.Linear(2, 2))


def gaussian_process(hand: Any) -> Any:
    def forward(self: Any, x: Any) -> Any:
        kernel = torch.exp(-((x[:, None] - x[None]) ** 2).sum(-1) / self.length**2)
        factor = torch.linalg.cholesky(kernel + 0.1 * torch.eye(len(x)))
        solved = torch.cholesky_solve(x[:, :1], factor)
        return hand((x[:, 0] @ solved).sum() + factor.diagonal().log().sum())

    return Calling(forward, length=nn.Parameter(torch.tensor(0.8)))


def state_space_scan(hand: Any) -> Any:
    def forward(self: Any, x: Any) -> Any:
        state, outputs = x.new_zeros(2), []
        for row in x:
            step = nn.functional.softplus(self.parts[0](row))
            state = hand(torch.exp(-step)) * state + step * row
            outputs.append(state)
        return torch.stack(outputs)

    return Calling(forward, nn.Linear(2, 2))


RESEARCH = [
    neural_ode, fixed_point, recomputed_attention, rotary_positions, mixture_of_experts,
    message_passing, fourier_operator, physics_residual, fast_weights, gaussian_process,
    state_space_scan,
]  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("make", RESEARCH)
@pytest.mark.parametrize(("hand", "verdict"), [(identity, "passed"), (wrong_identity, "failed")])
def test_modules_of_research(make: Any, hand: Any, verdict: str) -> None:
    x = torch.tensor([[0.3, -0.7], [1.1, 0.4], [-0.2, 0.9]])
    report = fastbp.torch.check_module(make(hand), x, seed=0)
    assert report.verdict == verdict, report
