#!/usr/bin/env python3
"""Set fastbp up in its own virtual environment, then run its demo or its tests.

    python3 run.py demo               # the notebook's network, then one of 26 122 parameters
    python3 run.py test [ARGUMENT]... # the test suite on several cores; arguments go to pytest

Needs Python 3.11 or newer and pip, nothing else. The environment is the folder
.venv beside this file; a later run finds it there and starts at once. Your own
Python is left alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

OLDEST = (3, 11)
NEWEST = (3, 15)
ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
SCRIPTS = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
PYTHON = SCRIPTS / ("python.exe" if os.name == "nt" else "python")
# A process for each core, four at the most: each holds torch and JAX. The tests are dealt out in
# runs of neighbours, and who is done takes from the others; so a kernel is rarely compiled twice.
SIDE_BY_SIDE = ("-n", "logical", "--maxprocesses", "4", "--dist", "worksteal")
STAMP = ENVIRONMENT / "fastbp-installed.json"


def main(arguments: list[str]) -> int:
    """Run the command that the arguments name and return its exit code."""
    if sys.version_info < OLDEST:
        return run_with_newer_python(arguments)
    if arguments == ["demo"]:
        prepare_environment(extra="")
        return run_demo()
    if arguments[:1] == ["test"]:
        prepare_environment(extra="test")
        return call(PYTHON, "-P", "-m", "pytest", *SIDE_BY_SIDE, *arguments[1:])
    print(__doc__, file=sys.stderr)
    return 0 if arguments in (["-h"], ["--help"]) else 2


def run_with_newer_python(arguments: list[str]) -> int:
    """Start again under a newer Python of this machine, if there is one."""
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        newer = shutil.which("python3.%d" % minor)  # noqa: UP031  (an old Python runs this line)
        if newer:
            return subprocess.call([newer, str(Path(__file__)), *arguments])
    print("fastbp needs Python 3.11 or newer; this is " + sys.version.split()[0], file=sys.stderr)
    return 2


def prepare_environment(extra: str) -> None:
    """Make .venv and install fastbp there, or do nothing if that was done before."""
    key = environment_key()
    extras = installed_extras(key)
    if extras is not None and extra in extras:
        return
    if extras is None:
        create_environment()
        extras = []
    print(f"Installing fastbp into {ENVIRONMENT.name}; it may take minutes ...", flush=True)
    install("--editable", f"{ROOT}[{extra}]" if extra else str(ROOT))
    STAMP.write_text(json.dumps({"key": key, "extras": [*extras, extra]}))


def environment_key() -> str:
    """Hash what the environment depends on: the project's metadata, its place, the Python."""
    parts = [(ROOT / "pyproject.toml").read_bytes(), str(ROOT).encode(), sys.version.encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def installed_extras(key: str) -> list[str] | None:
    """List the extras that .venv holds; None if there is no environment that fits the key."""
    try:
        stamp = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return None
    works = PYTHON.exists() and stamp["key"] == key
    return list(stamp["extras"]) if works else None


def create_environment() -> None:
    """Make a .venv that holds pip alone, also where Python lacks ensurepip (as on Debian)."""
    command = [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        subprocess.run([*command, "--without-pip"], check=True)
        pip_outside = [sys.executable, "-m", "pip", "--python", str(PYTHON)]
        subprocess.run([*pip_outside, "install", "--quiet", "pip"], check=True)


def install(*what: str) -> None:
    """Install into .venv."""
    subprocess.run([str(PYTHON), "-m", "pip", "install", "--quiet", *what], check=True)


def run_demo() -> int:
    """Check the notebook's network, then a real-sized one that comes from a problem file."""
    code = call(SCRIPTS / "fastbp", "demo")
    with tempfile.TemporaryDirectory() as folder:
        problem = Path(folder) / "problem.npz"
        return (
            code
            or call(PYTHON, ROOT / "examples" / "write_problem.py", problem)
            or call(SCRIPTS / "fastbp", "check", problem)
        )


def call(*command: str | Path) -> int:
    """Run a command in the folder of the project and return its exit code."""
    return subprocess.call([str(part) for part in command], cwd=ROOT)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except subprocess.CalledProcessError as error:
        sys.exit(f"run.py: this command failed: {' '.join(error.cmd)}")
