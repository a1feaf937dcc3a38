"""Write a report into a folder."""

from pathlib import Path

from diptych_training.files import write_text
from diptych_training.refresh.report.page import report_page
from diptych_training.refresh.report.report import Report
from diptych_training.refresh.report.table import report_markdown

MARKDOWN_FILE, PAGE_FILE = "report.md", "report.html"


def write_report(folder: Path, report: Report) -> Path:
    """Write `report.md` and `report.html`, each atomically; returns the path of the page.

    The same report gives the same bytes. Raises DataError if a picture's data set is incomplete.
    """
    write_text(folder / MARKDOWN_FILE, report_markdown(report))
    page = folder / PAGE_FILE
    write_text(page, report_page(report))
    return page
