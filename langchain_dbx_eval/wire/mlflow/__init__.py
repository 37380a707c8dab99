"""MLflow's formats.

Modules:
    chat_agent: ChatAgent requests, responses and streams.
    scoring_server: ``dataframe_records`` in, ``predictions`` out.
"""
