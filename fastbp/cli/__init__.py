"""The command line: ``fastbp COMMAND``, a module for each command."""

from __future__ import annotations

from fastbp.cli.program import main

__all__ = ["main"]
