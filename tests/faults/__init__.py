"""The client matrix: each fault of a server, in each component, call and target.

Modules:
    server: a server whose responses are functions of a raw socket.
    responses: the parts of HTTP responses.
    table: the faults, and what a call must do about each.
    matrix: one cell: a call of a component that meets a fault, and what it violated.
    __main__: `make faults`, the whole matrix.
"""
