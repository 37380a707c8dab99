"""Wire formats: JSON to LangChain objects and back, as pure functions without I/O.

Each format is one codec module: ``encode`` returns the body of a request, ``decode`` converts a
response, ``Stream`` decodes the events of a streamed response, and ``CODEC`` names the three.

Modules:
    tasks: the types of codecs, and the table of serving tasks. A new task is one line there.
    openai: chat completions, completions, embeddings, tools and structured output.
    responses: OpenAI's Responses API and MLflow's ResponsesAgent.
    mlflow: MLflow's ChatAgent and its scoring server.
    chat_by_shape: chat endpoints whose format is recognized by the shape of a response.
    plain_prompt: the driver app's ``{"prompt": …}``, and the text in an arbitrary response.
    content: content blocks and media.
    tool_calls: the tool calls of a message.
    metadata: token usage, model name and other fields beside a response's messages.
    stream_reader: a streamed response from bytes to chunks, and the base class of `Stream`.
    validate: checks of decoded JSON, and the error that they raise.
"""
