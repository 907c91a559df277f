"""Reports from JSON: a file that is not trusted, of this version or another."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, NoReturn, get_args

import numpy as np

from fastbp.errors import ReportFileError
from fastbp.report.model import (
    ArrayReport,
    ArrayVerdict,
    Certificate,
    CheckVerdict,
    Failure,
    Kink,
    Report,
)
from fastbp.report.pictures.picture import SAMPLE_COLUMNS, Picture, cell_counts
from fastbp.report.serialise import RUN_VERSION, SCHEMA_VERSION
from fastbp.runtime.validation import require_path

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    Reader = Callable[[Any, str], Any]

__all__ = ["from_dict", "read_json", "read_reports"]

NOT_FINITE = {"nan", "inf", "-inf"}
MOST_SHOWN = 60  # signs of a value that is quoted


@dataclass(frozen=True, slots=True)
class _CheckOfRun:
    """One check of a test run."""

    test: str
    check: str
    report: Any


def read_json(path: str | os.PathLike[str]) -> Report:
    """Read a report that `write_json` has written.

    Raises
    ------
    OSError
        If the file cannot be read.
    ReportFileError
        If it is no report, or one of another version.
    """
    return _report_in(path, _content_of(path))


def read_reports(path: str | os.PathLike[str]) -> dict[str, Report]:
    """Read the reports of one file.

    Returns
    -------
    dict of str to Report
        A single report by ""; several by the names of their problems; those of a test run by the
        names of tests and checks. A Taylor test has no report.

    Raises
    ------
    OSError
        If the file cannot be read.
    ReportFileError
        If there is anything in it but reports, or one of another version.
    """
    content = _content_of(path)
    if isinstance(content, dict) and "checks" in content:
        content = _by_test(path, content)
    elif not _is_by_name(content):
        return {"": _report_in(path, content)}
    return {name: _report_in(path, report, f"{name}: ") for name, report in content.items()}


def _by_test(path: str | os.PathLike[str], content: dict[str, Any]) -> dict[str, Any]:
    """Return what a test run has written, by the names of tests; a second check is numbered."""
    try:
        if content.get("schema_version") != RUN_VERSION:
            _complain("schema_version", f"{RUN_VERSION}", content.get("schema_version"))
        entries = _list_of(_object(_CheckOfRun, CHECK_OF_RUN))(content["checks"], "checks")
    except ReportFileError as error:
        raise ReportFileError(f"{path} is no test run: {error.args[0]}") from error
    by_test: dict[str, Any] = {}
    counts: Counter[str] = Counter()
    for entry in entries:
        name = f"{entry.test} ({entry.check})"
        counts[name] += 1
        if entry.report is not None:
            by_test[name if counts[name] == 1 else f"{name} {counts[name]}"] = entry.report
    if not by_test:
        raise ReportFileError(f"{path} is of a test run without a report.")
    return by_test


def _is_by_name(content: Any) -> bool:
    if not isinstance(content, dict) or "schema_version" in content:
        return False
    return bool(content) and all(isinstance(part, dict) for part in content.values())


def _content_of(path: str | os.PathLike[str]) -> Any:
    file = require_path(path)
    try:
        text = file.read_text(encoding="utf-8")
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ReportFileError(f"{path} is no JSON: {error}") from error


def _report_in(path: str | os.PathLike[str], content: Any, name: str = "") -> Report:
    try:
        return from_dict(content)
    except ReportFileError as error:
        raise ReportFileError(f"{path} is no report: {name}{error.args[0]}") from error


def from_dict(content: Any) -> Report:
    """Return the report that `as_dict` was made from; ratios in pictures were rounded.

    Raises
    ------
    ReportFileError
        Naming the part that is missing or wrong.
    """
    if not isinstance(content, dict) or "schema_version" not in content:
        raise ReportFileError("it has no schema_version.")
    if content["schema_version"] != SCHEMA_VERSION:
        _complain("schema_version", f"{SCHEMA_VERSION}", content["schema_version"])
    report: Report = _object(Report, REPORT)(content, "")
    for place, row in enumerate(report.arrays):
        if row.picture is not None:
            _require_fit(row.picture, row.shape, f"arrays[{place}].picture")
    return report


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _complain(where: str, wanted: str, value: Any) -> NoReturn:
    shown = repr(value)
    shown = f"{shown[:MOST_SHOWN]}..." if len(shown) > MOST_SHOWN else shown
    raise ReportFileError(f"{where} must be {wanted}, not {shown}.")


def _string(value: Any, where: str) -> str:
    if not isinstance(value, str):
        _complain(where, "a string", value)
    return value


def _boolean(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        _complain(where, "true or false", value)
    return value


def _integer(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        _complain(where, "an integer", value)
    return value


def _number(value: Any, where: str) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number and not (isinstance(value, str) and value in NOT_FINITE):
        _complain(where, "a number", value)
    try:
        return float(value)
    except OverflowError:
        _complain(where, "a number", value)


def _or_none(read: Reader) -> Reader:
    return lambda value, where: None if value is None else read(value, where)


def _one_of(choices: tuple[str, ...]) -> Reader:
    def read(value: Any, where: str) -> str:
        if value not in choices:
            _complain(where, f"one of {', '.join(choices)}", value)
        return str(value)

    return read


def _list_of(read: Reader) -> Reader:
    def read_all(value: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            _complain(where, "a list", value)
        return tuple(read(item, f"{where}[{place}]") for place, item in enumerate(value))

    return read_all


def _object(kind: type[Any], readers: dict[str, Reader]) -> Reader:
    """Read a dataclass; what has a default may be missing, and what is unknown is not read."""
    needed = {one.name for one in fields(kind) if one.default is MISSING}

    def read(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            _complain(where, "an object", value)
        prefix = f"{where}." if where else ""
        missing = sorted(name for name in readers if name in needed and name not in value)
        if missing:
            raise ReportFileError(f"{prefix}{missing[0]} is missing.")
        parts = {
            name: reader(value[name], f"{prefix}{name}")
            for name, reader in readers.items()
            if name in value
        }
        return kind(**parts)

    return read


def _positive(value: Any, where: str) -> int:
    number = _integer(value, where)
    if number < 1:
        _complain(where, "a positive integer", value)
    return number


def _natural(value: Any, where: str) -> int:
    number = _integer(value, where)
    if number < 0:
        _complain(where, "an integer that is not negative", value)
    return number


def _several(count: int, read: Reader) -> Reader:
    read_all = _list_of(read)

    def read_several(value: Any, where: str) -> tuple[Any, ...]:
        items: tuple[Any, ...] = read_all(value, where)
        if len(items) != count:
            _complain(where, f"a list of {count}", value)
        return items

    return read_several


def _table(value: Any, where: str) -> Any:
    """Read lists of numbers that are of equal length."""
    lines = _list_of(_list_of(_number))(value, where)
    if len({len(line) for line in lines}) > 1:
        _complain(where, "lists of equal length", value)
    return np.array(lines, dtype=np.float64).reshape(len(lines), -1 if lines else 0)


def _picture(value: Any, where: str) -> Picture:
    parts = vars(_object(_PictureParts, PICTURE)(value, where))
    ratios, samples = parts["ratios"], parts["samples"]
    if np.isnan(ratios).any():
        _complain(f"{where}.ratios", "numbers without a nan", "nan")
    kinks = None
    if parts["kinks"]:
        kinks = np.zeros(ratios.shape, dtype=np.bool_)
        for number, (row, column) in enumerate(parts["kinks"]):
            if row >= ratios.shape[0] or column >= ratios.shape[1]:
                _complain(f"{where}.kinks[{number}]", "a cell of ratios", [row, column])
            kinks[row, column] = True
    table = np.array([[*sample] for sample in samples], dtype=np.float64)
    return Picture(ratios, parts["cell"], kinks, table.reshape(-1, SAMPLE_COLUMNS))


def _sample(value: Any, where: str) -> tuple[Any, ...]:
    numbers: tuple[Any, ...] = _several(SAMPLE_COLUMNS, _number)(value, where)
    _natural(value[0], f"{where}[0]")
    return numbers


def _require_fit(picture: Picture, shape: tuple[int, ...], where: str) -> None:
    """Require that a picture is one of an array of this shape."""
    counts = cell_counts(shape, picture.cell)
    if picture.ratios.shape != counts:
        rows, columns = counts
        _complain(f"{where}.ratios", f"{rows} lists of {columns} numbers", picture.ratios.shape)
    entries = math.prod(shape)
    outside = np.flatnonzero(picture.samples[:, 0] >= entries)
    if outside.size:
        place = int(outside[0])
        _complain(
            f"{where}.samples[{place}][0]", f"less than {entries}", int(picture.samples[place, 0])
        )


@dataclass(frozen=True)
class _PictureParts:
    """A picture as it stands in JSON."""

    cell: tuple[int, int]
    ratios: Any
    kinks: tuple[tuple[int, int], ...]
    samples: tuple[tuple[float, ...], ...]


PICTURE: dict[str, Reader] = {
    "cell": _several(2, _positive), "ratios": _table,
    "kinks": _list_of(_several(2, _natural)), "samples": _list_of(_sample),
}  # fmt: skip
FAILURE: dict[str, Reader] = {
    "array": _string, "index": _list_of(_integer), "given": _number, "numerical": _number,
    "error": _number, "error_bar": _number, "allowed": _number, "hull": _number,
}  # fmt: skip
KINK: dict[str, Reader] = {
    "array": _string, "index": _list_of(_integer), "given": _number, "left": _number,
    "right": _number, "error_bar": _number, "remark": _string,
}  # fmt: skip
ARRAY: dict[str, Reader] = {
    "name": _string, "shape": _list_of(_integer), "entries": _integer, "wrong": _integer,
    "zero": _integer, "kinks": _integer, "worst": _or_none(_object(Failure, FAILURE)),
    "factor": _or_none(_number), "residual": _or_none(_number), "detectable": _number,
    "verdict": _one_of(get_args(ArrayVerdict)), "reason": _string, "picture": _or_none(_picture),
}  # fmt: skip
CERTIFICATE: dict[str, Reader] = {
    "directions": _integer, "seed": _integer, "resolution": _number, "closest": _number,
    "samples": _integer, "differenced": _integer, "problem": _string,
}  # fmt: skip
REPORT: dict[str, Reader] = {
    "verdict": _one_of(get_args(CheckVerdict)),
    "arrays": _list_of(_object(ArrayReport, ARRAY)),
    "failures": _list_of(_object(Failure, FAILURE)),
    "sizes": _list_of(_integer), "batch": _integer, "dtype": _string, "layout": _string,
    "method": _string, "scheme": _or_none(_string), "delta": _or_none(_number),
    "rtol": _or_none(_number), "atol": _or_none(_number), "evaluations": _integer,
    "seconds": _number, "compile_seconds": _number,
    "certificate": _or_none(_object(Certificate, CERTIFICATE)),
    "doubtful": _list_of(_integer), "convention": _string,
    "kink": _or_none(_object(Kink, KINK)), "function": _string, "at_least": _boolean,
    "notes": _list_of(_string), "diagnosis": _list_of(_string),
    "seed": _or_none(_integer), "made": _string,
}  # fmt: skip
CHECK_OF_RUN: dict[str, Reader] = {
    "test": _string, "check": _string, "report": lambda value, _where: value,
}  # fmt: skip
