"""A client of short requests: ``driver_probe.py URL COUNT`` prints the seconds of each as JSON."""

from __future__ import annotations

import json
import sys
import time

import requests

url, count = sys.argv[1], int(sys.argv[2])
seconds = []
for number in range(count):
    body = {"prompt": f"question {number}", "max_new_tokens": 4}
    begun = time.perf_counter()
    requests.post(url, json=body, timeout=300).raise_for_status()
    seconds.append(time.perf_counter() - begun)
print(json.dumps(seconds))
