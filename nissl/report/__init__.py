"""The report: one HTML file that shows a study and needs nothing else, and its figures as files."""

from nissl.report.page import write_report
from nissl.report.save import write_figures

__all__ = ["write_figures", "write_report"]
