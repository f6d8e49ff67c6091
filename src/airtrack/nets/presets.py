"""Published sizes of decoders, by name."""

from __future__ import annotations

import re
from typing import Any

from airtrack.core.part import SpecError

Fields = dict[str, Any]

SIZES = {"1B": (24, 2048), "3B": (26, 3072), "8B": (32, 4096)}  # layers and widths of Physics of Language Models 4.2
EPS = 1e-5  # of every norm in these releases


def preset(name: str) -> Fields:
    """The fields of a decoder.

    {llama,gpt2rope,gla,mamba2,gdn}-{8L512D,12L512D,8L768D,12L768D}: the synthetic experiments of Physics of Language
    Models 4.1, section 3, or any other number of layers and width of that form. Give `canon` yourself: "ABCD" to a
    Transformer, "ACD" to a linear model, which keeps its own short convolution.

    gpt2-LAYERS-HEADS: Physics of Language Models 3.3: a GPT-2 with rotary positions, width 64 · heads.

    {llama,llamacanon,gla5,gla5canon,gdn2,gdn2canon,mamba2,mamba2canon}-{1B,3B,8B}: the releases of Physics of Language
    Models 4.2. Their vocabulary is 32,000 tokens, of 8B 128,256.

    >>> preset("gpt2-12-12")["width"], preset("llamacanon-1B")["canon"]
    (768, 'ABCD')
    """
    family, _, size = name.partition("-")
    if family in SYNTHETIC and (found := re.fullmatch(r"([1-9]\d*)L([1-9]\d*)D", size)):
        layers, width = map(int, found.groups())
        return {"layers": layers, "width": width} | SYNTHETIC[family](width)
    if family == "gpt2" and (found := re.fullmatch(r"([1-9]\d*)-([1-9]\d*)", size)):
        layers, heads = map(int, found.groups())
        return {"layers": layers, "width": 64 * heads, "heads": heads} | GPT2
    kind = family.removesuffix("canon")
    if kind in RELEASED and size in SIZES:
        layers, width = SIZES[size]
        fields = {"layers": layers, "width": width, "norm": {"name": "rmsnorm", "eps": EPS}}
        return fields | RELEASED[kind](size, width, family != kind)
    forms = f"{{{', '.join(SYNTHETIC)}}}-8L512D, gpt2-12-12, {{{', '.join(RELEASED)}}}[canon]-{{{', '.join(SIZES)}}}"
    raise SpecError(f"{name!r} is no preset; the forms are {forms}")


def _llama(width: int) -> Fields:
    return {"heads": width // 64}


def _gpt2rope(width: int) -> Fields:
    return {"heads": width // 64, "mlp": "plain"}  # Part 4.1's: a Llama with a standard MLP


def _gla(width: int) -> Fields:
    return {"heads": 4, "positions": "none", "mixer": "gla"}  # 4d² + 8d² weights a layer


def _mamba2(width: int) -> Fields:
    mixer = {"name": "mamba2", "state": 64}
    return {"heads": 16, "positions": "none", "mixer": mixer, "mlp": {"name": "gated", "expand": 2.0}}  # 6d² + 6d²


def _gdn(width: int) -> Fields:
    return {"heads": width // 128, "positions": "none", "mixer": "deltanet", "mlp": {"name": "gated", "expand": 2.0}}


SYNTHETIC = {"llama": _llama, "gpt2rope": _gpt2rope, "gla": _gla, "mamba2": _mamba2, "gdn": _gdn}

GPT2: Fields = {
    "positions": "rope",
    "mixer": {"name": "attention", "bias": True},
    "mlp": {"name": "plain", "activation": "gelu_tanh", "bias": True},
    "norm": "layernorm",
    "tied": True,
}


def _llama_released(size: str, width: int, canon: bool) -> Fields:
    """Hidden widths are lingua's, rounded up to a multiple of 256; only 8B has groups, and no norm of q, k."""
    large = size == "8B"
    attention = {"groups": 8} if large else {"qk_norm": "vector", "eps": EPS}
    return {
        "heads": {"1B": 32, "3B": 24, "8B": 32}[size],
        "positions": {"name": "rope", "dims": 0.25 if canon else 1.0, "base": 100_000.0 if large else 10_000.0},
        "mixer": {"name": "attention"} | attention,
        "mlp": {"name": "gated", "expand": {"1B": 2.75, "3B": 8 / 3, "8B": 3.5}[size]},
        "canon": "ABCD" if canon else "",
    }


def _linear_released(mixer: Fields) -> Any:
    def fields(size: str, width: int, canon: bool) -> Fields:
        return {
            "heads": width // 128,
            "positions": "none",
            "mixer": mixer,
            "mlp": {"name": "gated", "expand": 2.3125 if size == "8B" else 2.0},  # 9,472 hidden dimensions: 6d² + 7d²
            "canon": "ACD" if canon else "",
        }

    return fields


RELEASED = {
    "llama": _llama_released,
    "gla5": _linear_released({"name": "gla", "expand_k": 1.0, "expand_v": 2.0, "output_rank": 16, "eps": EPS}),
    "gdn2": _linear_released({"name": "deltanet", "expand_k": 1.0, "expand_v": 2.0, "output_rank": 16, "eps": EPS}),
    "mamba2": _linear_released({"name": "mamba2", "state": 128, "eps": EPS}),
}
