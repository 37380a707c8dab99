"""One run of `evaluate()`: the model is invoked for each record, and the answers are scored.

Modules:
    model_resolver: from the argument `model` (also a URI) to a Runnable and the form of its input.
    model_input: the input of each kind of model, for the request of a record.
    invoker: `ModelInvoker`, which invokes the model for one row and captures the call.
    scheduler: `RowScheduler`, which runs many rows concurrently.
    budget: `Budget`, the limit of tokens or cost, and the table of prices.
    retry: lets failed rows and scorers with an error run again.
    preflight: checks of the data and of the first row, which end an evaluation before it costs.
    pipeline: saves and scores one answer; also used by the callback.
    progress: the progress bar.
    timeouts: the time limits of rows and scorers.
    shutdown: `GracefulShutdown`, the handling of Ctrl-C and SIGTERM.
"""
