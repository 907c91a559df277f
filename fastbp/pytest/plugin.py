"""The hooks that pytest calls: options, the fixture, reports in messages and in a folder.

pytest imports this module in every run, whether a test checks a gradient or not: it imports neither
NumPy nor numba nor anything else of fastbp until a test asks for the fixture.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fastbp.pytest.fixture import GradientCheck

__all__ = [
    "gradient_check",
    "pytest_addoption",
    "pytest_configure",
    "pytest_runtest_makereport",
]

MARKER = (
    "gradient_check(allow, method, budget, seed): options of the fixture gradient_check; "
    "allow='inconclusive', 'vacuous' or both lets a test pass whose gradient could not be judged."
)
# Methods of checks of functions and of networks; each check takes those that it knows.
METHODS = ("auto", "every", "probe", "certified", "exact", "replay")

CHECKS = pytest.StashKey[list[dict[str, Any]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add a flag and an ini option for each option."""
    group = parser.getgroup("fastbp", "gradient checks (fastbp)")
    for name, metavar, description in (
        ("method", "METHOD", "how to differentiate, in checks that know this method"),
        ("budget", "SECONDS", "what a check of a function may take"),
        ("seed", "N", "of the random numbers (default: drawn from the name of each test)"),
        ("report", "DIR", "write all reports of the run to DIR: index.html and reports.json"),
    ):
        flag = f"--gradient-{name}"
        group.addoption(flag, dest=f"gradient_{name}", metavar=metavar, help=description)
        parser.addini(f"gradient_{name}", f"{description} (as {flag})")


def pytest_configure(config: pytest.Config) -> None:
    """Validate the options before a test runs; collect reports where they are asked for."""
    config.addinivalue_line("markers", MARKER)
    defaults_of(config)
    folder = report_folder(config)
    if folder is not None and not hasattr(config, "workerinput"):  # a worker sends its reports
        from fastbp.pytest.collected import CollectedReports

        try:
            collected = CollectedReports(folder)
        except OSError as error:
            raise pytest.UsageError(
                f"--gradient-report: {folder} cannot be written: {error.strerror}."
            ) from error
        config.pluginmanager.register(collected, "fastbp-collected")


@pytest.fixture
def gradient_check(request: pytest.FixtureRequest) -> GradientCheck:
    """All checks of fastbp, each of which fails the test unless it passes."""
    from fastbp.pytest.fixture import GradientCheck, options_of

    __tracebackhide__ = True
    item = request.node
    options = options_of(item, defaults_of(request.config))
    checks = item.stash.setdefault(CHECKS, [])
    collects = report_folder(request.config) is not None
    return GradientCheck(item, options, checks if collects else None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the report of a plain ``assert report``; attach what is collected to pytest's report.

    pytest-xdist sends the attributes of a report to the process that collects them.
    """
    if call.excinfo is not None and "fastbp.report.model" in sys.modules:
        from fastbp.pytest.assertions import show_reports

        show_reports(call.excinfo)
    report = yield
    checks = item.stash.get(CHECKS, [])
    if checks:
        report.__dict__["gradient_checks"] = list(checks)
        checks.clear()
    return report


def defaults_of(config: pytest.Config) -> dict[str, Any]:
    """Return the options of the command line, or those of the ini file.

    Raises
    ------
    pytest.UsageError
        Naming the option.
    """
    options: dict[str, Any] = {}
    method, budget, seed = (given_option(config, name) for name in ("method", "budget", "seed"))
    if method is not None:
        if method not in METHODS:
            raise pytest.UsageError(
                f"gradient_method must be one of {', '.join(METHODS)}, not {method!r}."
            )
        options["method"] = method
    if budget is not None:
        options["budget"] = number(budget, float, "gradient_budget", "a number of seconds")
    if seed is not None:
        options["seed"] = number(seed, int, "gradient_seed", "an integer")
    return options


def given_option(config: pytest.Config, name: str) -> str | None:
    """Return an option of the command line, else of the ini file, else None."""
    flag: str | None = config.getoption(f"gradient_{name}")
    return flag if flag is not None else config.getini(f"gradient_{name}") or None


def number(text: str, kind: type, name: str, wanted: str) -> Any:
    """Return a number of at least 0 from the text of an option."""
    try:
        value = kind(text)
    except ValueError:
        value = -1
    if not 0 <= value < float("inf"):
        raise pytest.UsageError(f"{name} must be {wanted} of at least 0, not {text!r}.")
    return value


def report_folder(config: pytest.Config) -> Path | None:
    """Return where reports go: the flag counts from where pytest runs, the option from its file."""
    flag: str | None = config.getoption("gradient_report")
    if flag is not None:
        return config.invocation_params.dir / flag
    option: str = config.getini("gradient_report")
    return config.rootpath / option if option else None
