"""The check of every parameter, and its report, beside one step and beside the notebook's loop."""

from __future__ import annotations

import fastbp

from . import common, reference
from .clock import measured_in, seconds_per_call

LOOP_ENTRIES = 200


class Check:
    """A given gradient, all entries of it, beside the step that made it; the default and exact.

    Subtract ``peakmem_yardstick_start`` from ``peakmem_check``.
    """

    params = (
        ["64-128-128-10", "784-512-512-10", "784-512^5-10", "64^201-10"],
        [64],
        ["certified", "exact"],
    )
    param_names = ("sizes", "batch", "method")
    timeout = 600

    def setup_cache(self) -> None:
        """Compile in a process of its own: LLVM takes more memory than what is measured here."""
        for method in self.params[2]:
            self.prepare("10-20-10", 64, str(method))
            self.check()

    def setup(self, sizes: str, batch: int, method: str) -> None:
        self.prepare(sizes, batch, method)

    def prepare(self, sizes: str, batch: int, method: str) -> None:
        self.method, self.total = method, common.count_parameters(sizes)
        self.x, self.y = common.examples(sizes, batch)
        self.network = fastbp.Network(*common.parameters(sizes))
        _, self.given = self.network.loss_and_gradients(self.x, self.y, inputs=False)

    def check(self) -> None:
        report = fastbp.check_network(
            self.network, self.x, self.y, self.given, method=self.method, progress=False
        )
        if not report:
            raise RuntimeError(f"A correct gradient did not pass:\n{report}")

    def step(self) -> None:
        self.network.loss_and_gradients(self.x, self.y, out=self.given, inputs=False)

    def time_check(self, *_: object) -> None:
        self.check()

    @measured_in("steps", "A check in steps of our own")
    def track_check_in_steps(self, *_: object) -> float:
        return seconds_per_call(self.check) / seconds_per_call(self.step)

    @measured_in("seconds/entry", "A check, by entries")
    def track_check_per_entry(self, *_: object) -> float:
        return seconds_per_call(self.check) / self.total

    def peakmem_check(self, *_: object) -> None:
        self.check()

    def peakmem_yardstick_start(self, *_: object) -> None:
        pass


class CheckByReplay:
    """A correct gradient, ours or a given one, against two real losses for every entry."""

    params = (list(common.SMALL), [1, 64])
    param_names = ("sizes", "batch")

    def setup(self, sizes: str, batch: int) -> None:
        self.weights, self.biases = common.parameters(sizes)
        self.x, self.y = common.examples(sizes, batch)
        self.total = common.count_parameters(sizes)
        self.entries = common.spread_entries(self.total, LOOP_ENTRIES)
        self.network = fastbp.Network(self.weights, self.biases)
        _, *self.gradients = reference.loss_and_gradients(self.weights, self.biases, self.x, self.y)
        self.report = self.check_given()
        if not self.report:
            raise RuntimeError(f"A correct gradient did not pass:\n{self.report}")

    def check_given(self) -> fastbp.Report:
        dweights, dbiases = self.gradients
        return fastbp.check_network(
            self.network, self.x, self.y, (dweights, dbiases), method="replay", progress=False
        )

    def loop(self) -> None:
        reference.loop_quotients(self.weights, self.biases, self.x, self.y, self.entries)

    def time_own_gradient(self, *_: object) -> None:
        fastbp.check_network(self.network, self.x, self.y, method="replay", progress=False)

    def time_given_gradient(self, *_: object) -> None:
        self.check_given()

    def time_report_as_text(self, *_: object) -> None:
        str(self.report)

    @measured_in("seconds/entry", "Replay of a given gradient, by entries")
    def track_given_gradient_per_entry(self, *_: object) -> float:
        return seconds_per_call(self.check_given) / self.total

    @measured_in("seconds/entry", "Yardstick: the notebook's loop, by entries")
    def track_yardstick_loop_per_entry(self, *_: object) -> float:
        return seconds_per_call(self.loop) / self.entries.size
