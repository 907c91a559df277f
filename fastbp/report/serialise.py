"""Reports as dicts and as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os

    from fastbp.report.model import Report

__all__ = ["as_dict", "write_json"]


def as_dict(report: Report) -> dict[str, Any]:
    """Return the report in the types that JSON knows, the derived totals included."""
    content = asdict(replace(report, maps={}, samples={}))
    del content["maps"], content["samples"]  # arrays, of use to plots alone
    content["entries"] = report.entries
    content["wrong"] = report.wrong
    content["kinks"] = report.kinks
    content["detectable"] = report.detectable
    plain: dict[str, Any] = _plain(content)
    return plain


def write_json(report: Report, path: str | os.PathLike[str]) -> None:
    """Write `as_dict` to a file as strict JSON."""
    text = json.dumps(as_dict(report), indent=2, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
