"""Peak memory of a process that does one thing; the reference shows what imports and data take."""

from __future__ import annotations

import fastbp

from . import common, reference

ENTRIES_OF_LOOP = 50


def fill_kernel_cache() -> None:
    """Compile in a process of its own: LLVM takes more memory than what is measured here."""
    network = fastbp.Network.random([10, 20, 10], seed=0)
    x, y = common.examples("10-20-10", 64)
    if not fastbp.check_network(network, x, y, method="replay", progress=False):
        raise RuntimeError("A correct gradient did not pass.")


class PeakMemory:
    """Peak memory of each public operation; subtract ``peakmem_yardstick_start``."""

    params = (["64-128-128-10", "784-512-512-10"], [64])
    param_names = ("sizes", "batch")

    def setup_cache(self) -> None:
        fill_kernel_cache()

    def setup(self, sizes: str, batch: int) -> None:
        self.weights, self.biases = common.parameters(sizes)
        self.x, self.y = common.examples(sizes, batch)
        self.network = fastbp.Network(self.weights, self.biases)

    def peakmem_yardstick_start(self, *_: object) -> None:
        pass

    def peakmem_forward(self, *_: object) -> None:
        self.network.forward(self.x)

    def peakmem_loss_and_gradients(self, *_: object) -> None:
        self.network.loss_and_gradients(self.x, self.y)

    def peakmem_yardstick_numpy(self, *_: object) -> None:
        reference.loss_and_gradients(self.weights, self.biases, self.x, self.y)


class PeakMemoryOfDifferences:
    """Peak memory of what takes a loss for each parameter; subtract ``peakmem_yardstick_start``."""

    params = (["64-128-128-10"], [64], [2**24, 2**30])
    param_names = ("sizes", "batch", "max_memory")

    def setup_cache(self) -> None:
        fill_kernel_cache()

    def setup(self, sizes: str, batch: int, max_memory: int) -> None:
        self.options = {"method": "replay", "max_memory": max_memory, "progress": False}
        self.weights, self.biases = common.parameters(sizes)
        self.x, self.y = common.examples(sizes, batch)
        self.network = fastbp.Network(self.weights, self.biases)
        self.entries = common.spread_entries(common.count_parameters(sizes), ENTRIES_OF_LOOP)

    def peakmem_yardstick_start(self, *_: object) -> None:
        pass

    def peakmem_finite_differences(self, *_: object) -> None:
        fastbp.finite_differences(self.network, self.x, self.y, **self.options)

    def peakmem_check_network(self, *_: object) -> None:
        fastbp.check_network(self.network, self.x, self.y, **self.options)

    def peakmem_yardstick_loop(self, *_: object) -> None:
        reference.loop_quotients(self.weights, self.biases, self.x, self.y, self.entries)
