"""Reports as dicts and as JSON, whose form ``report.schema.json`` describes."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os

    from fastbp.report.model import Report

__all__ = ["SCHEMA_VERSION", "as_dict", "as_json", "write_json"]

# Of report.schema.json: a larger one where a reader of this one would go wrong.
SCHEMA_VERSION = 1


def as_dict(report: Report) -> dict[str, Any]:
    """Return the report in the types that JSON knows, the derived totals included."""
    content: dict[str, Any] = {"schema_version": SCHEMA_VERSION}
    content |= asdict(replace(report, maps={}, samples={}))
    del content["maps"], content["samples"]  # arrays, of use to plots alone
    content["entries"] = report.entries
    content["wrong"] = report.wrong
    content["kinks"] = report.kinks
    content["detectable"] = report.detectable
    plain: dict[str, Any] = _plain(content)
    return plain


def as_json(report: Report) -> str:
    """Return `as_dict` as strict JSON, in ASCII, with a newline at the end."""
    return json.dumps(as_dict(report), indent=2, allow_nan=False) + "\n"


def write_json(report: Report, path: str | os.PathLike[str]) -> None:
    """Write `as_json` to a file."""
    Path(path).write_text(as_json(report), encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
