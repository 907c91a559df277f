"""The mistakes of the gallery, as ``fastbp demo MISTAKE`` shows them, and drawn."""

from __future__ import annotations

from fastbp.cli.demo import planted_report

__all__ = ["show"]


def show(name: str) -> None:
    """Print and draw the report of a backward pass in which a mistake was planted.

    Parameters
    ----------
    name : str
        One of those that ``fastbp demo list`` names.
    """
    report = planted_report(name)
    print(report)
    report.plot()
