"""Reports as dicts and as JSON, whose form ``report.schema.json`` describes."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.errors import OutputFileError
from fastbp.runtime.validation import require_path

if TYPE_CHECKING:
    from fastbp.report.model import Report
    from fastbp.report.pictures.picture import Picture
    from fastbp.report.taylor import TaylorTest

__all__ = [
    "RUN_VERSION",
    "SCHEMA_VERSION",
    "as_dict",
    "as_json",
    "json_text",
    "taylor_as_dict",
    "write_json",
    "write_text",
]

# Of report.schema.json: a larger one where a reader of this one would go wrong.
SCHEMA_VERSION = 1
# Of taylor.schema.json, likewise.
TAYLOR_VERSION = 1
# Of a file with all checks of a test run.
RUN_VERSION = 1


def as_dict(report: Report) -> dict[str, Any]:
    """Return the report in the types that JSON knows, the derived totals included."""
    content: dict[str, Any] = {"schema_version": SCHEMA_VERSION}
    bare = tuple(replace(row, picture=None) for row in report.arrays)
    content |= asdict(replace(report, arrays=bare))
    for row, own in zip(report.arrays, content["arrays"], strict=True):
        own["picture"] = None if row.picture is None else _picture(row.picture)
    content["entries"] = report.entries
    content["wrong"] = report.wrong
    content["kinks"] = report.kinks
    content["detectable"] = report.detectable
    plain: dict[str, Any] = _plain(content)
    return plain


def as_json(report: Report) -> str:
    """Return `as_dict` as strict JSON, in ASCII, with a newline at the end."""
    return json_text(as_dict(report))


def json_text(content: Any) -> str:
    """Return what consists of the types of JSON as JSON, a list of numbers on one line."""
    return _written(content, "\n") + "\n"


def taylor_as_dict(result: TaylorTest) -> dict[str, Any]:
    """Return the outcome of a Taylor test in the types that JSON knows."""
    content: dict[str, Any] = {"schema_version": TAYLOR_VERSION}
    for part in fields(result):
        value = getattr(result, part.name)
        if part.name == "steps":
            value = value.tolist()
        elif part.name in ("remainders", "rates"):
            value = [column.tolist() for column in value]
        content[part.name] = value
    plain: dict[str, Any] = _plain(content)
    return plain


def write_json(report: Report, path: str | os.PathLike[str]) -> None:
    """Write `as_json` to a file, or raise `OutputFileError`."""
    write_text(as_json(report), path)


def write_text(text: str, path: str | os.PathLike[str]) -> None:
    """Write text to a file, in UTF-8.

    Raises
    ------
    OutputFileError
        If the file cannot be written.
    DTypeError
        If `path` is no path.
    """
    file = require_path(path)
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputFileError(error.errno, error.strerror, os.fspath(path)) from error


def _picture(picture: Picture) -> dict[str, Any]:
    kinks = picture.kinks
    return {
        "cell": list(picture.cell),
        "ratios": [[_rounded(ratio) for ratio in line] for line in picture.ratios.tolist()],
        "kinks": [] if kinks is None else np.argwhere(kinks).tolist(),
        "samples": [[int(place), *numbers] for place, *numbers in picture.samples.tolist()],
    }


def _rounded(ratio: float) -> float:
    """Round to three digits, but never from one side of 1 to the other."""
    rounded = float(f"{ratio:.3g}")
    return rounded if (rounded > 1.0) == (ratio > 1.0) else ratio


def _written(value: Any, newline: str) -> str:
    """Write JSON with two spaces for each level; a list of numbers is one line."""
    inner = f"{newline}  "
    if isinstance(value, dict) and value:
        parts = [f"{json.dumps(key)}: {_written(part, inner)}" for key, part in value.items()]
        return f"{{{inner}{f',{inner}'.join(parts)}{newline}}}"
    if isinstance(value, list) and any(isinstance(part, list | dict) for part in value):
        return f"[{inner}{f',{inner}'.join(_written(part, inner) for part in value)}{newline}]"
    return json.dumps(value, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
