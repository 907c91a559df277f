"""checkpoint=: a check that was killed or interrupted goes on, with the bits of one in one go."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.processes import environment

import fastbp
from fastbp.errors import OptionError
from fastbp.runtime import progress

pytestmark = pytest.mark.small

AT = {"a": np.linspace(0.5, 2.0, 14), "b": np.linspace(-1.0, 1.0, 5)}


class Counted:
    """A function that counts its calls, and may interrupt one of them."""

    def __init__(self, last: int | None = None) -> None:
        self.calls, self.last = 0, last

    def __call__(self, p: dict[str, np.ndarray]) -> float:
        self.calls += 1
        time.sleep(0.02)  # what a moment's work has computed is kept, and this is some evaluations
        if self.calls == self.last:
            raise KeyboardInterrupt
        return float(np.sum(np.sin(p["a"])) + np.sum(np.abs(p["b"]) ** 3))


def gradient(p: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"a": np.cos(p["a"]), "b": 3 * p["b"] * np.abs(p["b"])}


def wrong_gradient(p: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    right = gradient(p)
    right["a"][[3, 10]] += 0.01
    return right


@pytest.mark.long
@pytest.mark.parametrize("method", ["every", "probe", "auto"])
@pytest.mark.parametrize("given", [gradient, wrong_gradient])
def test_interrupted_again_and_again_it_ends_with_the_same_bits(
    method: str, given: Any, tmp_path: Path
) -> None:
    options = {"method": method, "seed": 3}
    whole = fastbp.check_gradient(Counted(), given, AT, **options)
    file = tmp_path / "values.npz"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt) as caught:
            fastbp.check_gradient(Counted(last=14), given, AT, checkpoint=file, **options)
        assert caught.value.report.verdict in ("inconclusive", "failed")
    last = Counted()
    report = fastbp.check_gradient(last, given, AT, checkpoint=file, **options)
    assert (report.arrays, report.failures, report.notes) == (
        whole.arrays, whole.failures, whole.notes,
    )  # fmt: skip
    assert report.evaluations == whole.evaluations
    assert last.calls < whole.evaluations - 8


def test_a_check_that_is_complete_is_not_evaluated_again(tmp_path: Path) -> None:
    file = tmp_path / "values.npz"
    first = fastbp.check_gradient(Counted(), gradient, AT, checkpoint=file)
    again = Counted()
    second = fastbp.check_gradient(again, gradient, AT, checkpoint=str(file))
    assert (first.arrays, first.evaluations) == (second.arrays, second.evaluations)
    assert again.calls == 4  # twice at the point, and once beside it for each of two arrays
    assert [path.name for path in tmp_path.iterdir()] == ["values.npz"]
    with np.load(file, allow_pickle=False) as arrays:
        assert set(arrays) == {"problem", "keys", "values"}


PROGRAM = """
import sys, time
import numpy as np
import fastbp

def f(x):
    time.sleep(0.01)
    return float(np.sum(np.sin(x)))

at = np.linspace(0.5, 2.0, 300)
print("begins", flush=True)
report = fastbp.check_gradient(
    f, np.cos(at), at, method="every", checkpoint={checkpoint!r}, workers={workers}
)
worst = report.arrays[0].worst
print(report.verdict, report.evaluations, report.arrays[0].detectable.hex(), worst)
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize("workers", [None, 2])
def test_killed_it_goes_on_with_the_same_bits(workers: int | None, tmp_path: Path) -> None:
    file = tmp_path / "values.npz"

    def started(checkpoint: str | None, own: int | None) -> subprocess.Popen[str]:
        program = tmp_path / f"program{own}{checkpoint is None}.py"
        program.write_text(PROGRAM.format(checkpoint=checkpoint, workers=own))
        return subprocess.Popen(
            [sys.executable, "-P", str(program)],
            env=environment(), stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def finished(process: subprocess.Popen[str]) -> str:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        return out

    sizes = []
    for _ in range(2):
        process = started(str(file), workers)
        try:
            before = file.stat().st_size if file.exists() else 0
            while not (file.exists() and file.stat().st_size > before):
                assert process.poll() is None
                time.sleep(0.02)
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        with np.load(file, allow_pickle=False) as arrays:
            sizes.append(len(arrays["values"]))
    assert 0 < sizes[0] < sizes[1]
    assert finished(started(str(file), workers)) == finished(started(None, None))


def f(x: np.ndarray) -> float:
    return float(np.sum(x**2))


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"at": np.array([1.0, 2.5])}, "point, value of f, gradient"),
        ({"f": lambda x: float(np.sum(x**2) + 1)}, "value of f"),
        ({"gradient": np.array([2.0, 4.5])}, "gradient"),
        ({"seed": 8}, "seed"),
        ({"method": "probe"}, "options"),
        ({"bounds": (0, 9)}, "bounds"),
        ({"scale": 2.0}, "scale"),
        ({"at": [np.array([1.0, 2.0])]}, "names, value of f"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_checkpoint_of_another_check_is_refused(
    changed: dict[str, Any], what: str, tmp_path: Path
) -> None:
    file = tmp_path / "values.npz"
    asked = {
        "f": f, "gradient": lambda x: 2 * np.asarray(x), "at": np.array([1.0, 2.0]), "seed": 7,
        "method": "every", "checkpoint": file,
    }  # fmt: skip
    fastbp.check_gradient(**asked)
    before = file.read_bytes()
    if isinstance(changed.get("at"), list):
        changed = changed | {
            "f": lambda x: float(x[0] @ x[0]) + 1,
            "gradient": lambda x: [2 * x[0]],
        }
    with pytest.raises(OptionError) as caught:
        fastbp.check_gradient(**(asked | changed))
    assert str(caught.value) == (f"checkpoint: {file} is of another check: not the same {what}.")
    assert file.read_bytes() == before


@pytest.mark.parametrize("method", ["every", "probe"])
def test_values_of_another_function_that_is_the_same_at_the_point_are_refused(
    method: str, tmp_path: Path
) -> None:
    file = tmp_path / "values.npz"
    at = [np.array([1.0, 2.0]), np.array([3.0])]
    given = [2 * at[0], np.array([1.0])]
    options = {"method": method, "seed": 7, "checkpoint": file}

    def same_at_the_point(x: list[np.ndarray]) -> float:
        return float(np.sum(x[0] ** 2) + 9 - 2 * x[1][0])

    fastbp.check_gradient(lambda x: float(np.sum(x[0] ** 2) + x[1][0]), given, at, **options)
    before = file.read_bytes()
    with pytest.raises(OptionError) as caught:
        fastbp.check_gradient(same_at_the_point, given, at, **options)
    told = str(caught.value)
    assert told.startswith(f"checkpoint: {file} is of another function: with ")
    assert re.search(r" moved, f gives \S+ where it gave \S+\.$", told)
    assert file.read_bytes() == before


def test_without_a_seed_that_of_the_file_counts(tmp_path: Path) -> None:
    file = tmp_path / "values.npz"
    options = {"method": "probe", "checkpoint": file}
    first = fastbp.check_gradient(f, lambda x: 2 * x, np.ones(5), **options)
    second = fastbp.check_gradient(f, lambda x: 2 * x, np.ones(5), **options)
    assert first.notes == second.notes


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 something", b"[1, 2]"])
def test_a_damaged_checkpoint_is_an_error_of_ours(damage: bytes, tmp_path: Path) -> None:
    file = tmp_path / "values.npz"
    file.write_bytes(damage)
    with pytest.raises(
        OptionError, match=r"^checkpoint: .*values\.npz is no checkpoint of fastbp: "
    ):
        fastbp.check_gradient(f, 2 * np.ones(2), np.ones(2), checkpoint=file)
    np.savez(file, other=np.ones(2))
    with pytest.raises(OptionError, match="is no checkpoint of fastbp"):
        fastbp.check_gradient(f, 2 * np.ones(2), np.ones(2), checkpoint=file)
    np.savez(file, problem=np.array([{}]), keys=np.ones(2), values=np.ones(1))
    with pytest.raises(OptionError, match="is no checkpoint of fastbp"):
        fastbp.check_gradient(f, 2 * np.ones(2), np.ones(2), checkpoint=file)


def test_a_place_where_nothing_can_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    file = tmp_path / "nowhere" / "values.npz"
    with pytest.raises(OptionError, match=r"^checkpoint: .* cannot be written: No such file"):
        fastbp.check_gradient(f, 2 * np.ones(2), np.ones(2), checkpoint=file)
    assert progress._running == []


def test_other_forms_and_other_checks_are_refused() -> None:
    with pytest.raises(OptionError, match=r"^checkpoint must be a path, not 3"):
        fastbp.check_gradient(f, 2 * np.ones(2), np.ones(2), checkpoint=3)
    with pytest.raises(OptionError, match=r"^checkpoint is an option of check_gradient alone"):
        fastbp.check_vjp(np.sin, lambda x, w: np.cos(x) * w, np.ones(2), checkpoint="file")


def test_ctrl_c_brings_a_report_of_what_was_judged() -> None:
    at = [np.linspace(1, 2, 30) for _ in range(20)]
    calls = [0]

    def slow(p: list[np.ndarray]) -> float:
        calls[0] += 1
        if calls[0] == 700:
            raise KeyboardInterrupt
        return float(np.sum(np.sin(np.concatenate(p))))

    with pytest.raises(KeyboardInterrupt) as caught:
        fastbp.check_gradient(slow, [np.cos(array) for array in at], at, method="every")
    report = caught.value.report
    verdicts = [row.verdict for row in report.arrays]
    judged = verdicts.count("passed")
    assert 2 <= judged < 20
    assert verdicts == ["passed"] * judged + ["inconclusive"] * (20 - judged)
    assert report.arrays[-1].reason == "not judged: interrupted"
    assert f"{20 - judged} of 20 arrays not judged: interrupted" in report.notes
    assert report.verdict == "inconclusive"
    assert "not judged" in str(report)
