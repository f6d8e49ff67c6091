"""GPT-NeoX, the layout of Pythia."""

from __future__ import annotations

from typing import Any

import torch

from airtrack.nets.decoder import Decoder
from airtrack.nets.huggingface.layout import Layout, Options, Reading, Row, plain_of, theirs_of, turned_apart
from airtrack.nets.mixers.attention import Attention
from airtrack.nets.mlps.plain import Plain
from airtrack.nets.norms.layernorm import LayerNorm
from airtrack.nets.positions.rope import Rope


def _read(options: Options) -> Reading:
    width, heads = options.need("hidden_size"), options.need("num_attention_heads")
    base, fraction = options.rotary("rotary_pct", "rotary_emb_base")
    dims = int(width // heads * (0.25 if fraction is None else fraction))
    net = Decoder(
        layers=options.need("num_hidden_layers"),
        width=width,
        heads=heads,
        positions=Rope(dims=dims / (width // heads), base=base),
        mixer=Attention(bias=options.get("attention_bias", True)),
        mlp=plain_of(
            options.need("intermediate_size"), width, activation=options.activation("hidden_act", "gelu"), bias=True
        ),
        norm=LayerNorm(eps=float(options.get("layer_norm_eps", 1e-5))),
        parallel=options.get("use_parallel_residual", True),
        tied=options.get("tie_word_embeddings", False),
    )
    return Reading(net, options.need("vocab_size"), options.get("max_position_embeddings", 2048))


def _write(net: Decoder, module: Any) -> dict[str, Any]:
    return {
        "hidden_size": net.width,
        "intermediate_size": module.blocks[0].mlp.down.in_features,
        "num_hidden_layers": net.layers,
        "num_attention_heads": net.heads,
        "hidden_act": theirs_of(net.mlp.activation),
        "layer_norm_eps": net.norm.eps,
        "rotary_emb_base": net.positions.base,
        "rotary_pct": net.positions.dims,
        "attention_bias": net.mixer.bias,
        "use_parallel_residual": net.parallel,
        "attention_dropout": 0.0,
        "hidden_dropout": 0.0,
    }


def _rows(net: Decoder, options: Options) -> list[Row]:
    size = net.width // net.heads
    turn = turned_apart(net.heads, size, round(net.positions.dims * size)).view(net.heads, size)
    head = torch.arange(net.heads)[:, None] * size
    inside = torch.stack((turn - head, turn - head, torch.arange(size).expand(net.heads, size)))  # of q, k, v
    three = torch.arange(3)[:, None, None] * size
    order = (3 * head + three + inside).flatten()  # theirs lie q, k, v of the first head, then those of the second
    layer = "gpt_neox.layers.{n}."
    return [
        Row("tokens", ("gpt_neox.embed_in",)),
        Row("norm", ("gpt_neox.final_layer_norm",)),
        Row("head", ("embed_out",)),
        Row("blocks.{n}.norm", (f"{layer}input_layernorm",)),
        Row("blocks.{n}.mlp_norm", (f"{layer}post_attention_layernorm",)),
        Row("blocks.{n}.mixer.qkv", (f"{layer}attention.query_key_value",), None, order),
        Row("blocks.{n}.mixer.out", (f"{layer}attention.dense",)),
        Row("blocks.{n}.mlp.up", (f"{layer}mlp.dense_h_to_4h",)),
        Row("blocks.{n}.mlp.down", (f"{layer}mlp.dense_4h_to_h",)),
    ]


LAYOUTS = (
    Layout(
        model_type="gpt_neox",
        architecture="GPTNeoXForCausalLM",
        parts={"positions": (Rope,), "mixer": (Attention,), "mlp": (Plain,), "norm": (LayerNorm,)},
        read=_read,
        write=_write,
        rows=_rows,
        renamed={r"^lm_head\.": "embed_out."},
        spare=r"rotary_emb\.inv_freq$|\.attention\.(masked_)?bias$",
    ),
)
