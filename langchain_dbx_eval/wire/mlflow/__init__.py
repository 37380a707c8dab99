"""MLflow's formats.

Modules:
    chat_agent: ChatAgent requests and responses.
    chat_agent_stream: its streamed responses.
    scoring_server: ``dataframe_records`` in, ``predictions`` out.
"""
