"""Causal language models of transformers, with continuous batching. Needs torch.

Modules:
    engine: `TransformersEngine`.
    sequence: one request in the batch.
    continuous: continuous batching: sequences join and leave the running batch at any step.
    micro_batch: batches that run to their end, for models without continuous batching.
    scheduling_policy: which sequences take part in the next step.
    sampling: the choice of the next token of each sequence.
    tokenization: prompts to tokens, tokens to text.
    delivery: when generated text is passed to the threads of the requests.
"""
