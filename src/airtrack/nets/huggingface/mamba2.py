"""Mamba2, and Mamba2 with MLPs and Canon layers as Physics of Language Models 4.2 released it."""

from __future__ import annotations

import math
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
from airtrack.nets.mixers.mamba2 import Mamba2
from airtrack.nets.mlps.gated import Gated
from airtrack.nets.mlps.none import NoMlp
from airtrack.nets.norms.rmsnorm import RmsNorm
from airtrack.nets.positions.none import NoPosition

PARTS = {"positions": (NoPosition,), "mixer": (Mamba2,), "norm": (RmsNorm,), "canon_layer": (CanonLayer,)}
NEUTRAL = {
    "n_groups": (1,),
    "use_bias": (False,),
    "hidden_act": ("silu", "swish"),
    "rms_norm": (True,),
    "noconv1d": (False,),
    "time_step_limit": ([0.0, math.inf], (0.0, math.inf), [0.0, {"__float__": "Infinity"}]),
}
FREE = ("mixer.conv.start", "mixer.conv.frozen", "mixer.chunk")


def _read(options: Options, mlp: Any, **more: Any) -> Reading:
    width, heads = options.need("hidden_size"), options.need("num_heads")
    size, expand = options.need("head_dim"), options.get("expand", 2)
    if options.get("n_groups", 8) != 1:
        raise SpecError(
            f"n_groups is {options.get('n_groups', 8)}, and here all heads share B and C: only 1 is offered"
        )
    if heads * size != int(expand * width):
        raise SpecError(f"{heads} heads of {size} are {heads * size} channels, and expand makes {int(expand * width)}")
    eps = float(options.get("layer_norm_epsilon", 1e-5))
    mixer = Mamba2(
        state=options.get("state_size", 128),
        expand=heads * size / width,
        conv=own_convolution(options.get("conv_kernel", 4), options.get("use_conv_bias", True)),
        eps=eps,
    )
    net = Decoder(
        layers=options.need("num_hidden_layers"),
        width=width,
        heads=heads,
        positions="none",
        mixer=mixer,
        mlp=mlp,
        norm=RmsNorm(eps=eps),
        tied=options.get("tie_word_embeddings", False),
        **more,
    )
    return Reading(net, options.need("vocab_size"), options.get("max_position_embeddings", 2048))


def _write(net: Decoder, module: Any) -> dict[str, Any]:
    mixer, expand = module.blocks[0].mixer, net.mixer.expand
    if expand != int(expand):
        raise SpecError(f"has a whole number for expand, and this model's is {expand:g}")
    return {
        "hidden_size": net.width,
        "num_hidden_layers": net.layers,
        "num_heads": net.heads,
        "head_dim": mixer.V,
        "expand": int(expand),
        "state_size": net.mixer.state,
        "n_groups": 1,
        "conv_kernel": 4 if net.mixer.conv is None else net.mixer.conv.kernel,
        "use_conv_bias": net.mixer.conv is not None and net.mixer.conv.bias,
        "use_bias": False,
        "hidden_act": "silu",
        "layer_norm_epsilon": net.norm.eps,
        "residual_in_fp32": False,
        "rms_norm": True,
    }


def _rows(net: Decoder, options: Options) -> list[Row]:
    layer = "backbone.layers.{n}."
    return [
        Row("tokens", ("backbone.embeddings",)),
        Row("norm", ("backbone.norm_f",)),
        Row("head", ("lm_head",)),
        Row("blocks.{n}.norm", (f"{layer}norm",)),
        Row("blocks.{n}.canon_a", (f"{layer}canonA",), form=TAPS),
        Row("blocks.{n}.mixer.into", (f"{layer}mixer.in_proj",)),
        Row("blocks.{n}.mixer.canon", (f"{layer}mixer.canonB",), form=TAPS),
        Row("blocks.{n}.mixer.conv", (f"{layer}mixer.conv1d",), form=TAPS),
        Row("blocks.{n}.mixer.rate.A_log", (f"{layer}mixer.A_log",)),
        Row("blocks.{n}.mixer.rate.dt_bias", (f"{layer}mixer.dt_bias",)),
        Row("blocks.{n}.mixer.D", (f"{layer}mixer.D",)),
        Row("blocks.{n}.mixer.norm", (f"{layer}mixer.norm",)),
        Row("blocks.{n}.mixer.out", (f"{layer}mixer.out_proj",)),
        Row("blocks.{n}.mlp_norm", (f"{layer}pre_mlp_layernorm",)),
        Row("blocks.{n}.canon_c", (f"{layer}canonC",), form=TAPS),
        Row("blocks.{n}.mlp.up", (f"{layer}mlp.both_proj",)),
        Row("blocks.{n}.mlp.canon", (f"{layer}mlp.canonD",), form=TAPS),
        Row("blocks.{n}.mlp.down", (f"{layer}mlp.down_proj",)),
    ]


def _read_canon(options: Options) -> Reading:
    kind, width = options.get("mlp_type", None), options.need("hidden_size")
    if kind not in (None, "mlp10"):
        raise SpecError(f"mlp_type {kind!r} is none of null, 'mlp10'")
    mlp = gated_of(options.get("intermediate_size", 2 * width), width) if kind else NoMlp()
    return _read(options, mlp, **canon_of(options))


def _write_canon(net: Decoder, module: Any) -> dict[str, Any]:
    gated = isinstance(net.mlp, Gated)
    more = {"mlp_type": "mlp10", "intermediate_size": module.blocks[0].mlp.down.in_features} if gated else {}
    return {"noconv1d": False} | more | _write(net, module) | canon_to(net, own=True)


LAYOUTS = (
    Layout(
        model_type="mamba2",
        architecture="Mamba2ForCausalLM",
        parts=PARTS | {"mlp": (NoMlp,)},
        read=lambda options: _read(options, NoMlp()),
        write=_write,
        rows=_rows,
        neutral=NEUTRAL | {"canon_set": ("",), "mlp_type": ()},
        free=FREE,
    ),
    Layout(
        model_type="Mamba2Canon",
        architecture="Mamba2CanonForCausalLM",
        parts=PARTS | {"mlp": (NoMlp, Gated)},
        read=_read_canon,
        write=_write_canon,
        rows=_rows,
        neutral=NEUTRAL,
        free=FREE,
    ),
)
