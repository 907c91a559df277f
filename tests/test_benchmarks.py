"""The benchmarks still run: one small case of each, and the peers on the notebook's network."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from support.benchmark_modules import benchmark_module

ROOT = Path(__file__).resolve().parent.parent
ASV_METHODS = ("time_", "track_", "peakmem_")


def asv_methods() -> list[pytest.ParameterSet]:
    found = []
    for path in sorted((ROOT / "benchmarks").glob("bench_*.py")):
        module = benchmark_module(path.stem)
        for name, owner in vars(module).items():
            if isinstance(owner, type) and owner.__module__ == module.__name__:
                found += [
                    pytest.param(owner, method, id=f"{path.stem}.{name}.{method}")
                    for method in dir(owner)
                    if method.startswith(ASV_METHODS)
                ]
    return found


@pytest.mark.long
@pytest.mark.parametrize(("owner", "method"), asv_methods())
def test_first_case_of_every_benchmark(owner, method, monkeypatch):
    if hasattr(owner, "program"):  # whole processes with a cold cache would take half a minute
        monkeypatch.setattr(owner, "program", "import fastbp  # {call}")
    case = next(itertools.product(*owner.params))
    benchmark = owner()
    if hasattr(benchmark, "setup_cache"):
        benchmark.setup_cache()
    benchmark.setup(*case)
    result = getattr(benchmark, method)(*case)
    if hasattr(benchmark, "teardown"):
        benchmark.teardown(*case)
    if method.startswith("track_"):
        assert result > 0


def test_the_programs_of_the_import_benchmarks_run():
    bench_import = benchmark_module("bench_import")
    for call in bench_import.FIRST_CALLS.values():
        exec(bench_import.PROGRAM.format(call=call), {})
    benchmark = bench_import.Import()
    for name in ("fastbp_alone", "fastbp_every_name", "yardstick_numba", "yardstick_numpy"):
        exec(getattr(benchmark, f"timeraw_{name}")(), {})


def test_products_find_their_kernels_today_and_in_older_layouts(monkeypatch):
    products = benchmark_module("products")
    for name, (today, *_) in products.PLACES.items():
        assert products.find(name) is getattr(importlib.import_module(today), name)
    older = ModuleType("fastbp.kernels.team")
    older.new_control = object()
    monkeypatch.setitem(sys.modules, "fastbp.kernels.machine.tickets", None)
    monkeypatch.setitem(sys.modules, "fastbp.kernels.team", older)
    assert products.find("new_control") is older.new_control
    monkeypatch.setitem(sys.modules, "fastbp.kernels.team", None)
    with pytest.raises(ImportError, match="new_control is in none of"):
        products.find("new_control")


def test_asv_suites_use_public_names_alone():
    inside = re.compile(r"^\s*(?:from|import) fastbp\.", re.MULTILINE)
    suites = sorted((ROOT / "benchmarks").glob("bench_*.py"))
    assert suites
    assert [path.name for path in suites if inside.search(path.read_text("utf-8"))] == []


def test_reference_agrees_with_its_loop():
    common = benchmark_module("common")
    reference = benchmark_module("reference")
    network = common.parameters("3-5^2-2")
    batch = common.examples("3-5^2-2", 4)
    _, dweights, dbiases = reference.loss_and_gradients(*network, *batch)
    pairs = zip(dweights, dbiases, strict=True)
    gradient = np.concatenate([array.ravel() for pair in pairs for array in pair])
    assert gradient.size == common.count_parameters("3-5^2-2")
    quotients = reference.loop_quotients(*network, *batch, range(gradient.size))
    np.testing.assert_allclose(quotients, gradient, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("1-6^5-1", (1, 6, 6, 6, 6, 6, 1)), ("784-10", (784, 10)), ("4096^2", (4096, 4096))],
)
def test_names_of_networks(name, sizes):
    assert benchmark_module("common").layer_sizes(name) == sizes


def test_peers_refuse_to_time_a_wrong_gradient():
    problem = benchmark_module("peers.problem").Problem("1-6^5-1", 1)
    backprop = benchmark_module("peers.backprop")
    right = benchmark_module("peers.peer_numpy").Step(problem)
    wrong = benchmark_module("peers.peer_numpy").Step(problem)
    backprop.require_agreement(problem, {"right": right, "same": wrong})
    wrong.dbiases[0] *= 2
    with pytest.raises(RuntimeError, match="gradients of right and wrong differ"):
        backprop.require_agreement(problem, {"right": right, "wrong": wrong})


def test_missing_peers_are_named(monkeypatch):
    available = benchmark_module("peers.available")
    monkeypatch.setattr(available, "PEERS", {"numpy": "peer_numpy", "not_installed": "peer_none"})
    peers = available.find_peers(threads=1)
    assert list(peers.modules) == ["NumPy"]
    assert peers.missing == ["not_installed"]


@pytest.mark.long
def test_products_beside_numpy():
    machine = benchmark_module("peers.machine")
    products = benchmark_module("peers.products")
    measured = machine.measure(1, machine.QUICK)
    page = products.compare_products([8, 33], ["float64"], measured, rounds=1).to_markdown()
    assert "A^T B, 33, float64" in page
    assert "Geometric mean of the ratios" in page


@pytest.mark.long
def test_both_orders_of_a_product_are_timed():
    orders = benchmark_module("peers.product_orders")
    page = orders.compare_orders([33], ["float64"], rounds=1).to_markdown()
    assert "A B, 33, float64" in page
    assert "FASTBP_PRODUCT_ORDER forces it" in page


def test_exponents_are_fitted():
    growth = benchmark_module("peers.growth")
    values = [2, 4, 8]
    assert growth.exponent(values, [5.0 * value**2.5 for value in values]) == pytest.approx(2.5)


def test_peaks_of_memory_are_seen():
    peak = benchmark_module("peers.peak")
    size = 2**25
    grown = peak.peak_bytes(lambda: np.ones(size // 8))
    if np.isnan(grown):
        pytest.skip("this system does not tell the peak of a process")
    assert 0.9 * size < grown < 2 * size


def test_the_times_of_the_readme_replace_those_that_are_there(tmp_path, monkeypatch):
    readme = benchmark_module("peers.readme")
    monkeypatch.setattr(readme, "measure", lambda: readme.Times(21.3, 0.512, 0.0123, 7.04))
    path = tmp_path / "README.md"
    text = (ROOT / "README.md").read_text("utf-8")
    path.write_text(text, "utf-8")
    block = readme.write_block(path, threads=1)
    written = path.read_text("utf-8")
    before, _, rest = text.partition("<!-- peers: begin")
    assert written == before + block + rest.partition("<!-- peers: end -->")[2]
    assert "a batch of 64 takes 0.012 s" in " ".join(block.split())
    assert "ready with it after 21 s; every later one after 0.51 s" in " ".join(block.split())
    path.write_text("no block", "utf-8")
    with pytest.raises(ValueError, match="has no block"):
        readme.write_block(path, threads=1)


@pytest.mark.long
def test_peers_on_the_network_of_the_notebook(tmp_path):
    # A process of its own: once imported, JAX warns of every later fork in this one.
    written = tmp_path / "peers.md"
    options = ["--quick", "--network", "1-6^5-1", "--dtype", "float64", "--write", str(written)]
    sections = [
        word
        for name in ("backprop", "apart", "check", "replay", "growth")
        for word in ("--only", name)
    ]
    command = [sys.executable, "-m", "benchmarks.peers", *sections]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = written.read_text()
    assert "## Forward and backward pass\n" in page
    assert "## Forward and backward pass, each in a process of its own\n" in page
    assert "## Finite differences of every entry" in page
    assert "## The check of every entry beside one step" in page
    for axis in ("width", "depth", "batch"):
        assert f"## Growth with {axis}" in page
        assert f"| power of {axis} " in page
    for package, name in (
        ("fastbp", "fastbp"),
        ("numpy", "NumPy"),
        ("torch", "torch"),
        ("jax", "JAX"),
    ):
        if importlib.util.find_spec(package) is None:
            assert f"not installed, so not measured: {package}" in page
        else:
            assert f"{name} " in page.splitlines()[2]


@pytest.mark.long
def test_functions_beside_their_peers():
    functions = benchmark_module("peers.functions")
    times, verdicts, network, one, compiled = functions.compare_functions(1, quick=True)
    assert [row[0] for row in times.rows][:2] == ["fastbp every", "fastbp probe"]
    all_found = ["5 of 5"] * (len(verdicts.header) - 2)
    assert verdicts.rows[0][0] == "fastbp.torch.check_function"
    assert verdicts.rows[0][2:] == all_found
    assert verdicts.rows[1][2:] == [*all_found[1:], ""]
    assert network.rows[0][1] == "0.0 %"
    assert one.rows[0][1:3] == ["failed", "at[12345]"]
    assert [row[:2] for row in compiled.rows] == [
        ["x[0] * x[1]", "1"], ["x[0] * x[1]", "2"], ["200 sines", "1"], ["200 sines", "2"],
    ]  # fmt: skip


@pytest.mark.long
def test_second_derivatives_beside_those_of_jax():
    pytest.importorskip("jax")
    second_order = benchmark_module("peers.second_order")
    [section] = second_order.compare_second_order(1, quick=True)
    assert [row[:3] for row in section.rows] == [
        ["sin", "passed", "passed"], ["a constant factor", "failed", "failed"],
    ]  # fmt: skip


@pytest.mark.long
def test_operators_beside_gradcheck():
    pytest.importorskip("torch")
    operators = benchmark_module("peers.operators")
    verdicts, slowest = operators.compare_operators(1, quick=True)
    count = int(verdicts.title.split()[0])
    for row in verdicts.rows:
        assert sum(map(int, row[1:6])) == count
    assert [row[0] for row in verdicts.rows] == [operators.OURS, operators.SLOW, operators.FAST]
    assert verdicts.rows[1][6:] == ["1.00 x"] * 4
    ratios = [float(row[-1].split()[0]) for row in slowest.rows]
    assert ratios == sorted(ratios, reverse=True)
    assert verdicts.rows[0][-1] == slowest.rows[0][-1]


# ---- mutants ----


def test_mutants_are_small_changes_of_the_code():
    mutants_of = benchmark_module("mutants.operators").mutants_of
    source = (
        '"""Half of a, 7 times."""\nLIMIT = 5.0\n\n\n'
        "def f(a: int, b=3):\n    return a if ~a + b < 0 else max(a, LIMIT)\n"
    )
    found = {mutant.name for mutant in mutants_of("m", source)}
    assert found == {
        "m: LIMIT = 5.0 -> LIMIT = 500.0",
        "m: LIMIT = 5.0 -> LIMIT = 0.05",
        "m: a if ~a + b < 0 else max(a, LIMIT) -> a",
        "m: a if ~a + b < 0 else max(a, LIMIT) -> max(a, LIMIT)",
        "m: a if ~a + b < 0 else max(a, LIMIT) -> a if ~a + b >= 0 else max(a, LIMIT)",
        "m: a if ~a + b < 0 else max(a, LIMIT) -> a if ~a + b < 1 else max(a, LIMIT)",
        "m: a if ~a + b < 0 else max(a, LIMIT) -> a if ~a - b < 0 else max(a, LIMIT)",
        "m: a if ~a + b < 0 else max(a, LIMIT) -> a if a + b < 0 else max(a, LIMIT)",
        "m: a if ~a + b < 0 else max(a, LIMIT) -> a if ~a < 0 else max(a, LIMIT)",
        "m: a if ~a + b < 0 else max(a, LIMIT) -> a if b < 0 else max(a, LIMIT)",
        "m: a if ~a + b < 0 else max(a, LIMIT) -> a if ~a + b < 0 else a",
        "m: a if ~a + b < 0 else max(a, LIMIT) -> a if ~a + b < 0 else LIMIT",
    }


def test_mutants_by_hand_stand_in_the_code_once():
    mutants = benchmark_module("mutants.by_hand")
    for module, _, _, tests in mutants.BY_HAND:
        source = Path(importlib.import_module(module).__file__).read_text()
        assert mutants.by_hand(module, source)
        assert (ROOT / tests).exists()


def test_the_tests_that_judge_mutants_exist():
    for module, tests in benchmark_module("mutants.targets").TARGETS.items():
        assert importlib.util.find_spec(module), module
        assert all((ROOT / test).exists() for test in tests), module


def test_a_mutant_takes_the_place_of_its_module(monkeypatch, tmp_path):
    exchange = benchmark_module("mutants.exchange").exchange
    mutants_of = benchmark_module("mutants.operators").mutants_of
    source = "LIMIT = 5.0\n\n\ndef over(a):\n    return a > LIMIT\n"
    (tmp_path / "judge_of_mutants.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("judge_of_mutants")
    over, found = module.over, {}
    for mutant in mutants_of("judge_of_mutants", source):
        exchange(module, mutant.tree)
        found[mutant.after] = over(1.0), over(100.0)
    assert found == {
        "LIMIT = 500.0": (False, False),
        "LIMIT = 0.05": (True, True),
        "return a <= LIMIT": (True, False),
    }


def test_a_mutant_that_no_test_calls_is_alive(monkeypatch, tmp_path):
    trial = benchmark_module("mutants.trial")
    mutants_of = benchmark_module("mutants.operators").mutants_of
    source = "def untested(a):\n    return a + 1.0\n"
    (tmp_path / "nobody_calls_this.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("nobody_calls_this")
    answers = [trial._changed(module, [])(m) for m in mutants_of("nobody_calls_this", source)]
    assert answers
    assert set(answers) == {'["", 0]'}


def test_a_mutant_without_tests_is_tried_again_as_soon_as_it_has_some(tmp_path):
    trial, operators = (benchmark_module(f"mutants.{name}") for name in ("trial", "operators"))
    (mutant, *_) = operators.mutants_of("m", "a = b + 1.0")
    test = tmp_path / "test_m.py"
    test.write_text("")
    without, with_one = (trial._digest_of(mutant, names) for names in ([], [f"{test}::test"]))
    alive = trial.Outcome(mutant.name, 1, "m", "", 0, without)
    assert trial._still_holds(alive, mutant, without)
    assert not trial._still_holds(alive, mutant, with_one)
    noticed = trial.Outcome(mutant.name, 1, "m", f"{test}::test", 1, with_one)
    assert trial._still_holds(noticed, mutant, without)
