"""A run of pytest that tries every mutant in a child process of its own.

The tests are collected once. A first pass notes which functions each of them calls, and how long it
takes; then a child is forked for every mutant, exchanges the code, and runs the tests that call the
changed function until one fails: first those that noticed most mutants for their time, then the
quickest. No file is written but the results.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
import select
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest  # asv imports this module, in an environment without pytest

from .exchange import exchange
from .operators import Mutant

__all__ = ["Outcome", "Trial"]

# An endless loop counts as noticed after this many seconds and ten times what its tests take.
PATIENCE = 30.0
SLOW = 0.1  # seconds of a test that waits for all cases of the quick ones


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant: the test that failed (none: it survived), and how many ran."""

    name: str
    line: int
    module: str
    noticed_by: str
    tests: int
    digest: str


@dataclass
class Trial:
    """The plugin of pytest that runs the tests mutant by mutant.

    Attributes
    ----------
    modules : dict of str to module
    mutants : list of Mutant
    results : Path
        One line of JSON for each mutant that is done, for a later run to go on from.
    processes : int
        Mutants at a time.
    slowest, budget : float
        Seconds that one test, and all tests of a mutant together, may take in the first pass.
    deadline : float
        When to stop, as `time.monotonic` has it.
    """

    modules: dict[str, ModuleType]
    mutants: list[Mutant]
    results: Path
    processes: int
    slowest: float
    budget: float
    deadline: float
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    unfinished: int = 0

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Take the place of the loop over the tests."""
        calls = self._calls(session.items)
        items = {item.nodeid: item for item in session.items}
        known = self._known()
        waiting: list[tuple[Mutant, list[pytest.Item], str]] = []
        for mutant in self.mutants:
            names = _tests_of(mutant, calls, self.modules[mutant.module], self.budget)
            digest = _digest_of(mutant, names)
            before = known.get(mutant.name)
            if before is not None and _still_holds(before, mutant, digest):
                self.outcomes[mutant.name] = before
            else:
                waiting.append((mutant, [items[name] for name in names], digest))
        print(f"{len(self.mutants)} mutants, {len(waiting)} of them to be tried", flush=True)
        self._try_all(waiting, calls)
        return True

    # ---- the first pass ----

    def _calls(self, items: list[pytest.Item]) -> dict[str, Call]:
        """Run every test once as it is: how long it takes, and which functions it calls."""
        path = self.results.with_suffix(".calls")
        calls: dict[str, Call] = {}
        if path.exists():
            lines = path.read_text().splitlines()
            calls = {name: Call(*rest) for name, *rest in map(json.loads, lines)}
        digests = {item.nodeid: _digest_of_file(Path(item.path)) for item in items}
        fresh = [
            item
            for item in items
            if item.nodeid not in calls or calls[item.nodeid].digest != digests[item.nodeid]
        ]
        print(f"{len(items)} tests, {len(fresh)} of them to be timed", flush=True)
        tasks = ((item, _traced) for item in fresh)
        with path.open("a") as file:
            for item, text in _in_children(tasks, self.processes, PATIENCE):
                seconds, functions = json.loads(text) if text else (PATIENCE, [])
                line = (item.nodeid, seconds, functions, digests[item.nodeid])
                calls[item.nodeid] = Call(*line[1:])
                file.write(json.dumps(line) + "\n")
                file.flush()
        calls = {item.nodeid: calls[item.nodeid] for item in items}
        return {name: call for name, call in calls.items() if call.seconds <= self.slowest}

    # ---- what an earlier run found ----

    def _known(self) -> dict[str, Outcome]:
        if not self.results.exists():
            return {}
        lines = self.results.read_text().splitlines()
        return {found["name"]: Outcome(**found) for found in map(json.loads, lines)}

    # ---- the mutants ----

    def _try_all(
        self, waiting: list[tuple[Mutant, list[pytest.Item], str]], calls: dict[str, Call]
    ) -> None:
        digests = {mutant.name: digest for mutant, _, digest in waiting}
        noticed: Counter[str] = Counter()

        def by_success(item: pytest.Item) -> float:
            return -noticed[item.nodeid] / (0.01 + calls[item.nodeid].seconds)

        tasks = (
            (mutant, _changed(self.modules[mutant.module], sorted(chosen, key=by_success)))
            for mutant, chosen, _ in waiting
            if time.monotonic() < self.deadline
        )
        done = 0
        with self.results.open("a") as file:
            for mutant, text in _in_children(tasks, self.processes, PATIENCE + 10 * self.budget):
                noticed_by, tests = json.loads(text) if text else ("no answer in time", 0)
                outcome = Outcome(
                    mutant.name, mutant.line, mutant.module, noticed_by, tests,
                    _digest_of(mutant, [noticed_by]) if noticed_by else digests[mutant.name],
                )  # fmt: skip
                self.outcomes[mutant.name] = outcome
                noticed[noticed_by] += 1
                file.write(json.dumps(vars(outcome)) + "\n")
                file.flush()
                done += 1
        self.unfinished = len(waiting) - done


@dataclass(frozen=True)
class Call:
    """How long a test takes, which functions it calls (file and name), the hash of its file."""

    seconds: float
    functions: list[list[Any]]
    digest: str


def _digest_of_file(path: Path) -> str:
    if path not in _DIGESTS:
        _DIGESTS[path] = hashlib.sha256(path.read_bytes()).hexdigest()
    return _DIGESTS[path]


_DIGESTS: dict[Path, str] = {}


def _digest_of(mutant: Mutant, tests: Iterable[str]) -> str:
    """Hash what an outcome rests on: the code, and the files of the tests."""
    files = sorted({_file_of(name) for name in tests})
    parts = [_digest_of_file(path) for path in files if path.is_file()]
    return hashlib.sha256("\0".join([ast.unparse(mutant.tree), *parts]).encode()).hexdigest()[:16]


def _still_holds(before: Outcome, mutant: Mutant, digest: str) -> bool:
    """Tell whether neither the code nor what it rests on has changed: all tests, or the one."""
    if before.digest == digest:
        return True
    return bool(before.noticed_by) and before.digest == _digest_of(mutant, [before.noticed_by])


def _file_of(nodeid: str) -> Path:
    return Path(nodeid.partition("::")[0])


def _traced(item: pytest.Item) -> str:
    """Run a test; return its seconds and the functions of fastbp that it calls."""
    called: set[tuple[str, str]] = set()

    def note(frame: FrameType, event: str, argument: object) -> None:  # noqa: ARG001
        called.add((frame.f_code.co_filename, frame.f_code.co_qualname))

    begin = time.process_time()
    sys.settrace(note)
    failed = _fails(item, None)
    sys.settrace(None)
    seconds = PATIENCE if failed else time.process_time() - begin
    return json.dumps((seconds, sorted(c for c in called if "fastbp" in c[0] or "kernels" in c[0])))


def _fails(item: pytest.Item, following: pytest.Item | None) -> bool:
    reports: list[pytest.TestReport] = []

    class Listener:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            reports.append(report)

    manager = item.config.pluginmanager
    listener = Listener()
    manager.register(listener)
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
    manager.unregister(listener)
    return any(report.failed for report in reports)


def _tests_of(
    mutant: Mutant, calls: dict[str, Call], module: ModuleType, budget: float
) -> list[str]:
    """Return tests that run the changed code, within so many seconds.

    The quickest come first, one case of every parametrised test before the second of any.
    """
    source = Path(module.__file__ or "")
    tree = ast.parse(source.read_text())
    wanted = _functions_around(tree, mutant.line, str(source))
    if not wanted:
        wanted = _readers(tree, mutant.line)
    if not wanted:
        wanted = {(str(source), name) for name, _ in _functions(tree)}
    found = [
        (call.seconds, name)
        for name, call in calls.items()
        if any(tuple(function) in wanted for function in call.functions)
    ]
    cases: dict[str, int] = {}
    ordered = []
    for seconds, name in sorted(found):
        test = name.partition("[")[0]
        cases[test] = cases.get(test, 0) + 1
        ordered.append((cases[test], seconds, name))
    chosen, total = [], 0.0
    for _, seconds, name in sorted(ordered, key=lambda o: (o[1] > SLOW, *o)):
        total += seconds
        if chosen and total > budget:
            break
        chosen.append(name)
    return chosen


def _functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """Yield the functions of a module, of its classes and of each other, by qualified name."""
    for node in ast.iter_child_nodes(tree):
        inner = prefix
        if isinstance(node, ast.FunctionDef):
            yield prefix + node.name, node
            inner = f"{prefix}{node.name}.<locals>."
        elif isinstance(node, ast.ClassDef):
            inner = f"{prefix}{node.name}."
        yield from _functions(node, inner)


def _functions_around(tree: ast.Module, line: int, file: str) -> set[tuple[str, str]]:
    """Return the functions that hold a line."""
    return {
        (file, name)
        for name, node in _functions(tree)
        if node.lineno <= line <= (node.end_lineno or node.lineno)
    }


def _readers(tree: ast.Module, line: int) -> set[tuple[str, str]]:
    """Return the functions, of any module, that read the constants of a line."""
    names = {
        name.id
        for node in tree.body
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        and node.lineno <= line <= (node.end_lineno or node.lineno)
        for name in ast.walk(node)
        if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
    }
    found = set()
    for name, module in list(sys.modules.items()):
        if name.startswith("fastbp") and names & set(vars(module)):
            file = module.__file__ or ""
            for qualified, node in _functions(ast.parse(Path(file).read_text())):
                if names & {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}:
                    found.add((file, qualified))
    return found


def _changed(module: ModuleType, chosen: list[pytest.Item]) -> Callable[[Mutant], str]:
    """Return what a child does with a mutant of that module."""

    def run(mutant: Mutant) -> str:
        try:
            exchange(module, mutant.tree)
        except Exception as error:  # the module cannot even be imported
            return json.dumps((f"import: {type(error).__name__}", 0))
        for place, item in enumerate(chosen):  # none, if no test calls what was changed
            if _fails(item, chosen[place + 1] if place + 1 < len(chosen) else None):
                return json.dumps((item.nodeid, place + 1))
        return json.dumps(("", len(chosen)))

    return run


def _in_children(
    tasks: Iterable[tuple[Any, Callable[[Any], str]]], processes: int, patience: float
) -> Iterator[tuple[Any, str]]:
    """Carry out tasks in forked children; yield each with its answer, empty for none in time."""
    running: dict[int, tuple[Any, int, float]] = {}
    tasks = iter(tasks)
    more = True
    while more or running:
        while more and len(running) < processes:
            task = next(tasks, None)
            more = task is not None
            if task is not None:
                reader, process = _forked(*task)
                running[reader] = (task[0], process, time.monotonic() + patience)
        ready, _, _ = select.select(list(running), [], [], 1.0)
        late = [reader for reader, (_, _, limit) in running.items() if time.monotonic() > limit]
        for reader in {*ready, *late}:
            argument, process, _ = running.pop(reader)
            text = os.read(reader, 1 << 20) if reader in ready else b""
            while reader in ready and (part := os.read(reader, 1 << 20)):
                text += part
            os.close(reader)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            yield argument, text.decode()


def _forked(argument: Any, run: Callable[[Any], str]) -> tuple[int, int]:
    reader, writer = os.pipe()
    process = os.fork()
    if process:
        os.close(writer)
        return reader, process
    os.setpgid(0, 0)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    answer = b""
    try:
        answer = run(argument).encode()
    finally:
        while answer:
            answer = answer[os.write(writer, answer) :]
        os._exit(0)
