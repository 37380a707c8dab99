"""The server of the LangChain documentation, with the model of the benchmarks.

``python -m benchmarks.driver.documented_server PORT SIZE``

The code is that of the documentation except for the model, the tokenizer, the task (which
transformers otherwise requests from the hub), and the loopback address.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from flask import Flask, jsonify, request
from transformers import StoppingCriteria, pipeline

from benchmarks.driver.models import bench_model, bench_tokenizer

torch.set_num_threads(1)
tokenizer = bench_tokenizer()
dolly = pipeline("text-generation", model=bench_model(tokenizer, sys.argv[2]), tokenizer=tokenizer)
device = dolly.device


class CheckStop(StoppingCriteria):
    def __init__(self, stop: Any = None) -> None:
        super().__init__()
        self.stop = stop or []
        self.matched = ""
        self.stop_ids = [tokenizer.encode(s, return_tensors="pt").to(device) for s in self.stop]

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> bool:
        for i, s in enumerate(self.stop_ids):
            if torch.all(s == input_ids[0][-s.shape[1] :]).item():
                self.matched = self.stop[i]
                return True
        return False


def llm(prompt: Any, stop: Any = None, **kwargs: Any) -> str:
    check_stop = CheckStop(stop)
    result = dolly(prompt, stopping_criteria=[check_stop], **kwargs)
    return result[0]["generated_text"].rstrip(check_stop.matched)


app = Flask("dolly")


@app.route("/", methods=["POST"])
def serve_llm() -> Any:
    resp = llm(**request.json)
    return jsonify(resp)


app.run(host="127.0.0.1", port=int(sys.argv[1]))
