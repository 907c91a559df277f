"""``assert report`` in a test: the whole report as its message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastbp.errors import GradientMismatchError
from fastbp.report import Report, TaylorTest

if TYPE_CHECKING:
    import pytest

__all__ = ["show_reports"]


def show_reports(excinfo: pytest.ExceptionInfo[BaseException]) -> None:
    """Append the reports of a failed assertion to its message.

    pytest's message of ``assert report`` has its repr, one line; there is no hook for what is no
    comparison. The values of the assertion are still among the local variables of the test, those
    without a name under names of pytest's own, so that a report is recognised by its repr. Of
    ``report.verdict == "passed"`` the message has two strings alone, and the line tells.
    """
    error = excinfo.value
    if not isinstance(error, AssertionError) or isinstance(error, GradientMismatchError):
        return
    message = str(error)
    shown: list[str] = []
    entry = excinfo.traceback[-1]
    of_verdict = ".verdict" in str(entry.statement)
    for report in reports_among(entry.frame.f_locals.values()):
        text = str(report)
        if (of_verdict or repr(report) in message) and text not in shown:
            shown.append(text)
    if shown:
        error.args = ("\n\n".join([message, *shown]),)


def reports_among(values: Any) -> list[Report | TaylorTest]:
    """Return the values that are reports, and did not pass.

    A proxy that stands for nothing raises where `isinstance` asks for its class.
    """
    return [value for value in values if type(value) in (Report, TaylorTest) and not value]
