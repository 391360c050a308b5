"""The report: one HTML file that opens offline."""

from replearn.report.page import build

__all__ = ["build"]
