"""The exceptions of fastbp; every one derives from `FastbpError`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

__all__ = [
    "DTypeError",
    "EvaluationError",
    "FastbpError",
    "NonFiniteError",
    "OptionError",
    "ProblemFileError",
    "ShapeError",
]


class FastbpError(Exception):
    """Base class of all errors that fastbp raises on purpose."""


class ShapeError(FastbpError, ValueError):
    """An array has the wrong shape, or a list has the wrong number of arrays."""


class DTypeError(FastbpError, TypeError):
    """An argument has the wrong type, or an array the wrong dtype."""


class NonFiniteError(FastbpError, ValueError):
    """An array that must be finite holds NaN or infinity."""


class EvaluationError(FastbpError, RuntimeError):
    """A function that is being differenced raised; what it raised is the ``__cause__``."""


class OptionError(FastbpError, ValueError):
    """An option is unknown, senseless, or contradicts another option."""


class ProblemFileError(FastbpError, ValueError):
    """A problem file cannot be read: not one of ours, damaged, or incomplete."""
