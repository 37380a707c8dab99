"""Record what a chain does, from LangChain callbacks."""
