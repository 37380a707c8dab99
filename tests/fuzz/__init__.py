"""Random input for the decoders. `make fuzz` runs many more examples than `make test`."""
