"""The engines behind the driver server, one module per kind."""
