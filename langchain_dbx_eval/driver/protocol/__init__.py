"""Request and response formats: from JSON to engine requests, and from results to JSON.

Each request format is a pydantic model, from which validation, error messages and
``/openapi.json`` derive. Pure functions, without sockets and without a web framework.

Modules:
    json_body: strict decoding of a JSON body.
    validation: the base class of the models, and the 400 for a body that violates one.
    prompt: ``{"prompt", "stop"?, …}``, the documented form of ``POST /``.
    chat_messages: the messages of chat completions.
    chat_options: tools and structured output.
    openai: OpenAI's chat completions, completions and embeddings.
    mlflow: the dataframe forms of MLflow's scoring server.
    formats: `request_formats`, the format of each route for one engine.
    requests: what all formats are parsed to.
    responses: results as JSON and as server-sent events.
    responses_api: requests of OpenAI's Responses API.
    responses_api_output: results in the form of that API.
"""
