"""The report: verdict, totals, raising, the failures that it shows."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest
from support.reports import failed_report, failed_row, failure, report, row

from fastbp.errors import GradientMismatchError, OptionError
from fastbp.report import Failure
from fastbp.report.model import report_with_rows_to_come
from fastbp.verdict.rows import worst_of_all

pytestmark = pytest.mark.small


# ---- verdict and totals ----


@pytest.mark.parametrize("verdict", ["passed", "failed", "vacuous", "inconclusive"])
def test_only_a_pass_is_true(verdict):
    assert bool(report(row(), verdict=verdict)) == (verdict == "passed")


def test_totals_are_those_of_the_rows():
    both = report(row(kinks=2), failed_row(detectable=3e-5))
    assert (both.entries, both.wrong, both.kinks, both.detectable) == (40, 7, 3, 3e-5)


def test_a_row_without_entries_says_nothing_of_what_is_detectable():
    empty = failed_row("gradients", entries=0, detectable=1.0)
    assert report(row(), empty).detectable == 2e-6


def test_an_entry_is_written_as_in_python():
    assert failure().where == "weights[1][3, 17]"
    assert failure("biases[0]", (3,)).where == "biases[0][3]"


def test_a_report_cannot_be_edited():
    with pytest.raises(dataclasses.FrozenInstanceError):
        failed_report().verdict = "passed"


def test_reports_can_be_copied_pickled_and_compared():
    original = failed_report()
    assert pickle.loads(pickle.dumps(original)) == original
    assert copy.deepcopy(original) == original
    assert original != report(row())


# ---- raising ----


def test_a_failed_report_raises_with_itself_and_its_text():
    failed = failed_report()
    with pytest.raises(GradientMismatchError) as caught:
        failed.raise_if_failed()
    assert str(caught.value) == f"The gradient is wrong in weights[1].\n\n{failed}"
    assert caught.value.report is failed


def test_an_error_names_ten_arrays_and_counts_the_rest():
    rows = [failed_row(f"w[{place}]") for place in range(12)]
    with pytest.raises(GradientMismatchError) as caught:
        report(*rows, verdict="failed").raise_unless_passed()
    message = str(caught.value)
    assert message.startswith("The gradient is wrong in w[0], ")
    assert ", w[8], w[9], 2 more arrays.\n\n" in message


@pytest.mark.parametrize("verdict", ["passed", "vacuous", "inconclusive"])
def test_the_others_do_not_raise(verdict):
    assert report(row(), verdict=verdict).raise_if_failed() is None


def test_whatever_did_not_pass_raises_unless_it_is_allowed():
    def verdict(name, array):
        return report(row("w", verdict=array), verdict=name)

    verdict("passed", "passed").raise_unless_passed()
    said = {
        "failed": ("failed", "The gradient is wrong in w."),
        "inconclusive": ("inconclusive", "The gradient could not be judged in w."),
        "vacuous": ("untested", "Nothing was tested: every array is zero on both sides."),
    }
    for name, (array, sentence) in said.items():
        shown = verdict(name, array)
        others = {"inconclusive", "vacuous"} - {name}
        with pytest.raises(GradientMismatchError) as caught:
            shown.raise_unless_passed(allow=others)
        assert str(caught.value) == f"{sentence}\n\n{shown}"
        assert caught.value.report is shown
        if name != "failed":
            shown.raise_unless_passed(allow=(name,))
            shown.raise_unless_passed(["inconclusive", "vacuous"])


@pytest.mark.parametrize("allow", ["vacuous", ("failed",), ["passed"], ("nothing",), 3, None])
def test_what_cannot_be_allowed_is_refused(allow):
    with pytest.raises(OptionError, match=r"^allow must be a collection of 'inconclusive' and"):
        report(row()).raise_unless_passed(allow)


# ---- choosing the failures ----


def errors(name: str, sizes: list[float]) -> tuple[Failure, ...]:
    return tuple(failure(name, (i,), given=1.0 + size) for i, size in enumerate(sizes))


def test_ten_of_each_array_and_the_largest_of_the_rest():
    large = errors("large", [2e6 - i for i in range(1000)])
    small = errors("small", [1.0 - i / 1000 for i in range(900)])
    chosen = worst_of_all([large, (), small])
    assert len(chosen) == 1000
    assert [f for f in chosen if f.array == "small"] == list(small[:10])
    assert [f for f in chosen if f.array == "large"] == list(large[:990])
    assert [f.error for f in chosen] == sorted((f.error for f in chosen), reverse=True)


def test_many_wrong_arrays_share_the_thousand():
    arrays = [errors(f"weights[{k}]", [3.0, 2.0, 1.0]) for k in range(400)]
    chosen = worst_of_all(arrays)
    assert len(chosen) == 1000
    assert {f.array for f in chosen} == {f"weights[{k}]" for k in range(400)}


def test_no_failures():
    assert worst_of_all([(), ()]) == ()


# ---- rows that are made when they are looked at ----


def with_rows_to_come(made, *rows):
    """A report whose rows are noted in a list when they are made."""
    ready = report(*rows)
    parts = {part.name: getattr(ready, part.name) for part in dataclasses.fields(ready)}
    del parts["arrays"]

    def make():
        made.append(rows)
        return rows

    return ready, report_with_rows_to_come(make, **parts)


def test_rows_are_made_once_and_not_before_they_are_asked_for():
    made = []
    ready, waiting = with_rows_to_come(made, row(), failed_row())
    assert (waiting.verdict, bool(waiting), waiting.failures) == ("passed", True, ready.failures)
    assert made == []
    assert waiting.arrays == ready.arrays
    assert waiting.arrays is waiting.arrays
    assert len(made) == 1


@pytest.mark.parametrize(
    "look",
    [
        lambda waiting: waiting,
        copy.deepcopy,
        dataclasses.replace,
        lambda waiting: pickle.loads(pickle.dumps(waiting)),
    ],
    ids=["itself", "copied", "replaced", "pickled"],
)
def test_a_report_whose_rows_are_to_come_equals_one_that_has_them(look):
    ready, waiting = with_rows_to_come([], row(), failed_row())
    assert look(waiting) == ready
    assert str(waiting) == str(ready)
    assert waiting.to_dict() == ready.to_dict()


def test_what_a_report_does_not_have_is_still_missed():
    _, waiting = with_rows_to_come([], row())
    with pytest.raises(AttributeError, match="'Report' object has no attribute 'array'"):
        waiting.array  # noqa: B018 - it is looked up
