"""JSON to LangChain objects and back: pure functions, without sockets, clocks or configuration.

Each wire format has a module: ``encode…`` makes the body of a request, ``decode…`` reads the
answer. A stream has a small class with ``feed(payload) -> chunk | None`` and ``finish()``, which
raises when the stream ended before its end.
"""
