"""JUnit XML: each problem a test case, for servers that collect the results of tests.

The form is what the schemas of Jenkins (junit-10.xsd) and of JUnit's Ant task have in common.
"""

from __future__ import annotations

import platform
from datetime import datetime
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from fastbp.errors import printable

if TYPE_CHECKING:
    from fastbp.cli.outputs.checked import Checked

__all__ = ["as_junit"]


def as_junit(checked: list[Checked]) -> str:
    """Return the problems as one suite of tests.

    What failed is a failure; what could not be judged, or not be read, is an error: both are red.
    """
    failed = sum(one.verdict == "failed" for one in checked)
    passed = sum(one.verdict == "passed" for one in checked)
    seconds = sum(0.0 if one.report is None else one.report.seconds for one in checked)
    suites = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(
        suites,
        "testsuite",
        name="fastbp",
        package="fastbp",
        id="0",
        timestamp=datetime.now().isoformat(timespec="seconds"),
        hostname=platform.node() or "localhost",
        tests=str(len(checked)),
        failures=str(failed),
        errors=str(len(checked) - failed - passed),
        time=f"{seconds:.3f}",
    )
    ElementTree.SubElement(suite, "properties")
    for one in checked:
        suite.append(test_case(one))
    for name in ("system-out", "system-err"):
        ElementTree.SubElement(suite, name)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def test_case(checked: Checked) -> ElementTree.Element:
    """Return one problem as a test case; what XML cannot hold is escaped."""
    report = checked.report
    seconds = 0.0 if report is None else report.seconds
    case = ElementTree.Element(
        "testcase",
        name=printable(checked.name),
        classname="fastbp.check",
        time=f"{seconds:.3f}",
    )
    if checked.verdict == "passed":
        return case
    kind = "failure" if checked.verdict == "failed" else "error"
    said = checked.complaint if report is None else "; ".join(report.diagnosis) or report.verdict
    found = ElementTree.SubElement(case, kind, type=checked.verdict, message=printable(said))
    found.text = printable(str(report), lines=True) if report is not None else said
    return case
