"""Gated linear attention and Gated DeltaNet with Canon layers, as Physics of Language Models 4.2 released them."""

from __future__ import annotations

from typing import Any

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
    own_convolution,
)
from airtrack.nets.mixers.deltanet import DeltaNet
from airtrack.nets.mixers.gla import Gla
from airtrack.nets.mlps.gated import Gated
from airtrack.nets.norms.rmsnorm import RmsNorm
from airtrack.nets.positions.none import NoPosition

PARTS = {"positions": (NoPosition,), "mlp": (Gated,), "norm": (RmsNorm,), "canon_layer": (CanonLayer,)}
NEUTRAL = {"attn": (), "hidden_act": ("swish", "silu")}
FREE = ("mixer.conv.start", "mixer.conv.frozen", "mixer.chunk")
RANK, DIVISOR = 16, 16.0  # of the released GLA's gate, where the configuration does not say them


def _read(options: Options, heads: int, mixer: Any) -> Reading:
    width = options.need("hidden_size")
    usual = 256 * -(-int(width * options.get("hidden_ratio", 4) * 2 / 3) // 256)
    hidden = 2 * width if options.get("mlp_type", None) == "mlp10" else options.get("intermediate_size", usual)
    net = Decoder(
        layers=options.need("num_hidden_layers"),
        width=width,
        heads=heads,
        positions="none",
        mixer=mixer,
        mlp=gated_of(hidden, width),
        norm=RmsNorm(eps=_eps(options)),
        tied=options.get("tie_word_embeddings", False),
        **canon_of(options, "ACD"),
    )
    return Reading(net, options.need("vocab_size"), options.get("max_position_embeddings", 2048))


def _eps(options: Options) -> float:
    return float(options.get("norm_eps", 1e-6))


def _convolution(options: Options, default: bool) -> CanonLayer | None:
    return own_convolution(options.get("conv_size", 4)) if options.get("use_short_conv", default) else None


def _write(net: Decoder, module: Any) -> dict[str, Any]:
    conv = net.mixer.conv
    return {
        "hidden_size": net.width,
        "num_hidden_layers": net.layers,
        "num_heads": net.heads,
        "intermediate_size": module.blocks[0].mlp.down.in_features,
        "hidden_act": "swish",
        "norm_eps": net.norm.eps,
        "use_short_conv": conv is not None,
        "conv_size": 4 if conv is None else conv.kernel,
        "output_gate_rank": net.mixer.output_rank,
        "attn": None,
        **canon_to(net, own=conv is not None),
    }


def _rows(net: Decoder, norm: str, K: int, V: int) -> list[Row]:
    """Rows that both have. K, V: width of all keys, of all values."""
    layer, sizes = "model.layers.{n}.", (K, K, V)
    maps, taps = (tuple(f"{layer}attn.{name}_{kind}" for name in "qkv") for kind in ("proj", "conv1d"))
    return [
        Row("tokens", ("model.embeddings",)),
        Row("norm", ("model.norm",)),
        Row("head", ("lm_head",)),
        Row("blocks.{n}.norm", (f"{layer}attn_norm",)),
        Row("blocks.{n}.canon_a", (f"{layer}canonA",), form=TAPS),
        Row("blocks.{n}.mixer.inputs.qkv", maps, sizes),
        Row("blocks.{n}.mixer.inputs.conv", taps, sizes, form=TAPS),
        Row("blocks.{n}.mixer.output.gate", (f"{layer}attn.g_proj",)),
        Row("blocks.{n}.mixer.output.gate.down", (f"{layer}attn.g_proj.0",)),
        Row("blocks.{n}.mixer.output.gate.up", (f"{layer}attn.g_proj.1",)),
        Row("blocks.{n}.mixer.output.norm", (f"{layer}attn.{norm}",)),
        Row("blocks.{n}.mixer.output.out", (f"{layer}attn.o_proj",)),
        Row("blocks.{n}.mlp_norm", (f"{layer}mlp_norm",)),
        Row("blocks.{n}.canon_c", (f"{layer}canonC",), form=TAPS),
        Row("blocks.{n}.mlp.canon", (f"{layer}mlp.canonD",), form=TAPS),
        Row("blocks.{n}.mlp.down", (f"{layer}mlp.down_proj",)),
    ]


def _read_gla(options: Options) -> Reading:
    heads = options.need("num_heads")
    if options.get("num_kv_heads", heads) != heads:
        raise SpecError(
            f"num_kv_heads is {options.need('num_kv_heads')}, and every one of the {heads} heads has its own"
        )
    mixer = Gla(
        expand_k=options.get("expand_k", 0.5),
        expand_v=options.get("expand_v", 1.0),
        conv=_convolution(options, False),
        gate_rank=RANK,
        gate_divisor=DIVISOR,
        output_rank=options.get("output_gate_rank", None),
        eps=_eps(options),
    )
    return _read(options, heads, mixer)


def _write_gla(net: Decoder, module: Any) -> dict[str, Any]:
    more = {"expand_k": net.mixer.expand_k, "expand_v": net.mixer.expand_v, "use_output_gate": True}
    return _write(net, module) | more


def _rows_gla(net: Decoder, options: Options) -> list[Row]:
    K, V = (round(expand * net.width) for expand in (net.mixer.expand_k, net.mixer.expand_v))
    layer = "model.layers.{n}."
    return [
        *_rows(net, "g_norm_swish_gate", K, V),
        Row("blocks.{n}.mixer.forget.down", (f"{layer}attn.gk_proj.0",)),
        Row("blocks.{n}.mixer.forget.up", (f"{layer}attn.gk_proj.1",)),
        Row("blocks.{n}.mlp.up", (f"{layer}mlp.gate_proj",)),  # gate and up in one
    ]


def _read_gdn(options: Options) -> Reading:
    heads, width = options.need("num_heads"), options.need("hidden_size")
    keys = heads * options.need("head_dim")
    mixer = DeltaNet(
        expand_k=keys / width,
        expand_v=keys * options.get("expand_v", 2) / width,  # theirs counts in widths of the keys
        conv=_convolution(options, True),
        output_rank=options.get("output_gate_rank", None),
        eps=_eps(options),
    )
    return _read(options, heads, mixer)


def _write_gdn(net: Decoder, module: Any) -> dict[str, Any]:
    mixer = module.blocks[0].mixer
    ratio = mixer.V / mixer.K
    more = {"head_dim": mixer.K, "expand_v": int(ratio) if ratio == int(ratio) else ratio, "use_gate": True}
    return _write(net, module) | more


def _rows_gdn(net: Decoder, options: Options) -> list[Row]:
    K, V = (round(expand * net.width) for expand in (net.mixer.expand_k, net.mixer.expand_v))
    layer, hidden = "model.layers.{n}.", 2 * (net.mlp.hidden(net.width),)
    both = (f"{layer}mlp.both_proj",) if "D" in net.canon else (f"{layer}mlp.gate_proj", f"{layer}mlp.up_proj")
    return [
        *_rows(net, "o_norm", K, V),
        Row("blocks.{n}.mixer.beta", (f"{layer}attn.b_proj",)),
        Row("blocks.{n}.mixer.forget", (f"{layer}attn.a_proj",)),
        Row("blocks.{n}.mixer.rate.A_log", (f"{layer}attn.A_log",)),
        Row("blocks.{n}.mixer.rate.dt_bias", (f"{layer}attn.dt_bias",)),
        Row("blocks.{n}.mlp.up", both, hidden if len(both) > 1 else None),
    ]


LAYOUTS = (
    Layout(
        model_type="GLACanon",
        architecture="GLACanonForCausalLM",
        parts=PARTS | {"mixer": (Gla,)},
        read=_read_gla,
        write=_write_gla,
        rows=_rows_gla,
        neutral=NEUTRAL
        | {"feature_map": (), "clamp_min": (), "use_output_gate": (True,), "elementwise_affine": (True,)},
        renamed={r"\.attn\.g_norm\.": ".attn.g_norm_swish_gate."},  # where norm and gate are not fused
        free=FREE,
    ),
    Layout(
        model_type="GatedDeltaNetCanon",
        architecture="GatedDeltaNetCanonForCausalLM",
        parts=PARTS | {"mixer": (DeltaNet,)},
        read=_read_gdn,
        write=_write_gdn,
        rows=_rows_gdn,
        neutral=NEUTRAL | {"use_gate": (True,), "gated": (True,)},
        free=FREE,
    ),
)
