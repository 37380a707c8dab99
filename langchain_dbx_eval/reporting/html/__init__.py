"""The report of an evaluation as one HTML file.

Modules:
    page: the file: style, scripts, and compressed data.
    run: the overview of an evaluation, and the index of its rows.
    rows: one row.
    comparison: the comparison with baselines.
    redaction: texts that are left out.
    ratings: the ratings of a person, which a page exports.
    model: the data that the scripts read.

The folder ``assets`` contains the page: HTML, style and scripts, without a library.
"""

from langchain_dbx_eval.reporting.html.page import render_report
from langchain_dbx_eval.reporting.html.ratings import import_ratings
from langchain_dbx_eval.reporting.html.redaction import Redaction

__all__ = ["Redaction", "import_ratings", "render_report"]
