"""Products of square matrices: the kernels that everything stands on, beside np.matmul."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..products import FORMS, Product
from .machine import Machine
from .problem import relative_distance
from .report import Section, duration, ratio, summary_of_ratios
from .roofline import limit_of_product
from .timing import ROUNDS, interleaved

SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)
TOLERANCES = {"float64": 1e-13, "float32": 1e-5}


def compare_products(
    sizes: Iterable[int], dtypes: Iterable[str], machine: Machine, rounds: int = ROUNDS
) -> Section:
    """Time A B, A^T B and A B^T on one core and on all threads, and np.matmul on all threads."""
    threads = f"{machine.threads} threads"
    section = Section(
        "Products n x n x n",
        [
            "product", "one core", "reaches", threads, "one core / threads", "reaches on threads",
            f"np.matmul, {threads}", "np.matmul / fastbp",
        ],
    )  # fmt: skip
    ratios = []
    for dtype in dtypes:
        for n in sizes:
            for form in FORMS:
                product = Product(form, n, n, n, dtype)
                _require_agreement(product, f"{form}, {n}, {dtype}", TOLERANCES[dtype])
                calls = {
                    "one": product.on_one_core,
                    "all": product.on_all_threads,
                    "numpy": product.in_numpy,
                }
                timings = interleaved(calls, rounds)
                one, many = timings["one"].median, timings["all"].median
                ratios.append(timings["numpy"].median / many)
                section.rows.append(
                    [
                        f"{form}, {n}, {dtype}",
                        duration(timings["one"]),
                        limit_of_product(n, dtype, 1, machine).share(one),
                        duration(timings["all"]),
                        ratio(one / many),
                        limit_of_product(n, dtype, machine.threads, machine).share(many),
                        duration(timings["numpy"]),
                        ratio(ratios[-1]),
                    ]
                )
    section.notes.append(summary_of_ratios(ratios))
    return section


def _require_agreement(product: Product, label: str, tolerance: float) -> None:
    expected = product.in_numpy().copy()
    for call in (product.on_one_core, product.on_all_threads):
        product.c.fill(np.nan)  # both write here: what is not written must not pass
        distance = relative_distance(call(), expected)
        if not distance <= tolerance:
            raise RuntimeError(f"{label}: the kernel is {distance:.1e} away from np.matmul.")
