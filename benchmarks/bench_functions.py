"""Checks of any function, by hand and through the adapters, and how threads help a network's."""

from __future__ import annotations

import importlib
import os
from typing import Any

import numpy as np

import fastbp

from . import common
from .clock import measured_in, seconds_per_call


class CheckGradient:
    """f = sum of sin(x)^2 over the arrays of a list; f itself takes little."""

    params = (["1", "20", "400", "400 in 200 arrays", "100000"], ["every", "probe"])
    param_names = ("entries", "method")

    def setup(self, entries_and_arrays: str, method: str) -> None:
        entries = int(entries_and_arrays.split()[0])
        arrays = 200 if "arrays" in entries_and_arrays else 1
        common.skip_unless(entries <= 400 or method == "probe")
        rng = np.random.default_rng(0)
        self.at = np.array_split(rng.standard_normal(entries), arrays)
        self.method = method
        self.evaluations = self.check().evaluations

    def check(self) -> fastbp.Report:
        report = fastbp.check_gradient(
            lambda x: sum(float(np.sum(np.sin(part) ** 2)) for part in x),
            lambda x: [np.sin(2 * part) for part in x],
            self.at,
            method=self.method,
            progress=False,
        )
        report.raise_unless_passed()
        return report

    def time_check(self, *_: object) -> None:
        self.check()

    @measured_in("evaluations/entry", "Evaluations of f, by entries")
    def track_evaluations_per_entry(self, *_: object) -> float:
        return self.evaluations / sum(part.size for part in self.at)


class CheckProducts:
    """check_vjp and check_jvp of tanh(W x), with a cheap f of as many outputs as inputs."""

    params = ([10, 100], ["check_vjp", "check_jvp"])
    param_names = ("entries", "check")

    def setup(self, entries: int, check: str) -> None:
        rng = np.random.default_rng(0)
        self.matrix = rng.standard_normal((entries, entries)) / np.sqrt(entries)
        self.at = rng.standard_normal(entries)
        self.check = getattr(fastbp, check)
        self.product = self.backward if check == "check_vjp" else self.forward

    def f(self, x: common.Array) -> common.Array:
        return np.tanh(self.matrix @ x)

    def backward(self, x: common.Array, w: common.Array) -> common.Array:
        return self.matrix.T @ (w * (1 - self.f(x) ** 2))

    def forward(self, x: common.Array, v: common.Array) -> common.Array:
        return (1 - self.f(x) ** 2) * (self.matrix @ v)

    def time_check(self, *_: object) -> None:
        self.check(self.f, self.product, self.at, progress=False).raise_unless_passed()


class Adapter:
    """The same function through ``fastbp.torch`` and ``fastbp.jax``, where they are installed."""

    params = (["torch", "jax"], [10, 100])
    param_names = ("framework", "entries")

    def setup(self, framework: str, entries: int) -> None:
        try:
            library = importlib.import_module(framework)
        except ImportError as error:
            raise NotImplementedError(f"{framework} is not installed") from error
        at = np.random.default_rng(0).standard_normal(entries)
        self.check = getattr(self, f"with_{framework}")
        self.library, self.at = library, at
        self.check()

    def with_torch(self) -> Any:
        at = self.library.from_numpy(self.at)
        return fastbp.torch.check_function(lambda x: (x.sin() * x).sum(), at, progress=False)

    def with_jax(self) -> Any:
        numpy = self.library.numpy
        return fastbp.jax.check(lambda x: (numpy.sin(x) * x).sum(), self.at, progress=False)

    def time_check(self, *_: object) -> None:
        self.check().raise_unless_passed()


class Threads:
    """A step and a check of 784-512-512-10, batch 64, by the number of threads."""

    params = ([1, 2, 4],)
    param_names = ("threads",)

    def setup(self, threads: int) -> None:
        common.skip_unless(threads <= (os.cpu_count() or 1))
        fastbp.set_num_threads(threads)
        sizes = "784-512-512-10"
        self.network = fastbp.Network(*common.parameters(sizes))
        self.x, self.y = common.examples(sizes, 64)
        _, self.gradients = self.network.loss_and_gradients(self.x, self.y, inputs=False)
        self.check()

    def check(self) -> None:
        fastbp.check_network(
            self.network, self.x, self.y, self.gradients, progress=False
        ).raise_unless_passed()

    def step(self) -> None:
        self.network.loss_and_gradients(self.x, self.y, out=self.gradients, inputs=False)

    def time_step(self, *_: object) -> None:
        self.step()

    def time_check(self, *_: object) -> None:
        self.check()

    @measured_in("steps", "A check in steps, by threads")
    def track_check_in_steps(self, *_: object) -> float:
        return seconds_per_call(self.check) / seconds_per_call(self.step)
