"""GPT-2."""

from __future__ import annotations

from typing import Any

from airtrack.nets.decoder import Decoder
from airtrack.nets.huggingface.layout import TRANSPOSED, Layout, Options, Reading, Row, plain_of, theirs_of
from airtrack.nets.mixers.attention import Attention
from airtrack.nets.mlps.plain import Plain
from airtrack.nets.norms.layernorm import LayerNorm
from airtrack.nets.positions.learned import Learned


def _read(options: Options) -> Reading:
    width, length = options.need("n_embd"), options.get("n_positions", 1024)
    activation = options.activation("activation_function", "gelu_new")
    net = Decoder(
        layers=options.need("n_layer"),
        width=width,
        heads=options.need("n_head"),
        positions=Learned(),
        mixer=Attention(bias=True),
        mlp=plain_of(options.get("n_inner", 4 * width), width, activation=activation, bias=True),
        norm=LayerNorm(eps=float(options.get("layer_norm_epsilon", 1e-5))),
        tied=options.get("tie_word_embeddings", True),
    )
    return Reading(net, options.need("vocab_size"), length)


def _write(net: Decoder, module: Any) -> dict[str, Any]:
    return {
        "n_embd": net.width,
        "n_inner": module.blocks[0].mlp.down.in_features,
        "n_layer": net.layers,
        "n_head": net.heads,
        "activation_function": theirs_of(net.mlp.activation),
        "layer_norm_epsilon": net.norm.eps,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    }


def _rows(net: Decoder, options: Options) -> list[Row]:
    layer = "transformer.h.{n}."
    return [
        Row("tokens", ("transformer.wte",)),
        Row("positions", ("transformer.wpe",)),
        Row("norm", ("transformer.ln_f",)),
        Row("head", ("lm_head",)),
        Row("blocks.{n}.norm", (f"{layer}ln_1",)),
        Row("blocks.{n}.mlp_norm", (f"{layer}ln_2",)),
        Row("blocks.{n}.mixer.qkv", (f"{layer}attn.c_attn",), form=TRANSPOSED),
        Row("blocks.{n}.mixer.out", (f"{layer}attn.c_proj",), form=TRANSPOSED),
        Row("blocks.{n}.mlp.up", (f"{layer}mlp.c_fc",), form=TRANSPOSED),
        Row("blocks.{n}.mlp.down", (f"{layer}mlp.c_proj",), form=TRANSPOSED),
    ]


LAYOUTS = (
    Layout(
        model_type="gpt2",
        architecture="GPT2LMHeadModel",
        parts={"positions": (Learned,), "mixer": (Attention,), "mlp": (Plain,), "norm": (LayerNorm,)},
        read=_read,
        write=_write,
        rows=_rows,
        neutral={
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
            "add_cross_attention": (False,),
        },
        length="n_positions",
        renamed={r"^(?!transformer\.|lm_head\.)": "transformer."},  # as OpenAI's own release has them
        spare=r"\.attn\.(masked_)?bias$",
    ),
)
