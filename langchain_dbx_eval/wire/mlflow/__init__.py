"""MLflow's formats: ChatAgent and the scoring server."""
