"""The exceptions: what they are to those who catch the built-in ones, and pickling."""

from __future__ import annotations

import pickle

import pytest

from fastbp import errors
from fastbp.report import Report

pytestmark = pytest.mark.small


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.ShapeError, ValueError),
        (errors.DTypeError, TypeError),
        (errors.NonFiniteError, ValueError),
        (errors.OptionError, ValueError),
        (errors.ProblemFileError, ValueError),
        (errors.ReportFileError, ValueError),
        (errors.OutputFileError, OSError),
        (errors.GradientMismatchError, AssertionError),
    ],
)
def test_every_error_is_ours_and_a_builtin_one(error, builtin):
    assert issubclass(error, errors.FastbpError)
    assert issubclass(error, builtin)


def test_all_names_are_exported():
    ours = {
        name for name, value in vars(errors).items()
        if isinstance(value, type) and value.__module__ == errors.__name__
    }  # fmt: skip
    assert ours == set(errors.__all__) - {errors.printable.__name__}


def empty_report() -> Report:
    return Report(
        verdict="failed",
        arrays=(),
        failures=(),
        sizes=(1, 1),
        batch=1,
        dtype="float64",
        layout="book",
        method="replay",
        scheme="central",
        delta=1e-6,
        rtol=None,
        atol=None,
        evaluations=0,
        seconds=0.0,
    )


def test_a_mismatch_travels_between_processes_with_its_report():
    error = errors.GradientMismatchError("wrong", empty_report())
    arrived = pickle.loads(pickle.dumps(error))
    assert str(arrived) == "wrong"
    assert arrived.report == error.report


def test_text_is_made_printable_and_nothing_else_is_changed():
    assert errors.printable("weights[0] \u2264 \u00e9 \U0001f600") == (
        "weights[0] \u2264 \u00e9 \U0001f600"
    )
    assert errors.printable("\x1b[2J\x07\r\n\t\u202e\ud800\x9b") == (
        r"\x1b[2J\x07\r\n\t\u202e\ud800\x9b"
    )
    assert errors.printable("one\ntwo\r", lines=True) == "one\ntwo\\r"


def test_a_message_does_nothing_to_a_terminal_and_keeps_its_lines():
    error = errors.OptionError("loss must be known, not '\x1b]0;title\x07'.\nSee the reference.")
    assert str(error) == ("loss must be known, not '\\x1b]0;title\\x07'.\nSee the reference.")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert pickle.loads(pickle.dumps(error)).args == error.args


def test_a_mismatch_keeps_its_exact_message_between_processes():
    error = errors.GradientMismatchError("wrong in \x1b[2J", empty_report())
    travelled = pickle.loads(pickle.dumps(error))
    assert travelled.args == error.args == ("wrong in \x1b[2J",)
    assert str(travelled) == r"wrong in \x1b[2J"
