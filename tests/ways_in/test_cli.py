"""The command line, in processes of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from support.forks import ForkingServer
from support.processes import environment, run_program

from fastbp.cli import main

JIT_IS_OFF = os.environ.get("NUMBA_DISABLE_JIT") == "1"


# What a command takes longest for is to import fastbp and to load its kernels.
FORKS = ForkingServer("""
import numpy as np
import fastbp

fastbp.check_network(fastbp.Network.random([2, 3, 1]), np.ones((2, 4)), np.ones((1, 4)))
""")


def run(*arguments):
    if not hasattr(os, "fork"):
        return run_from_the_start(*arguments)
    return FORKS.run("fastbp", *map(str, arguments))


def run_from_the_start(*arguments, env=None):
    command = [sys.executable, "-P", "-m", "fastbp", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)


def run_without_reader(*arguments):
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-P", "-m", "fastbp", *map(str, arguments)]
    result = subprocess.run(
        command, stdout=write_end, stderr=subprocess.PIPE, text=True, timeout=120
    )
    os.close(write_end)
    return result


def refused(result, message):
    """Exit code 2, the message alone on stderr, nothing on stdout."""
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


@pytest.fixture
def arrays():
    """A file of two layers and a batch of four, and its gradient, all by plain NumPy."""
    rng = np.random.default_rng(9)  # every unit is on in two of the four samples
    w0, b0 = rng.standard_normal((3, 2)), rng.standard_normal((3, 1))
    w1, b1 = rng.standard_normal((1, 3)), rng.standard_normal((1, 1))
    x, y = rng.standard_normal((2, 4)), rng.standard_normal((1, 4))
    f = b0 + w0 @ x
    h = np.maximum(f, 0)
    above = 2 * (b1 + w1 @ h - y)
    below = (w1.T @ above) * (f > 0)
    return {
        "weights_0": w0, "biases_0": b0, "weights_1": w1, "biases_1": b1, "x": x, "y": y,
        "dweights_1": above @ h.T, "dbiases_1": above.sum(axis=1, keepdims=True),
        "dweights_0": below @ x.T, "dbiases_0": below.sum(axis=1, keepdims=True),
    }  # fmt: skip


@pytest.fixture
def path(tmp_path):
    return tmp_path / "problem.npz"


# ---- demo ----


@pytest.mark.small
def test_demo():
    result = run("demo")
    assert result.returncode == 0
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[1] == "Output 1.907, loss 327.371."
    verdicts = [line for line in lines if line.endswith(": Success!  Derivatives match.")]
    titles = [f"{kind} {layer}" for kind in ("Bias", "Weight") for layer in range(6)]
    assert verdicts == [f"{title}: Success!  Derivatives match." for title in titles]
    assert "\n12 arrays passed: 187 entries, errors of at most " in result.stdout
    assert "\nPASSED: network 1-6-6-6-6-6-1" in result.stdout


@pytest.mark.long
def test_a_terminal_that_knows_ascii_only(tmp_path):
    path = tmp_path / "Schätzung.npz"
    np.savez(path, weights_0=np.eye(2), x=np.ones((2, 1)), y=np.zeros((2, 1)))
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    result = run_from_the_start("check", path, env=env)
    assert result.returncode == 0
    assert "Sch?tzung.npz holds no gradient" in result.stdout


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
def test_a_reader_that_has_gone():
    """As in ``fastbp demo | head -0``: no traceback."""
    result = run_without_reader("demo")
    assert (result.returncode, result.stderr) == (141, "")


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
def test_a_reader_of_json_that_has_gone(path, arrays):
    """As much is written as no buffer holds: it is the check that learns of it, not its end."""
    wide = {"dweights_0": np.ones((3, 2)), "dweights_1": np.ones((1, 3))}
    np.savez(path, **(arrays | wide))
    copies = [path.with_name(f"{n}.npz") for n in range(6)]
    for copy in copies:
        copy.write_bytes(path.read_bytes())
    result = run_without_reader("check", *copies, "--json", "-")
    assert (result.returncode, result.stderr) == (141, "")


# ---- check ----


@pytest.mark.small
def test_check_passes_a_correct_gradient(path, arrays):
    np.savez(path, **arrays)
    result = run("check", path)
    assert result.returncode == 0
    assert result.stderr == ""
    assert result.stdout.startswith("PASSED")
    assert "fastbp's own backward pass" not in result.stdout


@pytest.mark.small
def test_check_finds_a_wrong_entry(path, arrays):
    arrays["dweights_0"][1, 0] += 0.1
    np.savez(path, **arrays)
    result = run("check", path)
    assert result.returncode == 1
    assert result.stderr == ""
    assert result.stdout.startswith("FAILED")
    assert "weights[0]" in result.stdout


@pytest.mark.small
def test_check_finds_a_wrong_shape(path, arrays):
    arrays["dbiases_0"] = np.tile(arrays["dbiases_0"], (1, 4))
    np.savez(path, **arrays)
    result = run("check", path)
    assert result.returncode == 1
    assert "(3, 4)" in result.stdout


@pytest.mark.small
def test_check_says_whose_gradient_it_checks(path, arrays):
    kept = {key: array for key, array in arrays.items() if not key.startswith("d")}
    np.savez(path, **kept)
    result = run("check", path)
    assert result.returncode == 0
    first = result.stdout.splitlines()[0]
    assert first == f"{path} holds no gradient: fastbp's own backward pass is checked."


@pytest.mark.small
def test_zero_on_both_sides_is_code_3(path):
    zeros = {"weights_0": np.zeros((1, 1)), "x": np.zeros((1, 1)), "y": np.zeros((1, 1))}
    np.savez(path, **zeros, dweights_0=np.zeros((1, 1)))
    result = run("check", path)
    assert result.returncode == 3
    assert result.stdout.startswith("VACUOUS")


@pytest.mark.small
def test_inconclusive_is_code_3(path):
    huge = {"weights_0": np.full((1, 1), 1e200), "x": np.full((1, 1), 1e200)}
    np.savez(path, **huge, y=np.zeros((1, 1)), dweights_0=np.ones((1, 1)))
    result = run("check", path)
    assert result.returncode == 3
    assert result.stdout.startswith("INCONCLUSIVE")


@pytest.mark.long
@pytest.mark.small
def test_tolerances(path, arrays):
    arrays["dweights_1"] *= 1.001
    np.savez(path, **arrays)
    assert run("check", path).returncode == 1
    assert run("check", path, "--rtol", "0.01").returncode == 0
    assert run("check", path, "--atol", "1").returncode == 0
    assert run("check", path, "--rtol", "1e-4", "--atol", "1e-9").returncode == 1


@pytest.mark.small
def test_json(path, arrays, tmp_path):
    arrays["dbiases_1"] *= 2
    np.savez(path, **arrays)
    target = tmp_path / "report.json"
    assert run("check", path, "--method", "replay", "--json", target).returncode == 1
    report = json.loads(target.read_text(encoding="utf-8"))
    assert report["verdict"] == "failed"
    verdicts = {row["name"]: row["verdict"] for row in report["arrays"]}
    assert verdicts["biases[1]"] == "failed"
    assert verdicts["weights[0]"] == "passed"


@pytest.mark.small
def test_json_on_standard_output_stands_alone(path, arrays, capsys):
    np.savez(path, **{key: array for key, array in arrays.items() if key[0] != "d"})
    assert main(["check", str(path), "--method", "replay", "--json", "-"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["verdict"] == "passed"
    assert captured.err == ""


@pytest.mark.small
def test_several_files_are_checked_one_after_the_other(path, arrays, tmp_path, capsys):
    wrong, target = tmp_path / "wrong.npz", tmp_path / "all.json"
    np.savez(path, **arrays)
    np.savez(wrong, **{**arrays, "dbiases_1": -arrays["dbiases_1"]})
    options = ["--method", "replay", "--json", str(target)]
    assert main(["check", str(path), str(wrong), *options]) == 1
    printed = capsys.readouterr().out
    assert printed.index(f"{path}:\n\nPASSED") < printed.index(f"{wrong}:\n\nFAILED")
    content = json.loads(target.read_text("utf-8"))
    assert [one["verdict"] for one in content.values()] == ["passed", "failed"]
    assert list(content) == [str(path), str(wrong)]
    missing = tmp_path / "missing.npz"
    assert main(["check", str(missing), str(wrong), str(path), *options]) == 2
    captured = capsys.readouterr()
    assert captured.err == f"fastbp: {missing} cannot be read: No such file or directory.\n"
    assert "PASSED" in captured.out
    assert "FAILED" in captured.out


@pytest.mark.small
def test_a_file_for_json_is_left_alone_where_there_is_nothing_to_write(path, tmp_path, capsys):
    kept, new = tmp_path / "kept.json", tmp_path / "new.json"
    kept.write_text("before")
    for target in (kept, new):
        assert main(["check", str(path), "--json", str(target)]) == 2
    assert kept.read_text() == "before"
    assert not new.exists()
    assert "cannot be read" in capsys.readouterr().err


# ---- demo with a mistake, show ----


@pytest.mark.small
@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("doubled", "every array: 2 times what it should be"),
        ("sign", "every array: the wrong sign"),
        ("bias-mean", "all biases: 1/6 of what it should be, and the batch has 6 examples"),
        ("not-summed", "biases[2]: not summed over the batch"),
        ("no-mask", "the mask of the ReLU is missing"),
        ("sigmoid", "h (1 - h), the derivative of the sigmoid"),
        ("one-layer-off", "weights[2]: computed with the activations of the layer below"),
        ("transposed", "all weights: transposed"),
        ("updated-weights", "weights that were updated already, with a step of 0.1"),
        ("no-decay", "all weights: the term of the weight decay is missing"),
        ("zero", "weights[1]: left at zero"),
        ("softmax", "softmax without its cross terms"),
    ],
)
def test_the_demo_names_the_mistake_that_it_plants(mistake, said, capsys):
    assert main(["demo", mistake]) == 1
    planted, report = capsys.readouterr().out.split("\n\n", 1)
    assert planted.startswith("Planted: ")
    diagnosis = " ".join(report.split("\n\n")[1].split())
    assert diagnosis.startswith("diagnosis: ")
    assert said in diagnosis


@pytest.mark.small
def test_the_demo_lists_its_mistakes_and_refuses_others(capsys):
    assert main(["demo", "list"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert len(names) == 12
    assert main(["demo", "\x1bnone"]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"fastbp: mistake must be one of {', '.join(names)}, not ")
    assert "\x1b" not in printed


@pytest.mark.small
def test_a_report_is_shown_again(path, arrays, tmp_path, capsys):
    np.savez(path, **{**arrays, "dbiases_1": -arrays["dbiases_1"]})
    target = tmp_path / "report.json"
    assert main(["check", str(path), "--method", "replay", "--json", str(target)]) == 1
    printed = capsys.readouterr().out
    assert main(["show", str(target)]) == 1
    assert capsys.readouterr().out == printed


@pytest.mark.small
def test_a_report_that_cannot_be_shown_is_refused(tmp_path, path, capsys):
    assert main(["show", str(tmp_path / "none.json")]) == 2
    assert "none.json cannot be read: No such file or directory." in capsys.readouterr().err
    path.write_text("{}")
    assert main(["show", str(path)]) == 2
    assert "is no report: it has no schema_version." in capsys.readouterr().err


@pytest.mark.small
@pytest.mark.parametrize(
    ("variables", "terminal", "coloured"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_colour_is_for_terminals(variables, terminal, coloured, monkeypatch, capsys):
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm", **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    main(["demo", "sign"])
    assert ("\x1b[31;1mFAILED\x1b[0m" in capsys.readouterr().out) == coloured


# ---- bad input: exit code 2 ----


def test_json_that_cannot_be_written(path, arrays, tmp_path):
    np.savez(path, **arrays)
    target = tmp_path / "nowhere" / "report.json"
    refused(run("check", path, "--json", target), f"{target} cannot be written: No such file")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_json_that_no_room_is_left_for(path, arrays):
    np.savez(path, **arrays)
    result = run("check", path, "--json", "/dev/full")
    assert result.returncode == 2
    assert result.stderr.startswith("fastbp: /dev/full cannot be written: ")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_an_output_that_no_room_is_left_for():
    command = [sys.executable, "-P", "-m", "fastbp", "demo", "list"]
    with open("/dev/full", "w") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 2
    assert result.stderr == "fastbp: the output cannot be written: No space left on device.\n"


@pytest.mark.small
def test_a_missing_file(path):
    refused(run("check", path), "problem.npz cannot be read: No such file or directory.")


def test_a_file_of_something_else(path):
    path.write_text("hello")
    refused(run("check", path), "fastbp: " + str(path) + " is not an .npz file.")


@pytest.mark.skipif(os.name == "nt", reason="such names are not allowed")
def test_names_of_files_and_keys_do_nothing_to_the_terminal(tmp_path, path, capsys):
    strange = tmp_path / "a\x1b[2J\nb.npz"
    shown = rf"{tmp_path}/a\x1b[2J\nb.npz"
    assert main(["check", str(strange)]) == 2
    assert (
        capsys.readouterr().err == f"fastbp: {shown} cannot be read: No such file or directory.\n"
    )
    np.savez(strange, **{"\x1b]0;title\x07": np.zeros(1)})
    assert main(["check", str(strange)]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(rf"fastbp: {shown}: unknown key '\x1b]0;title\x07'. The known keys")
    assert printed.count("\n") == 1
    assert main(["check", str(path), str(strange)]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 2
    assert printed.splitlines()[1].startswith(f"fastbp: {shown}: unknown key")


@pytest.mark.skipif(os.name == "nt", reason="such names are not allowed")
def test_a_strange_name_is_printed_harmlessly_with_the_report(tmp_path, arrays, capsys):
    strange = tmp_path / "a\x1b[2Jb.npz"
    np.savez(strange, **{key: value for key, value in arrays.items() if key[0] != "d"})
    assert main(["check", str(strange)]) == 0
    shown = rf"{tmp_path}/a\x1b[2Jb.npz"
    assert capsys.readouterr().out.startswith(f"{shown} holds no gradient: fastbp's own")
    assert main(["check", str(strange), "--json", str(tmp_path / "no\x1bfolder" / "r.json")]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(rf"fastbp: {tmp_path}/no\x1bfolder/r.json cannot be written: ")
    assert captured.out == ""  # known before the check begins


def test_a_missing_key(path, arrays):
    del arrays["y"]
    np.savez(path, **arrays)
    refused(run("check", path), "key 'y' is missing.")


def test_arrays_that_do_not_fit(path, arrays):
    arrays["weights_1"] = arrays["weights_1"].T
    np.savez(path, **arrays)
    refused(run("check", path), "weights[1] must have shape")


@pytest.mark.long
def test_bad_options(path, arrays):
    np.savez(path, **arrays)
    refused(run("check", path, "--method", "guess"), "method must be")
    refused(run("check", path, "--rtol", "nan"), "rtol must be")
    refused(run("check", path, "--atol", "-1"), "atol must be")


@pytest.mark.small
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["prove"], "invalid choice: 'prove'"),
        (["check"], "the following arguments are required: PROBLEM"),
        (["check", "a.npz", "--rtol", "tiny"], "invalid float value: 'tiny'"),
        (["check", "a.npz", "--xml", "b"], "unrecognized arguments: --xml"),
    ],
)
def test_arguments_that_make_no_command(arguments, message):
    result = run(*arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.small
def test_a_defect_of_ours_is_not_taken_for_a_wrong_gradient(monkeypatch, capsys):
    def stumble(path):
        raise RuntimeError(f"cannot happen with {path}")

    monkeypatch.setattr("fastbp.network.problem_file.load_problem", stumble)
    assert main(["check", "a.npz"]) == 70
    assert "RuntimeError: cannot happen with a.npz" in capsys.readouterr().err


# ---- help, version, Ctrl-C ----


@pytest.mark.small
def test_help_and_version():
    assert "Exit codes: 0 passed, 1 failed, 2 bad input, 3 vacuous" in run("--help").stdout
    for command in ("demo", "check", "show"):
        assert run(command, "--help").returncode == 0
    version = run("--version")
    assert version.returncode == 0
    assert version.stdout.startswith("fastbp 0.")


@pytest.mark.small
def test_help_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from fastbp.cli import main\n"
        "try:\n"
        "    main(['--help'])\n"
        "except SystemExit:\n"
        "    pass\n"
        "print(sorted({'numpy', 'numba', 'rich'} & set(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "[]"


@pytest.mark.long
@pytest.mark.skipif(JIT_IS_OFF, reason="plain Python looks at no flag")
@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c(tmp_path):
    """A check that would take minutes ends at once, with code 130 and no traceback."""
    path = tmp_path / "large.npz"
    rng = np.random.default_rng(0)
    shapes = {"weights_0": (2000, 500), "weights_1": (2000, 2000), "weights_2": (9, 2000),
              "x": (500, 200), "y": (9, 200)}  # fmt: skip
    np.savez(path, **{key: 0.05 * rng.standard_normal(shape) for key, shape in shapes.items()})
    code = (
        "import os, signal, sys, threading, time\n"
        "import numpy as np\n"
        "from fastbp import Network, check_network\n"
        "from fastbp.cli import main\n"
        "net = Network.random([500, 20, 9])\n"
        "check_network(net, np.ones((500, 200)), np.ones((9, 200)), method='replay')  # compiles\n"
        "sent = []\n"
        "def interrupt():\n"
        "    sent.append(time.perf_counter())\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Timer(1.5, interrupt).start()\n"
        "code = main(['check', sys.argv[1], '--method', 'replay'])\n"
        "print(time.perf_counter() - sent[0])\n"
        "sys.exit(code)\n"
    )
    result = subprocess.run(
        [sys.executable, "-P", "-c", code, str(path)], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 130
    assert result.stderr == "fastbp: interrupted.\n"
    # A second is promised, on processors that are not shared with other tests.
    assert float(result.stdout) < 5.0


# ---- compile ----

EVERYTHING = """
import numpy as np
import fastbp
from fastbp.runtime.compilation import compiled_entries

for dtype in np.float64, np.float32:
    for loss in "least_squares", "softmax_cross_entropy", "sigmoid_cross_entropy":
        for layout in "book", "torch", "keras":
            kind = {"dtype": dtype, "loss": loss, "layout": layout}
            net = fastbp.Network.random([5, 40, 3, 4], seed=1, **kind)
            for samples in 1, 2, 40:
                x = np.ones((5, samples), dtype)
                y = np.ones((4, samples), dtype) / 4
                if layout != "book":
                    x, y = x.T, y.T
                if loss == "softmax_cross_entropy":
                    y = np.zeros(samples, np.int64)
                net.forward(x)
                net.loss(x, y)
                for method in "certified", "exact", "replay":
                    fastbp.check_network(net, x, y, method=method)
    net = fastbp.Network([np.zeros((2, 2), dtype)] * 3)  # on kinks, in every sample
    fastbp.check_network(net, np.ones((2, 3), dtype), np.ones((2, 3), dtype))
fastbp.set_num_threads(2)
net = fastbp.Network.random([300, 300, 300], seed=1)
net.loss_and_gradients(np.ones((300, 300)), np.ones((300, 300)))
print(compiled_entries())
"""


@pytest.mark.long
@pytest.mark.skipif(JIT_IS_OFF, reason="nothing is compiled")
def test_after_compile_a_new_process_compiles_nothing(tmp_path):
    env = environment(NUMBA_CACHE_DIR=str(tmp_path))
    first = run_from_the_start("compile", env=env)
    assert first.returncode == 0, first.stderr
    assert re.match(r"\d+ kernels compiled; ", first.stdout)
    assert first.stdout.endswith(f"Kernels are kept in {tmp_path / 'fastbp.kernels'}\n")
    again = run_from_the_start("compile", env=env)
    assert again.stdout.startswith("Nothing to compile: all is there; ")
    assert run_program(EVERYTHING, env=env) == "0\n"
