"""OpenAI-compatible servers as an engine: vLLM, SGLang, llama.cpp, Ollama.

Modules:
    engine: `UpstreamEngine`.
    exchange: one request to a server, and its response.
    servers: which server receives a request, and the connections to it.
    deltas: the events of a stream as parts of a completion.
    errors: the errors that the client receives.
"""
