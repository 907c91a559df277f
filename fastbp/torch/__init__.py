"""Derivatives that torch computes, checked."""

from __future__ import annotations

from fastbp.torch.function import check_function
from fastbp.torch.modules.check_module import check_module

__all__ = ["check_function", "check_module"]
