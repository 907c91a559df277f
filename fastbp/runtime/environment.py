"""When, where and how something was computed, and with which versions: for whoever repeats it."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import sys
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version

__all__ = ["made_here"]

LONGEST_COMMAND = 200
ALWAYS, IF_IMPORTED = ("fastbp", "numpy", "numba"), ("scipy", "torch", "jax")


def made_here() -> str:
    """Return date, versions, machine and the command of this process in one line.

    A command that runs no file and no module, as in a notebook or of ``python -c``, is left out.

    Examples
    --------
    >>> date, versions, machine, *command = made_here().split("; ", 3)
    >>> date, machine  # doctest: +ELLIPSIS
    ('... UTC', 'Python ... on ..., ... processors')
    """
    now = datetime.datetime.now(datetime.UTC)
    packages = (*ALWAYS, *(name for name in IF_IMPORTED if name in sys.modules))
    versions, command = _versions(packages), _command(tuple(sys.orig_argv))
    date = now.replace(tzinfo=None).isoformat(" ", "seconds")
    parts = [f"{date} UTC", versions, _machine(), command]
    return "; ".join(part for part in parts if part)


@lru_cache(maxsize=1)
def _command(words: tuple[str, ...]) -> str:
    """Return the command that others can repeat, with the name of the program alone.

    Examples
    --------
    >>> _command(("/usr/bin/python3", "-m", "pytest", "tests/my gradients"))
    "python3 -m pytest 'tests/my gradients'"
    >>> _command(("python", "-c", "import fastbp")), _command(("python",))
    ('', '')
    """
    if "-c" in words or "ipykernel" in " ".join(words[:4]):
        return ""
    if "-m" not in words and all(word.startswith("-") for word in words[1:]):
        return ""
    command = shlex.join([os.path.basename(words[0]), *words[1:]])
    return command if len(command) <= LONGEST_COMMAND else f"{command[:LONGEST_COMMAND]}..."


@cache
def _versions(packages: tuple[str, ...]) -> str:
    return ", ".join(f"{name} {_version(name)}" for name in packages)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a checkout on the path
        return str(getattr(sys.modules.get(package), "__version__", "of unknown version"))


@cache
def _machine() -> str:
    python = f"Python {platform.python_version()}"
    return f"{python} on {platform.system()} {platform.machine()}, {os.cpu_count()} processors"
