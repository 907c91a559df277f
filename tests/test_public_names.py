"""What `import fastbp` shows, and what it imports only when it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import fastbp

pytestmark = pytest.mark.small

FRAMEWORKS = ["jax", "torch"]


def run(program: str) -> str:
    process = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True
    )
    return process.stdout.strip()


def test_dir_shows_public_names_only() -> None:
    assert dir(fastbp) == sorted([*fastbp.__all__, "__version__", "jax", "notebook", "torch"])


def test_no_framework_is_imported_before_it_is_used() -> None:
    program = "import fastbp, sys; dir(fastbp); print({'jax', 'torch', 'numba'} & {*sys.modules})"
    assert run(program) == "set()"


def test_functions_of_plain_python_are_checked_without_numba() -> None:
    """Its import takes longer than the check."""
    program = """
import fastbp, numpy, sys
report = fastbp.check_gradient(lambda x: float(x @ x), lambda x: 2 * x, numpy.ones(3))
print(report.verdict, "numba" in sys.modules)
"""
    assert run(program) == "passed False"


@pytest.mark.long
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_framework_is_imported_on_first_use(name: str) -> None:
    pytest.importorskip(name)
    assert run(f"import fastbp; print(fastbp.{name}.check_function.__name__)") == "check_function"


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_framework_that_is_not_installed_is_no_attribute(name: str) -> None:
    program = f"""
import sys
sys.modules["{name}"] = None
import fastbp
assert not hasattr(fastbp, "{name}")
try:
    fastbp.{name}
except AttributeError as error:
    print(error)
"""
    assert run(program).startswith(f"fastbp.{name} needs {name}: ")


def test_the_notebook_functions_are_there() -> None:
    assert run("import fastbp; print(fastbp.notebook.__name__)") == "fastbp.notebook"
