"""The commands that evaluate.

Modules:
    run: ``run``, a new evaluation.
    resume: ``resume``, what is missing of an evaluation.
    config: `RunConfig`, the settings of a run, from a file and from arguments.
    execute: runs an evaluation from its settings, and prints the result.
"""
