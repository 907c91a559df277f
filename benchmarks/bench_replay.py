"""Finite differences of every parameter, beside the notebook's loop.

Both are tracked in seconds per entry, so that a ratio can be read: the loop is timed on entries
spread over all layers, since all of them would take minutes.
"""

from __future__ import annotations

import fastbp

from . import common, reference
from .clock import measured_in, seconds_per_call

LOOP_ENTRIES = 200


class Replay:
    """Central and forward differences, and the loop they replay."""

    params = (list(common.SMALL), [1, 64], ["central", "forward"])
    param_names = ("sizes", "batch", "scheme")

    def setup(self, sizes: str, batch: int, scheme: str) -> None:
        self.weights, self.biases = common.parameters(sizes)
        self.x, self.y = common.examples(sizes, batch)
        self.total = common.count_parameters(sizes)
        self.entries = common.spread_entries(self.total, LOOP_ENTRIES)
        self.network = fastbp.Network(self.weights, self.biases)
        self.replay(scheme)

    def replay(self, scheme: str) -> None:
        fastbp.finite_differences(
            self.network, self.x, self.y, method="replay", scheme=scheme, progress=False
        )

    def loop(self) -> None:
        reference.loop_quotients(self.weights, self.biases, self.x, self.y, self.entries)

    def time_all_entries(self, _sizes: str, _batch: int, scheme: str) -> None:
        self.replay(scheme)

    @measured_in("seconds/entry", "Replay, by entries")
    def track_fastbp_per_entry(self, _sizes: str, _batch: int, scheme: str) -> float:
        return seconds_per_call(lambda: self.replay(scheme)) / self.total

    @measured_in("seconds/entry", "Yardstick: the notebook's loop, by entries")
    def track_yardstick_loop_per_entry(self, *_: object) -> float:
        return seconds_per_call(self.loop) / self.entries.size
