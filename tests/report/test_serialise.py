"""The report as plain types and as JSON."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from support.reports import failed_report, failed_row, failure, report, row

from fastbp.report import Report

pytestmark = pytest.mark.small


def test_to_dict_holds_everything_in_plain_types():
    failed = failed_report()
    content = failed.to_dict()
    fields = {field.name for field in dataclasses.fields(Report)}
    arrays = {"maps", "samples"}
    derived = {"schema_version", "entries", "wrong", "kinks", "detectable"}
    assert set(content) == fields - arrays | derived
    assert content["arrays"][1]["worst"]["index"] == [1, 1]
    assert content["failures"] == [
        {
            "array": "weights[1]",
            "index": [3, 17],
            "given": 2.0,
            "numerical": 1.0,
            "error": 1.0,
            "error_bar": 1e-9,
            "allowed": 1e-6,
            "hull": 0.0,
        }
    ]
    assert json.loads(json.dumps(content)) == content


def test_json_has_no_nan_literals(tmp_path):
    odd = [failure(given=math.nan), failure(given=-math.inf)]
    failed = report(failed_row(detectable=math.inf), verdict="failed", failures=odd)
    path = tmp_path / "report.json"
    failed.to_json(path)

    def refuse(literal: str) -> None:
        raise AssertionError(literal)

    content = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    assert [entry["given"] for entry in content["failures"]] == ["nan", "-inf"]
    assert content["failures"][0]["error"] == "inf"
    assert content["detectable"] == "inf"
    assert content == failed.to_dict()


def test_to_json_takes_a_string_and_replaces_a_file(tmp_path):
    path = tmp_path / "report.json"
    path.write_text("before")
    failed_report().to_json(str(path))
    assert json.loads(path.read_text())["verdict"] == "failed"


def test_names_of_users_are_exact_in_json(tmp_path):
    name = "w\x1b[2J\n\u202eb[0]\r"
    shown = report(row(name), function=name, notes=(name,))
    shown.to_json(tmp_path / "report.json")
    loaded = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert loaded["arrays"][0]["name"] == loaded["function"] == loaded["notes"][0] == name
