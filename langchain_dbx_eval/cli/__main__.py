"""Run the command line as ``python -m langchain_dbx_eval.cli``."""

import sys

from langchain_dbx_eval.cli import main

sys.exit(main())
