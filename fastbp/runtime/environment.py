"""When and where something was computed, and with which versions: for whoever repeats it."""

from __future__ import annotations

import datetime
import os
import platform
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version

__all__ = ["made_here"]

ALWAYS, IF_IMPORTED = ("fastbp", "numpy", "numba"), ("scipy", "torch", "jax")


def made_here() -> str:
    """Return date, versions and machine in one line.

    Examples
    --------
    >>> made_here()  # doctest: +ELLIPSIS
    '... UTC; fastbp ..., numpy ..., numba ...; Python ... on ..., ... processors'
    """
    now = datetime.datetime.now(datetime.UTC)
    packages = (*ALWAYS, *(name for name in IF_IMPORTED if name in sys.modules))
    versions = ", ".join(f"{name} {_version(name)}" for name in packages)
    return f"{now:%Y-%m-%d %H:%M:%S} UTC; {versions}; {_machine()}"


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a checkout on the path
        return str(getattr(sys.modules.get(package), "__version__", "of unknown version"))


@cache
def _machine() -> str:
    python = f"Python {platform.python_version()}"
    return f"{python} on {platform.system()} {platform.machine()}, {os.cpu_count()} processors"
