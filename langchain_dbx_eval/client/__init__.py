"""Talks to a workspace: who am I, where do I send it, how.

- `workspace`: one identity (host and credentials) for everything that is sent.
- `targets`: what is called, and at which URL: a serving endpoint, a gateway, a driver-proxy app.
- `request`: one request as a value, and what its answer means; no sockets.
- `retry`: one policy for what is tried again, and when.
- `failures`: an HTTP answer that is not a success, as one of our typed errors.
- `sync_transport`, `async_transport`: send a `Request`; they differ in nothing but who waits.
"""
