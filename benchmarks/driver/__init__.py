"""Benchmarks of the driver server.

Modules:
    __main__: the driver server compared with the documentation's server, on a CPU.
    reference_server: our driver server, a separate process.
    documented_server: the server of the LangChain documentation, a separate process.
    load: the clients, a separate process.
    models: the model of both servers.
    gpu: the transformers engine on an accelerator (``python -m benchmarks.driver.gpu``).
"""
