"""The notebooks of the documentation run, and are committed without output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
by_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.mark.small
@by_notebook
def test_a_notebook_holds_no_output(path: Path) -> None:
    cells = json.loads(path.read_text("utf-8"))["cells"]
    ran = [cell for cell in cells if cell["cell_type"] == "code"]
    assert ran
    assert [cell["outputs"] or cell["execution_count"] for cell in ran] == [None] * len(ran)


@pytest.mark.small
def test_every_notebook_is_listed() -> None:
    page = (FOLDER / "README.md").read_text("utf-8")
    assert [path.name for path in NOTEBOOKS if f"({path.name})" not in page] == []


@pytest.mark.long
@by_notebook
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    if "torch" in path.read_text("utf-8"):
        pytest.importorskip("torch")
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=300, resources=resources).execute()
    ran = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert any(cell.outputs for cell in ran)
