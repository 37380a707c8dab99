"""Message content: LangChain's content blocks to OpenAI's parts and back."""
