"""Llama, and Llama with Canon layers as Physics of Language Models 4.2 released it."""

from __future__ import annotations

from typing import Any

import torch

from airtrack.core.part import SpecError
from airtrack.nets.canon import CanonLayer
from airtrack.nets.decoder import Decoder
from airtrack.nets.huggingface.layout import (
    TAPS,
    Layout,
    Options,
    Reading,
    Row,
    canon_of,
    canon_to,
    gated_of,
    theirs_of,
    turned_apart,
)
from airtrack.nets.mixers.attention import Attention
from airtrack.nets.mlps.gated import Gated
from airtrack.nets.norms.rmsnorm import RmsNorm
from airtrack.nets.positions.rope import Rope

PARTS = {
    "positions": (Rope,),
    "mixer": (Attention,),
    "mlp": (Gated,),
    "norm": (RmsNorm,),
    "canon_layer": (CanonLayer,),
}


def _read(options: Options, dims: int | None = None, **more: Any) -> Reading:
    width, heads = options.need("hidden_size"), options.need("num_attention_heads")
    size = options.get("head_dim", width // heads)
    if size * heads != width:
        fact = f"{heads} heads of {size} dimensions are {heads * size}, and the residual stream has {width}"
        raise SpecError(f"{fact}; nets here have heads of width / heads dimensions")
    base, fraction = options.rotary()
    if dims is None and fraction not in (None, 1):
        raise SpecError(f"partial_rotary_factor is {fraction}, which a Llama has no place for; LlamaCanon has rope_dim")
    eps, qk_norm = options.get("rms_norm_eps", 1e-6), options.get("qk_norm", False)
    mixer = Attention(
        groups=options.get("num_key_value_heads", heads),
        qk_norm="vector" if qk_norm else None,
        bias=options.get("attention_bias", False),
        eps=float(eps) if qk_norm else 1e-6,
    )
    mlp = gated_of(
        options.get("intermediate_size", width * 8 // 3),
        width,
        activation=options.activation("hidden_act", "silu"),
        bias=options.get("mlp_bias", False),
    )
    net = Decoder(
        layers=options.need("num_hidden_layers"),
        width=width,
        heads=heads,
        positions=Rope(dims=(dims or size) / size, base=base),
        mixer=mixer,
        mlp=mlp,
        norm=RmsNorm(eps=float(eps)),
        tied=options.get("tie_word_embeddings", False),
        **more,
    )
    return Reading(net, options.need("vocab_size"), options.get("max_position_embeddings", 2048))


def _write(net: Decoder, module: Any) -> dict[str, Any]:
    attention = module.blocks[0].mixer
    return {
        "hidden_size": net.width,
        "intermediate_size": module.blocks[0].mlp.down.in_features,
        "num_hidden_layers": net.layers,
        "num_attention_heads": net.heads,
        "num_key_value_heads": attention.groups,
        "head_dim": attention.size,
        "hidden_act": theirs_of(net.mlp.activation),
        "rms_norm_eps": net.norm.eps,
        "rope_theta": net.positions.base,
        "attention_bias": net.mixer.bias,
        "mlp_bias": net.mlp.bias,
        "attention_dropout": 0.0,
    }


def _rows(net: Decoder, options: Options) -> list[Row]:
    heads, groups, size = net.heads, net.mixer.groups or net.heads, net.width // net.heads
    sizes = (heads * size, groups * size, groups * size)
    q = k = order = None
    if options.get("rope_version", "huggingface") == "huggingface":
        dims = round(net.positions.dims * size)
        q, k = turned_apart(heads, size, dims), turned_apart(groups, size, dims)
        order = torch.cat((q, sizes[0] + k, sizes[0] + sizes[1] + torch.arange(sizes[2])))
    layer, hidden = "model.layers.{n}.", 2 * (options.need("intermediate_size"),)
    attention = tuple(f"{layer}self_attn.{name}_proj" for name in "qkv")
    return [
        Row("tokens", ("model.embed_tokens",)),
        Row("norm", ("model.norm",)),
        Row("head", ("lm_head",)),
        Row("blocks.{n}.norm", (f"{layer}input_layernorm",)),
        Row("blocks.{n}.mlp_norm", (f"{layer}post_attention_layernorm",)),
        Row("blocks.{n}.mixer.qkv", attention, sizes, order),
        Row("blocks.{n}.mixer.q_norm", (f"{layer}self_attn.q_norm",), None, q),
        Row("blocks.{n}.mixer.k_norm", (f"{layer}self_attn.k_norm",), None, k),
        Row("blocks.{n}.mixer.canon", (f"{layer}self_attn.canonB",), None, order, TAPS),
        Row("blocks.{n}.mixer.out", (f"{layer}self_attn.o_proj",)),
        Row("blocks.{n}.canon_a", (f"{layer}canonA",), form=TAPS),
        Row("blocks.{n}.canon_c", (f"{layer}canonC",), form=TAPS),
        Row("blocks.{n}.mlp.canon", (f"{layer}mlp.canonD",), form=TAPS),
        Row("blocks.{n}.mlp.up", (f"{layer}mlp.gate_proj", f"{layer}mlp.up_proj"), hidden),
        Row("blocks.{n}.mlp.down", (f"{layer}mlp.down_proj",)),
    ]


def _read_canon(options: Options) -> Reading:
    version = options.get("rope_version", "huggingface")
    if version not in ("huggingface", "lingua"):
        raise SpecError(f"rope_version {version!r} is none of huggingface, lingua")
    size = options.get("head_dim", options.need("hidden_size") // options.need("num_attention_heads"))
    return _read(options, options.get("rope_dim", 0) or size, **canon_of(options))


def _write_canon(net: Decoder, module: Any) -> dict[str, Any]:
    return _write(net, module) | {
        "rope_version": "lingua",  # whose pairs are ours
        "rope_dim": round(net.positions.dims * module.blocks[0].mixer.size),
        "qk_norm": net.mixer.qk_norm == "vector",
        **canon_to(net),
    }


LAYOUTS = (
    Layout(
        model_type="llama",
        architecture="LlamaForCausalLM",
        parts=PARTS,
        read=lambda options: _read(options),
        write=_write,
        rows=_rows,
        neutral={"qk_norm": (False,), "canon_set": ("",), "rope_dim": (), "rope_version": ("huggingface",)},
    ),
    Layout(
        model_type="LlamaCanon",
        architecture="LlamaCanonForCausalLM",
        parts=PARTS,
        read=_read_canon,
        write=_write_canon,
        rows=_rows,
    ),
)
