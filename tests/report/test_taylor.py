"""The outcome of a Taylor test as JSON, and as a notebook shows it."""

from __future__ import annotations

import importlib.resources
import json
import sys
from dataclasses import replace

import jsonschema
import numpy as np
import pytest

import fastbp
from fastbp.errors import OutputFileError
from fastbp.report import TaylorTest

pytestmark = pytest.mark.small

HOSTILE = "<script>alert(1)</script>\x1b[2J\n\u202e</td>"


def outcome(**changes) -> TaylorTest:
    result = fastbp.taylor_test(lambda x: np.sum(x**3), lambda x: 3 * x**2, np.ones(4), seed=0)
    return replace(result, **changes)


def test_json_holds_every_part_in_the_form_of_its_schema(tmp_path):
    rates = [np.array([1.0, np.nan]), np.array([2.0, np.inf])]
    result = outcome(rates=rates, detectable=np.inf, notes=(HOSTILE,))
    result.to_json(tmp_path / "taylor.json")
    content = json.loads((tmp_path / "taylor.json").read_text("utf-8"))
    assert content == result.to_dict()
    schema = importlib.resources.files("fastbp.report").joinpath("taylor.schema.json").read_text()
    jsonschema.validate(content, json.loads(schema))
    assert set(content) == {"schema_version", *TaylorTest.__dataclass_fields__}
    assert content["rates"] == [[1.0, "nan"], [2.0, "inf"]]
    assert content["steps"] == result.steps.tolist()
    assert content["notes"] == [HOSTILE]


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(OutputFileError, match=r"taylor\.json"):
        outcome().to_json(tmp_path / "missing" / "taylor.json")


def test_a_notebook_shows_the_verdict_and_the_table():
    result = outcome()
    shown = result._repr_html_()
    assert '<strong class="passed">Passed</strong>' in shown
    assert shown.count("<tr>") == 1 + len(result.steps)
    assert f"<td>{result.rates[1][-1]:.2f}</td>" in shown


def test_no_name_is_taken_for_markup():
    shown = outcome(function=HOSTILE, reason=HOSTILE, notes=(HOSTILE,))._repr_html_()
    assert "<script" not in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert shown.count("&lt;script&gt;") == 6


def test_without_jinja_a_notebook_shows_the_text(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert outcome()._repr_html_() is None
