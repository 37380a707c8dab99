"""Talks to a workspace: who am I, where do I send it, how.

- `workspace`: one identity (host and credentials) for everything that is sent.
- `targets`: what is called, and at which URL: a serving endpoint or a driver-proxy app.
- `retry`: one policy for what is tried again, and when.
- `failures`: an HTTP answer that is not a success, as one of our typed errors.
- `transport`: sends a `Request` and returns JSON, or the bytes of a stream.
"""
