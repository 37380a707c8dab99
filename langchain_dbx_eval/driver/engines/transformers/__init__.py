"""The transformers engine: encoding, batching, sampling, delivery."""
