"""Functions that compute in half precision: in float64, and with the rounding of half precision.

In bfloat16 or float16 a difference sees nothing: the step is as coarse as the derivative. What is
differenced is the same program with every number in float64; what the user's precision makes of the
derivative may differ from that by its own rounding, which is measured, operation by operation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fastbp.torch.tensors import HALF_UNITS, IN_DOUBLE

__all__ = ["InDouble", "SeenInHalf", "WithRounding"]


class InDouble(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Compute in float64 whatever torch is asked to compute in less, constants included.

    Examples
    --------
    >>> with InDouble():
    ...     (torch.ones(2, dtype=torch.bfloat16) / 3).dtype
    torch.float64
    """

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Widen the tensors and dtypes among the arguments of an operation."""
        args, kwargs = torch.utils._pytree.tree_map(_widened, (args, kwargs or {}))
        return func(*args, **kwargs)


class WithRounding(InDouble):  # type: ignore[no-untyped-call]
    """The same, each result off by one rounding of a coarser precision, with a random sign.

    Parameters
    ----------
    dtype : torch.dtype
        Of that precision.
    seed : int
        Of the signs; they come from a generator of their own.
    """

    def __init__(self, dtype: torch.dtype, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.generator = torch.Generator().manual_seed(seed)
        info = torch.finfo(dtype)
        self.unit, self.smallest, self.largest = info.eps / 2, info.smallest_normal, info.max

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Round what an operation computes; what it only views or copies is exact."""
        result = super().__torch_dispatch__(func, types, args, kwargs)
        if any(given.alias_info is not None for given in func._schema.returns):
            if func._schema.is_mutable:
                torch.utils._pytree.tree_map(self._round, result)
            return result
        torch.utils._pytree.tree_map(self._round, result)
        return result

    def _round(self, value: Any) -> None:
        if not isinstance(value, torch.Tensor) or value.dtype not in (
            torch.float64, torch.complex128,
        ):  # fmt: skip
            return
        numbers = torch.view_as_real(value) if value.is_complex() else value
        signs = torch.randint(0, 2, numbers.shape, generator=self.generator, dtype=torch.int8)
        # Below the smallest normal number the distance to the next one stays as it is there.
        size = numbers.abs()
        error = self.unit * size.clamp(min=self.smallest) * (size > 0)
        numbers += error * (2 * signs - 1).to(numbers)
        numbers.masked_fill_(size > self.largest, torch.inf)


class SeenInHalf(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """See which half precision is used inside of a computation, as ``torch.autocast`` does.

    Attributes
    ----------
    dtype : torch.dtype or None
        The coarsest of results so far; None if there was none.

    Examples
    --------
    >>> with SeenInHalf() as seen:
    ...     _ = torch.ones(2).to(torch.bfloat16).float()
    >>> seen.dtype
    torch.bfloat16
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dtype: torch.dtype | None = None

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at the dtypes of what an operation returns."""
        result = func(*args, **(kwargs or {}))
        found = {
            value.dtype
            for value in (self, *torch.utils._pytree.tree_leaves(result))
            if getattr(value, "dtype", None) in HALF_UNITS
        }
        self.dtype = max(found, key=HALF_UNITS.__getitem__, default=None)
        return result


def _widened(value: Any) -> Any:
    if isinstance(value, torch.dtype):
        return IN_DOUBLE.get(value, value)
    if isinstance(value, torch.Tensor) and value.dtype in IN_DOUBLE:
        return value.to(IN_DOUBLE[value.dtype])
    return value
