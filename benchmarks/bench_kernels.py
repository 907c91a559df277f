"""The products that everything stands on, and the sweeps of a batch of one.

Three forms of a product, small, square and as flat as a batch; a batch of 16 on its way back
through 2048 x 2048 weights, whose columns no hardware prefetcher follows; and one sample, through
weights that a cache holds or none.
"""

from __future__ import annotations

import fastbp

from . import common
from .products import FORMS, Product


class MatrixProduct:
    """(m, depth) times (depth, n), beside np.matmul."""

    params = (
        [(8, 8, 8), (512, 512, 512), (512, 64, 784)],
        list(FORMS),
        ["float64", "float32"],
    )
    param_names = ("m_n_depth", "form", "dtype")

    def setup(self, shape: tuple[int, int, int], form: str, dtype: str) -> None:
        self.product = Product(form, *shape, dtype)
        self.product.on_one_core()

    def time_one_core(self, *_: object) -> None:
        self.product.on_one_core()

    def time_all_threads(self, *_: object) -> None:
        self.product.on_all_threads()

    def time_yardstick_numpy(self, *_: object) -> None:
        self.product.in_numpy()


class FlatProductOfTransposed(MatrixProduct):
    """W^T s: 16 columns through 2048 x 2048 weights that are read down their columns."""

    params = ([(2048, 16, 2048)], ["A^T B"], ["float64", "float32"])


class OneSample:
    """Loss and gradients of one sample: weights within the caches, and beyond them."""

    params = (["1024^2", "4096^2"], ["book", "keras"])
    param_names = ("sizes", "layout")

    def setup(self, sizes: str, layout: str) -> None:
        weights, biases = common.parameters(sizes)
        self.x, self.y = common.examples(sizes, 1)
        if layout == "keras":
            weights, self.x, self.y = [w.T for w in weights], self.x.T, self.y.T
        self.network = fastbp.Network(weights, biases, layout=layout)
        _, self.gradients = self.network.loss_and_gradients(self.x, self.y)

    def time_loss_and_gradients(self, *_: object) -> None:
        self.network.loss_and_gradients(self.x, self.y, out=self.gradients)
