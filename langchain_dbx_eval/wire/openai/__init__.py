"""OpenAI's formats: chat completions, completions, embeddings, tools."""
