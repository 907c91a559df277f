"""Damaged files and strange arguments: an answer or an error of ours, and nothing else.

``FASTBP_FUZZ_EXAMPLES=100000 pytest -m long tests/test_fuzzing.py`` runs longer, on new examples.
"""

from __future__ import annotations

import collections
import contextlib
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.reports import failed_report, failed_row, report, row

import fastbp
from fastbp.errors import FastbpError, OutputFileError
from fastbp.report import Report

EXAMPLES = int(os.environ.get("FASTBP_FUZZ_EXAMPLES", "1500"))

pytestmark = pytest.mark.long

fuzzed = settings(
    max_examples=EXAMPLES,
    derandomize="FASTBP_FUZZ_EXAMPLES" not in os.environ,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def require_message(error: FastbpError) -> None:
    """Something to read, that does nothing to a terminal."""
    assert str(error)
    assert "\x1b" not in str(error)


# ---- bytes ----


def damage(draw: Any, content: bytes) -> bytes:
    """Change some bytes, cut some out, double some or put others in."""
    damaged = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        if not damaged:
            break
        start = draw(st.integers(0, len(damaged) - 1))
        stop = min(len(damaged), start + draw(st.integers(1, 12)))
        kind = draw(st.sampled_from(["set", "cut", "double", "insert", "truncate"]))
        if kind == "set":
            damaged[start] = draw(st.integers(0, 255))
        elif kind == "cut":
            del damaged[start:stop]
        elif kind == "double":
            damaged[start:start] = damaged[start:stop]
        elif kind == "insert":
            damaged[start:start] = draw(st.binary(max_size=8))
        else:
            del damaged[start:]
    return bytes(damaged)


def saved_problems(folder: Path) -> list[bytes]:
    rng = np.random.default_rng(0)
    found = []
    for loss, layout, with_gradient in (
        ("least_squares", "keras", True),
        ("softmax_cross_entropy", "book", False),
        ("sigmoid_cross_entropy", "torch", True),
    ):
        net = fastbp.Network.random([2, 3, 2], seed=0, loss=loss, layout=layout, weight_decay=0.1)
        samples = (2, 4) if layout == "book" else (4, 2)
        x = rng.normal(size=samples)
        y = np.array([0, 1, 1, 0]) if loss == "softmax_cross_entropy" else rng.random(samples)
        gradients = net.loss_and_gradients(x, y)[1] if with_gradient else None
        fastbp.save_problem(folder / "whole.npz", net, x, y, gradients)
        found.append((folder / "whole.npz").read_bytes())
    return found


def with_damaged_member(draw: Any, content: bytes) -> bytes:
    """A valid archive in which the bytes of one array are damaged, or a key is another one."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(file, "w") as after:
        names = before.namelist()
        chosen = draw(st.sampled_from(names))
        renamed = draw(st.sampled_from(["", *names, "weights_2.npy", "gradient.npy", "é\x1b.npy"]))
        for name in names:
            data = before.read(name)
            if name == chosen and not renamed:
                data = damage(draw, data)
            key = renamed if name == chosen and renamed else name
            with contextlib.suppress(UserWarning):  # of a key that stands twice
                after.writestr(key, data)
    return file.getvalue()


PROBLEMS: list[bytes] = []


@fuzzed
@given(st.data())
def test_a_damaged_problem_is_checked_or_refused(tmp_path_factory: Any, data: Any) -> None:
    folder = tmp_path_factory.getbasetemp()
    if not PROBLEMS:
        PROBLEMS.extend(saved_problems(folder))
    content = data.draw(st.sampled_from(PROBLEMS))
    if data.draw(st.booleans()):
        content = with_damaged_member(data.draw, content)
    else:
        content = damage(data.draw, content)
    path = folder / "fuzzed.npz"
    path.write_bytes(content)
    try:
        problem = fastbp.load_problem(path)
        found = fastbp.check_network(problem.net, problem.x, problem.y, problem.gradients)
    except FastbpError as error:
        require_message(error)
        return
    shown = str(found)
    assert "\x1b" not in shown
    assert "defect" not in shown


# ---- reports ----

NUMBERS = st.one_of(
    st.integers(), st.floats(), st.sampled_from([10**400, -(10**30), 2**63, 1e308, -0.0])
)
LEAVES = st.one_of(
    st.none(), st.booleans(), NUMBERS, st.text(max_size=8),
    st.sampled_from(["nan", "inf", "-inf", "passed", "failed", "\x1b[2J", "a" * 5000]),
)  # fmt: skip
JSON = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


def replaced(draw: Any, content: Any) -> Any:
    """Go down into nested JSON and change what is there: a value, a key, an order."""
    if isinstance(content, (dict, list)) and content and draw(st.integers(0, 3)):
        places = list(content) if isinstance(content, dict) else range(len(content))
        place = draw(st.sampled_from(places))
        action = draw(st.sampled_from(["down", "down", "down", "drop", "double", "replace"]))
        if action == "down":
            content[place] = replaced(draw, content[place])
        elif action == "drop":
            del content[place]
        elif action == "double" and isinstance(content, list):
            content.insert(place, content[place])
        else:
            content[place] = draw(JSON)
        return content
    return draw(JSON)


@fuzzed
@given(st.data())
def test_a_damaged_report_is_shown_or_refused(tmp_path_factory: Any, data: Any) -> None:
    written = data.draw(st.sampled_from([report(row()), failed_report(), report(failed_row())]))
    content = json.loads(json.dumps(written.to_dict()))
    for _ in range(data.draw(st.integers(1, 3))):
        content = replaced(data.draw, content)
    text = json.dumps(content)
    raw = text.encode()
    if data.draw(st.integers(0, 3)) == 0:
        raw = damage(data.draw, raw)
    folder = tmp_path_factory.getbasetemp()
    path = folder / "fuzzed.json"
    path.write_bytes(raw)
    try:
        found = Report.from_json(path)
    except FastbpError as error:
        require_message(error)
        return
    assert "\x1b" not in str(found)
    assert repr(found)
    assert found.to_markdown()
    found.to_json(folder / "again.json")
    found.to_html(folder / "again.html")
    assert str(Report.from_json(folder / "again.json")) == str(found)
    with contextlib.suppress(fastbp.GradientMismatchError):
        found.raise_unless_passed()


# ---- containers ----


class Pair(NamedTuple):
    w: Any
    b: Any


def arrays() -> st.SearchStrategy[Any]:
    """Arrays of every kind, and what passes for one."""
    numbers = [0.5, -1.25, 3.0]
    return st.sampled_from(
        [
            np.array(numbers), np.array(numbers, np.float32), np.array(0.5), np.zeros((0, 3)),
            np.ones((2, 2))[::-1, ::2], np.asfortranarray(np.ones((2, 3))), np.float64(2.0),
            np.array(numbers).astype(np.float16), np.array([1, 2]), np.array([True, False]),
            np.array([1 + 2j, 3j]), np.array(["a"]), np.array([None, 1.0]), np.array([np.nan, 1.0]),
            np.array([np.inf, 1.0]), np.ma.masked_array(numbers, [False, True, False]),
            np.array(numbers).astype(">f8"), np.array(numbers, np.longdouble),
            np.zeros(2, [("a", "f8")]), np.array(["2020-01-01"], "M8[D]"), np.full(2, 1e308),
            np.full(2, 5e-324), 1.5, 2, True, None, "text", b"bytes", 10**400, 1j, object(),
            float("nan"), memoryview(b"abc"), range(3), {1.0}, frozenset(),
            collections.deque([1.0]),
        ]
    )  # fmt: skip


def nested() -> st.SearchStrategy[Any]:
    keys = st.one_of(st.text(max_size=4), st.integers(), st.sampled_from(["w", "\x1b[2J", ""]))
    return st.recursive(
        arrays(),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.tuples(inner, inner),
            st.dictionaries(keys, inner, max_size=3),
            st.builds(Pair, inner, inner),
        ),
        max_leaves=5,
    )


def real_leaves(tree: Any) -> list[Any]:
    if isinstance(tree, dict):
        return [leaf for part in tree.values() for leaf in real_leaves(part)]
    if isinstance(tree, (list, tuple, collections.deque)):
        return [leaf for part in tree for leaf in real_leaves(part)]
    if not isinstance(tree, (float, np.ndarray, np.generic)):
        return []
    array = np.asarray(tree)
    return [array] if array.dtype.kind == "f" else []


def sum_of_sines(tree: Any) -> float:
    with np.errstate(all="ignore"):
        return float(sum(np.sum(np.sin(np.asarray(a, np.float64))) for a in real_leaves(tree)))


def cosines(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: cosines(part) for key, part in tree.items()}
    if isinstance(tree, Pair):
        return Pair(cosines(tree.w), cosines(tree.b))
    if isinstance(tree, (list, tuple, collections.deque)):
        return type(tree)(cosines(part) for part in tree)
    if real_leaves(tree):
        with np.errstate(all="ignore"):
            return np.cos(tree)
    array = np.asarray(tree)
    return np.zeros_like(array) if array.dtype.kind in "iubc" else tree  # f does not depend on it


@fuzzed
@given(at=nested(), other=st.one_of(st.none(), nested()), changed=st.booleans())
def test_containers_are_checked_or_refused(at: Any, other: Any, changed: bool) -> None:
    gradient = other if other is not None else cosines
    if changed and other is None:
        gradient = cosines(at)
    try:
        found = fastbp.check_gradient(sum_of_sines, gradient, at)
    except OutputFileError:
        raise
    except FastbpError as error:
        require_message(error)
        return
    assert "\x1b" not in str(found)
    # Beside 1e308 no two numbers are less than many periods of a sine apart: it has no slope there.
    if other is None and all((np.abs(leaf) < 1e6).all() for leaf in real_leaves(at)):
        assert found.verdict != "failed"
