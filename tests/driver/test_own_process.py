"""What a process that only serves sets for itself, and takes back."""

from __future__ import annotations

import gc
import sys

from langchain_dbx_eval.driver.own_process import tuned_for_serving


def test_what_is_loaded_is_out_of_the_collectors_sight_until_the_end() -> None:
    interval, frozen = sys.getswitchinterval(), gc.get_freeze_count()
    with tuned_for_serving():
        assert gc.get_freeze_count() > frozen
        assert sys.getswitchinterval() < interval
    assert gc.get_freeze_count() == 0
    assert sys.getswitchinterval() == interval
