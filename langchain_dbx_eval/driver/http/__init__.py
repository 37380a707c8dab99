"""The HTTP side of the driver server: Flask app, routes, authentication, waitress."""
