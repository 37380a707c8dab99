"""Content of messages.

Modules:
    blocks: LangChain's content blocks to OpenAI's parts and back.
    media: images, audio, video and files.
    translator: Databricks messages as LangChain's standard blocks, for `message.content_blocks`.
"""
