"""The operators of torch, as the benchmarks have them."""

from __future__ import annotations

from support.benchmark_modules import benchmark_module

__all__ = ["differentiable_operators", "of_tensors"]

_operators = benchmark_module("torch_operators")
differentiable_operators = _operators.differentiable_operators
of_tensors = _operators.of_tensors
