"""Sparse tensors as the numbers that they store, and back.

Which entries are stored is part of the point and stays as it is: a derivative is taken by the
stored numbers alone. Torch's own derivatives by sparse tensors come in any layout, and may hold
more.
"""

from __future__ import annotations

import numpy as np
import torch

__all__ = ["SparsePattern", "is_sparse"]

COMPRESSED = (torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)


def is_sparse(tensor: torch.Tensor) -> bool:
    """Tell whether a tensor is sparse, in whichever layout."""
    return tensor.layout is torch.sparse_coo or tensor.layout in COMPRESSED


class SparsePattern:
    """Which entries a sparse tensor stores.

    Parameters
    ----------
    tensor : Tensor
        Sparse, of any layout; uncoalesced ones stay so.

    Attributes
    ----------
    values : Tensor
        A copy of what it stores, without history: of shape (stored, ...).
    """

    def __init__(self, tensor: torch.Tensor) -> None:
        bare = tensor.detach()
        self.layout, self.shape = bare.layout, bare.shape
        self.coalesced = self.layout is torch.sparse_coo and bare.is_coalesced()
        self._indices = _indices_of(bare)
        self.values = (
            bare._values() if self.layout is torch.sparse_coo else bare.values()
        ).clone()  # fmt: skip
        self._places = self._places_of_values()

    def rebuilt(self, values: torch.Tensor) -> torch.Tensor:
        """Return a sparse tensor of the same pattern with other numbers."""
        if self.layout is torch.sparse_coo:
            return torch.sparse_coo_tensor(
                self._indices[0], values, self.shape,
                is_coalesced=self.coalesced, check_invariants=False,
            )  # fmt: skip
        first, second = self._indices
        return torch.sparse_compressed_tensor(
            first, second, values, self.shape, layout=self.layout, check_invariants=False
        )

    def stored(self, derivative: torch.Tensor) -> torch.Tensor:
        """Return what a derivative, dense and of the shape of the tensor, has for each value."""
        return derivative.reshape(-1)[self._places].reshape(self.values.shape)

    def _places_of_values(self) -> torch.Tensor:
        """Where each stored number is in the flat dense tensor."""
        if self.layout is not torch.sparse_coo:
            counted = torch.arange(1.0, self.values.numel() + 1, dtype=torch.float64)
            counted = counted.reshape(self.values.shape).to(self.values.device)
            numbers = self.rebuilt(counted).to_dense().reshape(-1).long()
            places = torch.nonzero(numbers).reshape(-1)
            return places[torch.argsort(numbers[places])]
        indices = self._indices[0]
        sizes = self.shape[: indices.shape[0]]
        inner = int(np.prod(self.shape[indices.shape[0] :]))
        flat = torch.zeros_like(indices[0]) if len(sizes) else indices.new_zeros(len(self.values))
        for size, along in zip(sizes, indices, strict=True):
            flat = flat * size + along
        return (flat[:, None] * inner + torch.arange(inner, device=flat.device)).reshape(-1)


def _indices_of(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    if tensor.layout is torch.sparse_coo:
        return (tensor._indices().clone(),)
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return tensor.crow_indices().clone(), tensor.col_indices().clone()
    return tensor.ccol_indices().clone(), tensor.row_indices().clone()
