"""Reports read back from JSON, and what is refused."""

from __future__ import annotations

import copy
import dataclasses
import importlib.resources
import json
import math

import numpy as np
import pytest
from support.reports import failed_report, failed_row, failure, report, row

import fastbp
from fastbp.errors import DTypeError, OptionError, ReportFileError
from fastbp.report import Kink, Report
from fastbp.report.deserialise import from_dict
from fastbp.report.model import Certificate
from fastbp.report.pictures.picture import Picture

pytestmark = pytest.mark.small


def full_report() -> Report:
    """A report in which every part is there."""
    kink = Kink("biases[0]", (3,), 0.0, -1.5, math.inf, 1e-12, "a remark")
    drawn = Picture(
        ratios=np.array([[0.25, math.inf], [-1.0, 1.5]]),
        cell=(3, 2),
        kinks=np.array([[False, True], [False, False]]),
        samples=np.array([[7.0, 1.0, math.nan, 1e-9, 0.0], [19.0, -2.0, 2.0, math.inf, 0.5]]),
    )
    return dataclasses.replace(
        failed_report(),
        arrays=(row(), failed_row(picture=drawn)),
        certificate=Certificate(2, 2**63, 1e-14, math.nan, 5, 3, ""),
        kink=kink, doubtful=(0, 2), convention="1/2", rtol=1e-3, at_least=True, function="f(x)",
        notes=("a note",), diagnosis=("weights[1]: transposed",),
    )  # fmt: skip


def schema() -> dict:
    text = importlib.resources.files("fastbp.report").joinpath("report.schema.json").read_text()
    return json.loads(text)


def read_back(written: Report, folder) -> Report:
    path = folder / "report.json"
    written.to_json(path)
    return Report.from_json(path)


@pytest.mark.parametrize("written", [failed_report(), report(row())], ids=["failed", "passed"])
def test_a_report_is_read_as_it_was_written(written, tmp_path):
    again = read_back(written, tmp_path)
    assert again == written
    assert str(again) == str(written)
    assert (again.maps, again.samples) == ({}, {})


def test_pictures_come_back_with_errors_of_three_digits(tmp_path):
    written = full_report()
    again = read_back(written, tmp_path)
    mine, read = (one.arrays[1].picture for one in (written, again))
    assert [one.picture for one in again.arrays[:1]] == [None]
    assert read.cell == mine.cell
    for name in ("ratios", "kinks", "samples"):
        np.testing.assert_array_equal(getattr(read, name), getattr(mine, name))
    odd = Picture(np.array([[0.123456, 1.0 + 1e-9, 1.0 - 1e-9, 98765.4]]))
    written = report(row(shape=(4,), entries=4, picture=odd))
    rounded = read_back(written, tmp_path).arrays[0].picture
    assert rounded.ratios.tolist() == [[0.123, 1.0 + 1e-9, 1.0, 98800.0]]
    assert rounded.kinks is None
    assert rounded.samples.shape == (0, 5)


def test_numbers_of_a_picture_stand_on_few_lines(tmp_path):
    drawn = Picture(np.ones((3, 128)), samples=np.ones((2, 5)))
    report(row(shape=(3, 128), picture=drawn)).to_json(tmp_path / "report.json")
    text = (tmp_path / "report.json").read_text()
    assert text.count("\n") < 120
    assert json.loads(text)["arrays"][0]["picture"]["ratios"] == [[1.0] * 128] * 3


def test_numbers_that_are_not_finite_come_back(tmp_path):
    odd = failure(given=math.nan)
    written = report(failed_row(detectable=math.inf, worst=odd), verdict="failed", failures=[odd])
    again = read_back(written, tmp_path)
    assert math.isnan(again.failures[0].given)
    assert again.arrays[0].detectable == math.inf
    assert again.to_dict() == written.to_dict()
    assert read_back(full_report(), tmp_path).to_dict() == full_report().to_dict()


def test_names_of_users_come_back(tmp_path):
    name = "w\x1b[2J\n\u202eb[0]\r\ud800" + "x" * 10_000
    assert read_back(report(row(name), function=name), tmp_path).arrays[0].name == name


def test_checks_of_every_kind_come_back(tmp_path):
    net = fastbp.Network.random([3, 4, 2], seed=1)
    x, y = np.ones((3, 5)), np.ones((2, 5))
    wrong = fastbp.check_network(net, x, y, 2 * net.loss_and_gradients(x, y)[1].flat)
    assert wrong.diagnosis
    function = fastbp.check_gradient(np.sum, np.ones(2), np.zeros(2), method="probe")
    for written in (wrong, function):
        assert read_back(written, tmp_path).to_dict() == written.to_dict()


# ---- the schema ----


def test_the_schema_describes_what_is_written():
    jsonschema = pytest.importorskip("jsonschema")
    checker = jsonschema.Draft202012Validator(schema())
    checker.check_schema(schema())
    for one in (full_report(), failed_report(), report(row())):
        checker.validate(one.to_dict())
    for broken in broken_contents():
        with pytest.raises(jsonschema.ValidationError):
            checker.validate(broken)


def test_the_schema_names_every_part():
    properties = schema()["properties"]
    assert set(properties) == set(full_report().to_dict())
    assert set(schema()["required"]) == set(properties)


# ---- what is refused ----


def change(content: dict, place: tuple, value) -> dict:
    content = copy.deepcopy(content)
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return content


PICTURE = ("arrays", 1, "picture")
IN_PICTURE = r"arrays\[1\].picture"
BROKEN = [
    (("schema_version",), 2, "schema_version must be 1, not 2."),
    (("verdict",), "perfect", "verdict must be one of passed, failed, vacuous, inconclusive, not"),
    (("arrays",), {}, r"arrays must be a list, not {}."),
    (("arrays", 0), 3, r"arrays\[0\] must be an object, not 3."),
    (("arrays", 1, "wrong"), 1.5, r"arrays\[1\].wrong must be an integer, not 1.5."),
    (("arrays", 1, "wrong"), True, r"arrays\[1\].wrong must be an integer, not True."),
    (("arrays", 0, "detectable"), "many", r"arrays\[0\].detectable must be a number, not 'many'."),
    (("arrays", 0, "name"), 7, r"arrays\[0\].name must be a string, not 7."),
    (("failures", 0, "given"), None, r"failures\[0\].given must be a number, not None."),
    (("at_least",), 1, "at_least must be true or false, not 1."),
    (("notes",), "note", "notes must be a list, not 'note'."),
    (PICTURE, 1, rf"{IN_PICTURE} must be an object, not 1."),
    ((*PICTURE, "cell"), [3], rf"{IN_PICTURE}.cell must be a list of 2, not \[3\]."),
    ((*PICTURE, "cell", 0), 0, rf"{IN_PICTURE}.cell\[0\] must be a positive integer, not 0."),
    ((*PICTURE, "ratios", 0, 1), "x", rf"{IN_PICTURE}.ratios\[0\]\[1\] must be a number, not 'x'."),
    (
        (*PICTURE, "kinks", 0, 0),
        -1,
        rf"{IN_PICTURE}.kinks\[0\]\[0\] must be an integer that",
    ),
    ((*PICTURE, "samples", 0, 0), 0.5, rf"{IN_PICTURE}.samples\[0\]\[0\] must be an integer"),
    (("certificate",), [], r"certificate must be an object, not \[\]."),
]


def broken_contents() -> list[dict]:
    return [change(full_report().to_dict(), place, value) for place, value, _ in BROKEN]


@pytest.mark.parametrize(("place", "value", "message"), BROKEN)
def test_a_part_that_is_wrong_is_named(place, value, message):
    with pytest.raises(ReportFileError, match=f"^{message}"):
        from_dict(change(full_report().to_dict(), place, value))


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("ratios", [[1.0, 1.0]], r"ratios must be 2 lists of 2 numbers, not \(1, 2\)."),
        ("ratios", [[1.0], []], "ratios must be lists of equal length, not"),
        ("ratios", [[1.0, "nan"], [1.0, 1.0]], "ratios must be numbers without a nan, not 'nan'."),
        ("cell", [1, 1], "ratios must be 5 lists of 4 numbers, not"),
        ("kinks", [[0, 2]], r"kinks\[0\] must be a cell of ratios, not \[0, 2\]."),
        ("samples", [[20, 1, 1, 1, 1]], r"samples\[0\]\[0\] must be less than 20, not 20."),
        ("samples", [[1, 1, 1, 1]], r"samples\[0\] must be a list of 5, not"),
    ],
)
def test_a_picture_must_fit_its_array(part, value, message):
    with pytest.raises(ReportFileError, match=f"^{IN_PICTURE}.{message}"):
        from_dict(change(full_report().to_dict(), (*PICTURE, part), value))


def test_a_part_that_is_missing_is_named():
    content = full_report().to_dict()
    del content["arrays"][1]["shape"]
    with pytest.raises(ReportFileError, match=r"^arrays\[1\].shape is missing.$"):
        from_dict(content)


def test_a_long_value_is_cut_and_an_integer_too_large_is_no_number():
    long = change(full_report().to_dict(), ("verdict",), "x" * 1000)
    with pytest.raises(ReportFileError, match=r"x\.\.\.\.$"):
        from_dict(long)
    large = change(full_report().to_dict(), ("seconds",), 10**400)
    with pytest.raises(ReportFileError, match=r"^seconds must be a number, not 1000"):
        from_dict(large)


def test_what_is_unknown_is_not_read_and_what_has_a_default_may_be_missing():
    content = failed_report().to_dict()
    content["new"] = content["arrays"][0]["new"] = 1
    del content["notes"], content["failures"][0]["hull"]
    assert from_dict(content) == failed_report()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no JSON: Expecting value"),
        (b"{", "is no JSON"),
        (b"\xff\xfe", "is no JSON: 'utf-8'"),
        (b"NaN", "is no JSON: NaN is no number of JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[]", "is no report: it has no schema_version"),
        (b"{}", "is no report: it has no schema_version"),
        (b'{"schema_version": 1}', "is no report: arrays is missing"),
        (b'{"schema_version": "9"}', "is no report: schema_version must be 1, not '9'"),
    ],
)
def test_a_file_that_is_no_report_is_refused(content, message, tmp_path):
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(ReportFileError, match=r"other\.json") as caught:
        Report.from_json(path)
    assert message in str(caught.value)


def test_a_file_that_is_not_there_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        Report.from_json(tmp_path / "none.json")


@pytest.mark.parametrize("path", [3, None, b"report.json"])
def test_what_is_no_path_is_an_error_of_ours(path):
    for use in (Report.from_json, full_report().to_json, full_report().to_html):
        with pytest.raises(DTypeError, match=rf"^path must be a path, not {type(path).__name__}"):
            use(path)
    for use in (Report.from_json, full_report().to_json):
        with pytest.raises(OptionError, match=r"^path must hold no NUL character\.$"):
            use("report\0.json")
