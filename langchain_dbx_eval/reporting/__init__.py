"""What people look at: the terminal, a page, the comparison of two runs.

- `comparison`: two evaluations side by side.
- `terminal`: tables for the terminal.
- `html`: one page that stands alone.
"""

from langchain_dbx_eval.reporting.comparison import Comparison, compare
from langchain_dbx_eval.reporting.html import write_report
from langchain_dbx_eval.reporting.terminal import print_comparison, print_result

__all__ = ["Comparison", "compare", "print_comparison", "print_result", "write_report"]
