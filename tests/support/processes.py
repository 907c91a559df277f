"""Programs in processes of their own, with an environment that is the test's business alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import fastbp.kernels

import fastbp

# Warnings are errors there too, but for Python 3.12's word about forks of threaded processes.
STRICT = ("-W", "error", "-W", "ignore:This process:DeprecationWarning")


def environment(**changes: str | None) -> dict[str, str]:
    """This process's environment with JIT on and with some changes; None takes a name out."""
    result = dict(os.environ)
    result.pop("NUMBA_DISABLE_JIT", None)
    for name, value in changes.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = value
    return result


def command(program: str, *arguments: str) -> list[str]:
    return [sys.executable, *STRICT, "-c", textwrap.dedent(program), *arguments]


def run_program(
    program: str,
    *arguments: str,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 120,
) -> str:
    """Run a Python program to its end and return what it printed; it must not fail."""
    done = subprocess.run(
        command(program, *arguments),
        env=environment() if env is None else env,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def copy_kernels(folder: Path) -> Path:
    """Copy the kernels, as the package ``kernels``, into a folder; returns the package."""
    return Path(
        shutil.copytree(
            Path(fastbp.kernels.__file__).parent,
            folder / "kernels",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    )
