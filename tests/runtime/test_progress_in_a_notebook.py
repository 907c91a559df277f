"""The progress bar in a real kernel of Jupyter."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

pytestmark = pytest.mark.long

WORK = """
import threading, time
from fastbp.runtime.progress import progress_bar

def work():
    for _ in range(500):
        advance(1)
        time.sleep(0.003)

with progress_bar(True, 2000, "work") as advance:
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""
SHORT = """
with progress_bar(None, 10, "short") as advance:
    advance(10)
"""
INTERRUPTED = """
try:
    with progress_bar(True, None, "unknown") as advance:
        advance(3)
        raise KeyboardInterrupt
except KeyboardInterrupt:
    print("stopped")
"""
REPORT = """
import fastbp
import numpy as np
fastbp.check_gradient(lambda x: float(x @ x), np.array([2.0, 5.0]), np.array([1.0, 2.0]))
"""


def run_cells(*cells: str) -> tuple[list[Any], Counter[tuple[int, str]]]:
    """Run cells; return them with their outputs, and count the messages that each cell sent."""
    # Imported here: they take longer than the everyday tests that are collected with this one.
    import nbclient
    import nbformat

    notebook = nbformat.v4.new_notebook(cells=[*map(nbformat.v4.new_code_cell, cells)])
    messages: Counter[tuple[int, str]] = Counter()

    class Client(nbclient.NotebookClient):
        def process_message(self, message: Any, cell: Any, index: int) -> Any:
            messages[index, message["msg_type"]] += 1
            return super().process_message(message, cell, index)

    Client(notebook, kernel_name="python3", timeout=120).execute()
    return notebook.cells, messages


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_notebook_shows_one_bar_that_changes_and_reports_as_html():
    cells, messages = run_cells(WORK, SHORT, INTERRUPTED, REPORT)
    work, short, interrupted, report = (cell["outputs"] for cell in cells)

    [bar] = work
    assert bar["data"]["text/plain"].startswith(f"work [{40 * '#'}] 2000/2000")
    assert messages[0, "display_data"] == 1
    assert 2 <= messages[0, "update_display_data"] <= 40  # twice a second, of 2000 steps
    assert messages[0, "stream"] == 0

    assert short == []

    bar, printed = interrupted
    assert bar["data"]["text/plain"].startswith("unknown 3/?")
    assert printed["text"] == "stopped\n"

    [shown] = report
    assert '<strong class="failed">Failed</strong>' in shown["data"]["text/html"]
    assert shown["data"]["text/plain"].startswith("<Report: failed")
