"""What bounds a request while it runs: admission, deadline, cancellation, stop strings.

Modules:
    limits: `Limits`, the bounds of one server.
    admission: limits the number of requests in flight.
    request_context: the deadline of one request, the state of its client, and cancellation.
    stop_strings: where a completion ends.
    token_estimate: token counts of models without a known tokenizer.
    metrics: counters for Prometheus.
"""
