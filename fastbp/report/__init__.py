"""Reports: what a check found, and how it is shown."""

from __future__ import annotations

from fastbp.report.model import ArrayReport, Failure, Kink, Report
from fastbp.report.taylor import TaylorTest

__all__ = ["ArrayReport", "Failure", "Kink", "Report", "TaylorTest"]
