"""What several packages share.

Modules:
    event_loop: one event loop for the life of the process, in a thread of its own.
    retry: the one retry policy.
    deadline: a deadline for several calls together.
    limiter: an adaptive limit of concurrent calls.
    daemon_threads: threads that do not delay the end of the process.
    sse: server-sent events.
    log: loggers, and texts without control characters.
    notebook_html: HTML of notebook cells.
    imports: optional dependencies, and objects by ``"package.module:name"``.
    json_text: a fast JSON parser.
    paths: the folders of this package's files.
    runtime: the cluster and machine that this process runs on.
"""
