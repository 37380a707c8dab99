"""Delta tables read and written on this machine."""
