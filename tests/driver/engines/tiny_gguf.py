"""The GPT-2 of `tiny_gpt2` as a model file for llama.cpp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PARTS = {
    "wte": "token_embd",
    "wpe": "position_embd",
    "ln_f": "output_norm",
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}


def write_gguf(path: Path, model: Any, tokenizer: Any) -> None:
    """Write a GPT-2 of transformers and its byte-level BPE tokenizer, in float32."""
    import json

    from gguf import GGUFWriter, TokenType

    config = model.config
    writer = GGUFWriter(path, "gpt2")
    writer.add_name("tiny")
    writer.add_block_count(config.n_layer)
    writer.add_context_length(config.n_positions)
    writer.add_embedding_length(config.n_embd)
    writer.add_feed_forward_length(4 * config.n_embd)
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)

    words = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    special = set(tokenizer.all_special_tokens)
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    kinds = [TokenType.CONTROL if token in special else TokenType.NORMAL for token in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in words["merges"]])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_bos_token_id(tokenizer.eos_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(tokenizer.chat_template)

    for name, weight in model.transformer.state_dict().items():
        values = weight.float().numpy()
        # transformers stores these weights of GPT-2 transposed.
        values = values.T.copy() if ".c_" in name and name.endswith("weight") else values
        writer.add_tensor(_name_of(name), values)
    writer.add_tensor("output.weight", model.lm_head.weight.detach().float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _name_of(name: str) -> str:
    where, _, kind = name.rpartition(".")
    if not where.startswith("h."):
        return f"{PARTS[where]}.{kind}"
    _, number, part = where.split(".", 2)
    return f"blk.{number}.{PARTS[part]}.{kind}"
