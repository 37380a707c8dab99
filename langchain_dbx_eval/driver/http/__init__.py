"""The HTTP server: Flask app, routes, API key, waitress.

Modules:
    app: `create_app`, the Flask app of an engine.
    routes: the table of all routes, and their handlers.
    middleware: request log, API key check, error responses, paths of the driver proxy.
    auth: where the API key comes from.
    openapi: ``/openapi.json``, derived from the routes and the request models.
    waitress: the WSGI server, with a graceful shutdown.
    connections: its connections: deadlines, and what all of them together may occupy.
"""
