"""State of requests in flight: admission, limits, cancellation, metrics."""
