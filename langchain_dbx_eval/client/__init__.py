"""HTTP access to serving endpoints and driver-proxy apps.

Modules:
    connection: `DatabricksConnection`, the base class of the three LangChain components.
    arguments: the components' arguments for type checkers and IDEs.
    credentials: a workspace host, and the headers that authenticate requests to it.
    targets: what is called, and its URL: a serving endpoint, a gateway or a driver app.
    hooks: `transform_input_fn` and `transform_output_fn`.
    request_options: `extra_body`, `extra_headers`, `extra_query` and `timeout` of one call.
    flow: calls as generators, and the drivers that run them synchronously or with asyncio.
    request: one request as a value, its attempts, and the errors of a failed connection.
    error_responses: the typed error of an unsuccessful response.
    sync_transport: one request over requests.
    async_transport: one request over aiohttp.
"""
