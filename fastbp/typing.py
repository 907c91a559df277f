"""Names of array types, declared once.

numpy's types say nothing of shapes; the names do, and docstrings say the rest.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["AnyFloats", "Array", "Floats", "Indices", "Mask", "Radius", "Vector"]

# float64 in one dimension.
Vector: TypeAlias = NDArray[np.float64]
# float64 in any number of dimensions.
Floats: TypeAlias = NDArray[np.float64]
# float64 or float32, as users give it.
AnyFloats: TypeAlias = NDArray[np.floating[Any]]
# Anything that a user may give.
Array: TypeAlias = NDArray[Any]
Mask: TypeAlias = NDArray[np.bool_]
Indices: TypeAlias = NDArray[np.int64]
# One number for all entries, or one for each.
Radius: TypeAlias = float | NDArray[np.float64]
