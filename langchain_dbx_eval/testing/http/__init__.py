"""The HTTP server of the local workspace.

Modules:
    app: the Flask application: authentication, recording of requests, error responses.
    serving_routes: serving endpoints, and the injection of their faults.
    lakehouse_routes: SQL warehouses, Unity Catalog, managed datasets and files in volumes.
    driver_proxy: the driver proxy.
    json_body: JSON of requests and responses.
    server: the WSGI server on a loopback port.
"""
