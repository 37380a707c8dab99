"""Tables, SQL warehouses, volumes and managed datasets of the local workspace."""
