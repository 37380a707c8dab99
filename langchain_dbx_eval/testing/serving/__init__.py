"""Serving endpoints of the local workspace.

Modules:
    kinds: the table of endpoint kinds; a new kind is one answer function and one entry there.
    endpoints: an endpoint and its description, the specification of a kind, an event stream.
    backends: the engine or function behind an endpoint.
    openai: requests, answers and streams that chat and completions endpoints share.
    text: text of messages, token counts and usage.
    chat, completions, embeddings: endpoints with OpenAI's protocols.
    custom: custom MLflow models (MLflow's scoring protocol).
    responses, chat_agent: MLflow's ResponsesAgent and ChatAgent.
"""
