"""LLM judges: built-in judges, prompts, backends, parsing, cache."""
