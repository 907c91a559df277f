"""What it takes to repeat a check: its seed, and when, with what and where it was made."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbp
from fastbp.runtime.environment import _command

pytestmark = pytest.mark.small

AT = np.array([1.0, 2.0, 3.0])
MADE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC; fastbp \S+, numpy \S+, numba [^;]+; Python \S+ on .+, "
    r"\d+ processors(; .*pytest.*)?"
)


def of_a_function(method: str, seed: int | None) -> fastbp.Report:
    at = np.linspace(-1.0, 1.0, 40)
    wrong = 2 * at
    wrong[7] += 0.5
    return fastbp.check_gradient(lambda x: np.sum(x**2), wrong, at, method=method, seed=seed)


def of_a_network(method: str, seed: int | None) -> fastbp.Report:
    net = fastbp.Network.random([3, 4, 2], seed=1)
    x, y = np.ones((3, 5)), np.ones((2, 5))
    return fastbp.check_network(net, x, y, method=method, seed=seed)  # type: ignore[arg-type]


CHECKS = [
    (of_a_function, "every"), (of_a_function, "probe"),
    (of_a_network, "certified"), (of_a_network, "exact"), (of_a_network, "replay"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "method"), CHECKS)
def test_a_report_tells_seed_versions_date_and_machine(
    check: Any, method: str, tmp_path: Path
) -> None:
    report = check(method, 7)
    assert report.seed == 7
    assert MADE.fullmatch(report.made)
    report.to_json(tmp_path / "report.json")
    content = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert (content["seed"], content["made"]) == (7, report.made)
    again = fastbp.Report.from_json(tmp_path / "report.json")
    assert (again.seed, again.made) == (7, report.made)


@pytest.mark.parametrize(("check", "method"), CHECKS)
def test_the_seed_that_a_report_tells_gives_the_same_bits(check: Any, method: str) -> None:
    first = check(method, None)
    again = check(method, first.seed)
    contents = [report.to_dict() for report in (first, again)]
    for content in contents:
        del content["seconds"], content["made"]
    assert contents[0] == contents[1]


def test_products_tell_their_seed() -> None:
    assert fastbp.check_vjp(np.sin, lambda x, w: w * np.cos(x), AT, seed=3).seed == 3
    assert fastbp.check_jvp(np.sin, lambda x, v: v * np.cos(x), AT, seed=4).seed == 4


def test_a_report_tells_the_command_of_a_script(tmp_path: Path) -> None:
    script = tmp_path / "check.py"
    script.write_text("from fastbp.runtime.environment import made_here\nprint(made_here())\n")
    command = [sys.executable, str(script), "--size", "a b"]
    made = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    program = Path(sys.executable).name
    assert made.endswith(f" processors; {program} {script} --size 'a b'\n")


@pytest.mark.parametrize(
    "words",
    [
        ["python"],
        ["python", "-i"],
        ["python", "-W", "error", "-c", "import fastbp"],
        ["python", "-m", "ipykernel_launcher", "-f", "kernel.json"],
        [],
    ],
)
def test_a_command_that_nobody_can_repeat_is_left_out(words: list[str]) -> None:
    assert _command(tuple(words)) == ""


def test_a_long_command_is_cut() -> None:
    assert len(_command(("python", *map(str, range(1000))))) == 203
