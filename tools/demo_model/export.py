"""Write a checkpoint as GGUF: ``python -m tools.demo_model.export``."""

import argparse
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf.quants import quantize

from tools.demo_model.model import Shape
from tools.demo_model.prompts import MODEL_PATH, TEMPLATE_PATH
from tools.demo_model.tokenizer import BYTE_OFFSET, MARKERS, Tokenizer

DESCRIPTION = (
    "A tiny language model, trained from scratch on generated conversations, that demonstrates "
    "and tests ixmodal. It knows a few hundred facts and is not meant for any real use."
)
Weights = dict[str, torch.Tensor]


def tensors(weights: Weights, layers: int) -> dict[str, torch.Tensor]:
    """Name the weights as llama.cpp does; the tied embedding is written twice."""
    found = {
        "token_embd.weight": weights["embedding"],
        "output_norm.weight": weights["norm.weight"],
        "output.weight": weights["embedding"],
    }
    for layer in range(layers):
        old, new = f"blocks.{layer}", f"blk.{layer}"
        query, key, value = weights[f"{old}.query_key_value"]
        gate, up = weights[f"{old}.gate_up"]
        found |= {
            f"{new}.attn_norm.weight": weights[f"{old}.attention_norm.weight"],
            f"{new}.attn_q.weight": query,
            f"{new}.attn_k.weight": key,
            f"{new}.attn_v.weight": value,
            f"{new}.attn_output.weight": weights[f"{old}.output"][0],
            f"{new}.ffn_norm.weight": weights[f"{old}.feed_norm.weight"],
            f"{new}.ffn_gate.weight": gate,
            f"{new}.ffn_up.weight": up,
            f"{new}.ffn_down.weight": weights[f"{old}.down"][0],
        }
    return found


def add_shape(writer: gguf.GGUFWriter, shape: Shape) -> None:
    """Write what the model is and its dimensions."""
    writer.add_name("ixmodal demo")
    writer.add_description(DESCRIPTION)
    writer.add_license("apache-2.0")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)


def add_vocabulary(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    """Write the tokens, their scores (falling with the rank) and types."""
    first = tokenizer.first_piece
    types = [gguf.TokenType.NORMAL] * len(tokenizer)
    types[0] = gguf.TokenType.UNKNOWN
    types[1] = types[2] = gguf.TokenType.CONTROL
    types[BYTE_OFFSET : BYTE_OFFSET + 256] = [gguf.TokenType.BYTE] * 256
    for marker in MARKERS:
        types[tokenizer.index[marker]] = gguf.TokenType.CONTROL
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokenizer.pieces)
    writer.add_token_scores([float(min(0, first - place)) for place in range(len(tokenizer))])
    writer.add_token_types(types)
    writer.add_bos_token_id(tokenizer.bos)
    writer.add_eos_token_id(tokenizer.im_end)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_chat_template(TEMPLATE_PATH.read_text(encoding="utf-8"))


def add_weights(writer: gguf.GGUFWriter, weights: dict[str, torch.Tensor]) -> None:
    """Write matrices as Q8_0 and norms as float32."""
    for name, weight in weights.items():
        data = np.ascontiguousarray(weight.float().numpy())
        if data.ndim == 1:
            writer.add_tensor(name, data)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, quantize(data, kind), raw_dtype=kind)


def export(checkpoint: Path, vocabulary: Path, out: Path) -> None:
    """Write the model beside its place and move it there in one step."""
    tokenizer = Tokenizer.load(vocabulary)
    state: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    shape = Shape(len(tokenizer))
    part = out.with_suffix(".part")
    writer = gguf.GGUFWriter(str(part), "llama")
    add_shape(writer, shape)
    add_vocabulary(writer, tokenizer)
    add_weights(writer, tensors(state["model"], shape.layers))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.replace(out)
    parameters = sum(weight.numel() for weight in state["model"].values())
    size = out.stat().st_size
    print(f"{out}: {size} bytes, {parameters} parameters, step {state['step']}")
    print(f"trained for {state['seconds'] / 60:.0f} minutes")


def main() -> None:
    """Run the export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, default=Path("build/demo_model"))
    parser.add_argument("--out", type=Path, default=MODEL_PATH)
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    build = arguments.build
    export(build / "checkpoint.pt", build / "vocabulary.json", arguments.out)


if __name__ == "__main__":
    main()
