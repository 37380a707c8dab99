"""Our driver server with the model of the benchmarks.

``python -m benchmarks.driver.reference_server PORT SIZE [MAX_IN_FLIGHT]``
"""

from __future__ import annotations

import sys

import torch

from benchmarks.driver.models import bench_model, bench_tokenizer
from langchain_dbx_eval.driver import DriverServer, Limits
from langchain_dbx_eval.driver.engines.transformers.engine import TransformersEngine

torch.set_num_threads(1)
tokenizer = bench_tokenizer()
tokenizer.eos_token = None
engine = TransformersEngine(bench_model(tokenizer, sys.argv[2]), tokenizer)
limits = Limits(max_in_flight=int(sys.argv[3]) if len(sys.argv) > 3 else 64)
DriverServer(engine, "127.0.0.1", int(sys.argv[1]), False, limits=limits).serve_forever()
