"""The products that everything stands on: three forms, small, square and as flat as a batch."""

from __future__ import annotations

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

    def time_numpy(self, *_: object) -> None:
        self.product.in_numpy()
