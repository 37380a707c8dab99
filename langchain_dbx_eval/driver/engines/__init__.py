"""The engines of the driver server: what generates text or computes embeddings.

Modules:
    base: the protocols that an engine implements, and their values.
    function: `CallableEngine`, any Python function.
    function_result: what a function returns, and the checks that are applied to it.
    upstream: `UpstreamEngine`, OpenAI-compatible servers such as vLLM.
    embedding: `EmbeddingEngine`, sentence-transformers.
    transformers: `TransformersEngine`, a causal language model with continuous batching.
    parameters: the standard generation parameters and their ranges.
    messages: chat messages as plain text, for models that read text only.
    load_errors: one error type for models that cannot be loaded.
"""
