"""Request and response formats of the driver server."""
