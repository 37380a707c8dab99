"""OpenAI's formats.

Modules:
    chat: chat completions.
    completions: text completions.
    embeddings: embeddings.
    tools: the parameters of a request that offers tools.
    structured_output: answers that are an object of a schema.
"""
