"""Forward pass, and loss with all gradients, beside the same in NumPy."""

from __future__ import annotations

import fastbp

from . import common, reference


class Forward:
    """All pre-activations and activations of a batch."""

    params = (
        ["1-6^5-1", "784-512-512-10"],
        [1, 64],
        ["float64", "float32"],
    )
    param_names = ("sizes", "batch", "dtype")

    def setup(self, sizes: str, batch: int, dtype: str) -> None:
        self.weights, self.biases = common.parameters(sizes, dtype)
        self.x, self.y = common.examples(sizes, batch, dtype)
        self.network = fastbp.Network(self.weights, self.biases)
        self.network.forward(self.x)

    def time_fastbp(self, *_: object) -> None:
        self.network.forward(self.x)

    def time_yardstick_numpy(self, *_: object) -> None:
        reference.forward(self.weights, self.biases, self.x)


class LossAndGradients:
    """Loss, and the gradient of every parameter and of the inputs."""

    params = (
        ["1-6^5-1", "64-128-128-10", "784-512-512-10", "784-512^5-10"],
        [1, 64],
        ["float64", "float32"],
    )
    param_names = ("sizes", "batch", "dtype")

    def setup(self, sizes: str, batch: int, dtype: str) -> None:
        self.weights, self.biases = common.parameters(sizes, dtype)
        self.x, self.y = common.examples(sizes, batch, dtype)
        self.network = fastbp.Network(self.weights, self.biases)
        _, self.gradients = self.network.loss_and_gradients(self.x, self.y, inputs=False)

    def time_fastbp(self, *_: object) -> None:
        self.network.loss_and_gradients(self.x, self.y)

    def time_fastbp_into_out_without_inputs(self, *_: object) -> None:
        self.network.loss_and_gradients(self.x, self.y, out=self.gradients, inputs=False)

    def time_yardstick_numpy(self, *_: object) -> None:
        reference.loss_and_gradients(self.weights, self.biases, self.x, self.y)
