"""The layouts of linear models, against transformers' Mamba2 and naive models in float64, written from the equations
and the released options alone."""

import json
import math

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.nets.decoder import Decoder
from airtrack.nets.huggingface.convert import (
    _essence,
    _layout,
    from_state,
    load_huggingface,
    save_huggingface,
    to_state,
)
from airtrack.nets.huggingface.layout import Options
from airtrack.nets.model import TorchLanguageModel

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

V = 11
IDS = torch.randint(V, (2, 21), generator=torch.Generator().manual_seed(5))


def draw(shapes, dtype=torch.float64):
    """Large random tensors by name; gains near one, rates as they are at the start."""
    g, state = torch.Generator().manual_seed(0), {}
    for name, shape in shapes.items():
        x = torch.randn(shape, generator=g, dtype=torch.float64)
        scale, centre = 0.3, 0.0
        if "norm" in name or name.endswith(".D"):
            centre = 1.0
        elif name.endswith("A_log"):
            scale, centre = 0.5, 1.0
        elif name.endswith("dt_bias"):
            scale, centre = 1.0, -2.0
        state[name] = (x * scale + centre).to(dtype)
    return state


# ------------------------------------------------------------------------------------------------ transformers' Mamba2


@pytest.mark.parametrize(
    "fields",
    [{}, {"use_conv_bias": False, "state_size": 4, "tie_word_embeddings": True}, {"expand": 1, "head_dim": 8}],
    ids=str,
)
def test_mamba2_is_that_of_transformers(fields, tmp_path):
    config = {"hidden_size": 32, "num_heads": 4, "head_dim": 16, "num_hidden_layers": 2, "state_size": 8}
    config |= {"n_groups": 1, "vocab_size": V, "chunk_size": 8, "residual_in_fp32": False}
    config |= dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    theirs = transformers.Mamba2ForCausalLM(transformers.Mamba2Config(**(config | fields))).eval()
    state = draw({k: v.shape for k, v in theirs.state_dict().items()}, torch.float32)
    if theirs.config.tie_word_embeddings:
        state["lm_head.weight"] = state["backbone.embeddings.weight"]
    theirs.load_state_dict(state)
    with torch.no_grad():
        expected = theirs(IDS).logits
        ours = from_state(theirs.config.to_dict(), theirs.state_dict())
        assert expected.abs().max() > 1.5
        assert (ours.module(IDS) - expected).abs().max() < 1e-5
        save_huggingface(ours, tmp_path / "ours")
        back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
        assert type(back) is type(theirs)
        assert (back(IDS).logits - expected).abs().max() < 1e-5
    theirs.save_pretrained(tmp_path / "theirs")  # it writes infinity in a way of its own
    original, written = (load_file(tmp_path / who / "model.safetensors") for who in ("theirs", "ours"))
    assert set(original) == set(written)
    assert all(torch.equal(v, original[k]) for k, v in written.items())
    again = load_huggingface(tmp_path / "theirs")
    assert again.origin["net"] == ours.origin["net"]
    assert all(torch.equal(v, again.module.state_dict()[k]) for k, v in ours.module.state_dict().items())


# ------------------------------------------------------------------------------------------- the released Canon models


def silu(x):
    return x / (1 + np.exp(-x))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.log1p(np.exp(x))


def norm(x, gain, eps):
    """Over the last axis."""
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * gain


def taps(p, name, x):
    """Σ_j w_j x_{t−j} (+ bias), x [T, C]; the weight is [C, 1, K], its last tap the present."""
    w, y = p[name + ".weight"][:, 0], np.zeros_like(x)
    for t in range(len(x)):
        for j in range(w.shape[1]):
            if t - j >= 0:
                y[t] += w[:, w.shape[1] - 1 - j] * x[t - j]
    return y + p.get(name + ".bias", 0)


def canon(p, name, x):
    return x + taps(p, name, x) if name + ".weight" in p else x


def qkv(c, p, b, h, H):
    parts = []
    for s in "qkv":
        x = h @ p[f"{b}{s}_proj.weight"].T
        parts.append(silu(taps(p, f"{b}{s}_conv1d", x) if c["use_short_conv"] else x).reshape(len(h), H, -1))
    return parts


def closed(c, p, b, h, o, name):
    """Norm of each head, output gate, projection."""
    if c.get("output_gate_rank"):
        gate = h @ p[b + "g_proj.0.weight"].T @ p[b + "g_proj.1.weight"].T + p[b + "g_proj.1.bias"]
    else:
        gate = h @ p[b + "g_proj.weight"].T
    o = norm(o, p[f"{b}{name}.weight"], c["norm_eps"]).reshape(len(h), -1)
    return o * silu(gate) @ p[b + "o_proj.weight"].T


def gla(c, p, b, h):
    H, b = c["num_heads"], b + "attn."
    q, k, v = qkv(c, p, b, h, H)
    gate = h @ p[b + "gk_proj.0.weight"].T @ p[b + "gk_proj.1.weight"].T + p[b + "gk_proj.1.bias"]
    keep = sigmoid(gate.reshape(k.shape)) ** (1 / 16)
    o = np.zeros_like(v)
    for a in range(H):
        S = np.zeros((k.shape[2], v.shape[2]))
        for t in range(len(h)):
            S = keep[t, a][:, None] * S + np.outer(k[t, a], v[t, a])
            o[t, a] = q[t, a] @ S / math.sqrt(k.shape[2])
    return closed(c, p, b, h, o, "g_norm_swish_gate")


def gdn(c, p, b, h):
    H, b = c["num_heads"], b + "attn."
    q, k, v = qkv(c, p, b, h, H)
    q, k = (x / np.sqrt((x**2).sum(-1, keepdims=True) + 1e-6) for x in (q, k))
    beta = sigmoid(h @ p[b + "b_proj.weight"].T)
    decay = np.exp(-np.exp(p[b + "A_log"]) * softplus(h @ p[b + "a_proj.weight"].T + p[b + "dt_bias"]))
    o = np.zeros_like(v)
    for a in range(H):
        S = np.zeros((k.shape[2], v.shape[2]))
        for t in range(len(h)):
            S = decay[t, a] * S
            S = S + beta[t, a] * np.outer(k[t, a], v[t, a] - k[t, a] @ S)
            o[t, a] = q[t, a] @ S / math.sqrt(k.shape[2])
    return closed(c, p, b, h, o, "o_norm")


def mamba2(c, p, b, h):
    H, N, b = c["num_heads"], c["state_size"], b + "mixer."
    inner = H * c["head_dim"]
    whole = canon(p, b + "canonB", h @ p[b + "in_proj.weight"].T)
    z, xbc, dt = np.split(whole, [inner, 2 * inner + 2 * N], 1)
    x, B, C = np.split(silu(taps(p, b + "conv1d", xbc)), [inner, inner + N], 1)
    x, dt = x.reshape(len(h), H, -1), softplus(dt + p[b + "dt_bias"])
    y = np.zeros_like(x)
    for a in range(H):
        S = np.zeros((N, x.shape[2]))
        for t in range(len(h)):
            S = np.exp(-np.exp(p[b + "A_log"][a]) * dt[t, a]) * S + np.outer(B[t], dt[t, a] * x[t, a])
            y[t, a] = C[t] @ S + p[b + "D"][a] * x[t, a]
    y = y.reshape(len(h), -1) * silu(z)
    return norm(y, p[b + "norm.weight"], c["layer_norm_epsilon"]) @ p[b + "out_proj.weight"].T


def naive(c, p, ids):
    """Logits [T, V] of ids [T]."""
    p = {k: v.double().numpy() for k, v in p.items()}
    kind = c["model_type"]
    eps = c["layer_norm_epsilon" if kind == "Mamba2Canon" else "norm_eps"]
    base = "backbone." if kind == "Mamba2Canon" else "model."
    first, second = ("norm", "pre_mlp_layernorm") if kind == "Mamba2Canon" else ("attn_norm", "mlp_norm")
    x = p[base + "embeddings.weight"][ids]
    for n in range(c["num_hidden_layers"]):
        b = f"{base}layers.{n}."
        h = canon(p, b + "canonA", norm(x, p[f"{b}{first}.weight"], eps))
        x = x + {"GLACanon": gla, "GatedDeltaNetCanon": gdn, "Mamba2Canon": mamba2}[kind](c, p, b, h)
        if b + "mlp.down_proj.weight" not in p:
            continue
        h = canon(p, b + "canonC", norm(x, p[f"{b}{second}.weight"], eps))
        names = [s for s in ("gate_proj", "up_proj", "both_proj") if f"{b}mlp.{s}.weight" in p]
        both = np.concatenate([h @ p[f"{b}mlp.{s}.weight"].T for s in names], 1)
        gate, up = np.split(canon(p, b + "mlp.canonD", both), 2, 1)
        x = x + silu(gate) * up @ p[b + "mlp.down_proj.weight"].T
    x = norm(x, p[base + ("norm_f" if kind == "Mamba2Canon" else "norm") + ".weight"], eps)
    return x @ p[base + "embeddings.weight" if c["tie_word_embeddings"] else "lm_head.weight"].T


COMMON = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": V, "tie_word_embeddings": False}
LINEAR = COMMON | {
    "norm_eps": 1e-5,
    "num_heads": 2,
    "intermediate_size": 40,
    "hidden_act": "swish",
    "use_short_conv": True,
    "conv_size": 4,
    "output_gate_rank": 4,
    "canon_set": "AbbCD",
    "attn": None,
    "fuse_norm": True,
    "max_position_embeddings": 32,
}
GLA = LINEAR | {"model_type": "GLACanon", "expand_k": 1, "expand_v": 2, "num_kv_heads": None, "feature_map": None}
GDN = LINEAR | {"model_type": "GatedDeltaNetCanon", "head_dim": 16, "expand_v": 2, "use_gate": True}
MAMBA2 = COMMON | {
    "model_type": "Mamba2Canon",
    "layer_norm_epsilon": 1e-5,
    "num_heads": 4,
    "head_dim": 16,
    "expand": 2,
    "state_size": 8,
    "n_groups": 1,
    "conv_kernel": 4,
    "use_conv_bias": True,
    "use_bias": False,
    "hidden_act": "silu",
    "time_step_limit": [0.0, math.inf],
    "mlp_type": "mlp10",
    "intermediate_size": None,
    "noconv1d": False,
    "canon_set": "AbbCD",
}


def released(c):
    """The shapes of the released tensors."""
    D, H, kind = c["hidden_size"], c["num_heads"], c["model_type"]
    base = "backbone." if kind == "Mamba2Canon" else "model."
    shapes = {base + "embeddings.weight": (V, D)}
    shapes[base + ("norm_f" if kind == "Mamba2Canon" else "norm") + ".weight"] = (D,)
    if not c["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (V, D)
    for n in range(c["num_hidden_layers"]):
        b = f"{base}layers.{n}."
        F = c.get("intermediate_size") or 2 * D
        mlp = kind != "Mamba2Canon" or c["mlp_type"]
        if kind == "Mamba2Canon":
            inner, N, m = H * c["head_dim"], c["state_size"], b + "mixer."
            conv, into = inner + 2 * N, 2 * inner + 2 * N + H
            shapes |= {b + "norm.weight": (D,), m + "in_proj.weight": (into, D), m + "out_proj.weight": (D, inner)}
            shapes |= {m + "conv1d.weight": (conv, 1, c["conv_kernel"]), m + "norm.weight": (inner,)}
            shapes |= {m + name: (H,) for name in ("A_log", "dt_bias", "D")}
            if c["use_conv_bias"]:
                shapes[m + "conv1d.bias"] = (conv,)
            if "B" in c["canon_set"]:
                shapes[m + "canonB.weight"] = (into, 1, 4)
            if mlp:
                shapes |= {b + "pre_mlp_layernorm.weight": (D,), b + "mlp.both_proj.weight": (2 * F, D)}
        else:
            m, K = b + "attn.", H * c["head_dim"] if kind == "GatedDeltaNetCanon" else int(c["expand_k"] * D)
            O = int(c["expand_v"] * (K if kind == "GatedDeltaNetCanon" else D))
            shapes |= {b + "attn_norm.weight": (D,), b + "mlp_norm.weight": (D,), m + "o_proj.weight": (D, O)}
            shapes |= {f"{m}{s}_proj.weight": (width, D) for s, width in (("q", K), ("k", K), ("v", O))}
            if c["use_short_conv"]:
                each = {"q": K, "k": K, "v": O}
                shapes |= {f"{m}{s}_conv1d.weight": (width, 1, c["conv_size"]) for s, width in each.items()}
            if rank := c.get("output_gate_rank"):
                shapes |= {m + "g_proj.0.weight": (rank, D), m + "g_proj.1.weight": (O, rank)}
                shapes[m + "g_proj.1.bias"] = (O,)
            else:
                shapes[m + "g_proj.weight"] = (O, D)
            if kind == "GLACanon":
                shapes |= {m + "gk_proj.0.weight": (16, D), m + "gk_proj.1.weight": (K, 16), m + "gk_proj.1.bias": (K,)}
                shapes |= {m + "g_norm_swish_gate.weight": (O // H,), b + "mlp.gate_proj.weight": (2 * F, D)}
            else:
                shapes |= {m + "b_proj.weight": (H, D), m + "a_proj.weight": (H, D), m + "A_log": (H,)}
                shapes |= {m + "dt_bias": (H,), m + "o_norm.weight": (O // H,)}
                if "D" in c["canon_set"]:
                    shapes[b + "mlp.both_proj.weight"] = (2 * F, D)
                else:
                    shapes |= {b + "mlp.gate_proj.weight": (F, D), b + "mlp.up_proj.weight": (F, D)}
        for letter, name, width in (("A", "canonA", D), ("C", "canonC", D), ("D", "mlp.canonD", 2 * F)):
            if letter in c["canon_set"] and (mlp or letter == "A"):
                shapes[f"{b}{name}.weight"] = (width, 1, 4)
        if mlp:
            shapes[b + "mlp.down_proj.weight"] = (D, F)
    return shapes


@pytest.mark.parametrize(
    "config",
    [
        GLA,
        GLA | {"canon_set": "bb", "output_gate_rank": None, "expand_k": 0.5, "expand_v": 1.0},
        GLA | {"canon_set": "AC", "use_short_conv": False, "tie_word_embeddings": True},
        GDN,
        GDN | {"canon_set": "b", "output_gate_rank": None, "head_dim": 12, "conv_size": 3},
        GDN | {"canon_set": "ACD", "use_short_conv": False, "num_heads": 4, "head_dim": 4, "expand_v": 1},
        MAMBA2,
        MAMBA2 | {"canon_set": "bb", "use_conv_bias": False, "tie_word_embeddings": True},
        MAMBA2 | {"canon_set": "ABCD", "intermediate_size": 24, "conv_kernel": 3},
        MAMBA2 | {"canon_set": "AB", "mlp_type": None},
    ],
    ids=lambda c: f"{c['model_type']}-{c['canon_set']}",
)
def test_released_models_against_naive_ones(config, tmp_path):
    state = draw(released(config))
    model = from_state(config, state, dtype=torch.float64)
    got = model.module(IDS)[1].detach().numpy()
    expected = naive(config, state, IDS[1].numpy())
    assert np.abs(expected).max() > 1.5
    assert np.abs(got - expected).max() < 1e-9
    written, tensors = to_state(model)
    same = {"GLACanon": "GLACanon", "GatedDeltaNetCanon": "GatedDeltaNetCanon"}.get(config["model_type"])
    assert written["model_type"] == (same or "Mamba2Canon")
    assert set(tensors) == set(state)
    assert all(torch.equal(tensors[k], v) for k, v in state.items())
    assert np.abs(naive(written, tensors, IDS[1].numpy()) - expected).max() < 1e-12
    save_huggingface(model, tmp_path)
    back = load_huggingface(tmp_path, dtype=torch.float64)
    assert back.origin == model.origin
    assert all(torch.equal(v, back.module.state_dict()[k]) for k, v in model.module.state_dict().items())
    text = (tmp_path / "config.json").read_text()
    assert "Infinity" not in text
    assert "".join(sorted(set(json.loads(text)["canon_set"]) - {"b"})) == "".join(
        sorted(set(config["canon_set"]) - {"b"})
    )


def test_other_spellings():
    """Norm and gate apart; hidden widths that follow from others; the gate's width in GDN's mlp10."""
    state = draw(released(GLA))
    apart = {k.replace("g_norm_swish_gate", "g_norm"): v for k, v in state.items()}
    a, b = (from_state(GLA, s).module.state_dict() for s in (state, apart))
    assert all(torch.equal(v, b[k]) for k, v in a.items())
    for config, hidden in ((GLA | {"hidden_size": 96}, 256), (GLA | {"hidden_size": 96, "hidden_ratio": 6}, 512)):
        assert_hidden(config | {"intermediate_size": None}, hidden)
    assert_hidden(GDN | {"mlp_type": "mlp10"}, 64)


def assert_hidden(config, hidden):
    with pytest.raises(
        SpecError, match=rf"mlp.down_proj.weight has \(1,\), and by the configuration \(\d+, {hidden}\)"
    ):
        from_state(config, dict.fromkeys(["model.layers.0.mlp.down_proj.weight"], torch.zeros(1)))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            GLA | {"canon_set": "ABCD"},
            "canon_set 'ABCD' asks for Canon B, which as GLACanon computes it is not offered",
        ),
        (GDN | {"canon_set": "B"}, "asks for Canon B, which as GatedDeltaNetCanon computes it"),
        (GLA | {"num_kv_heads": 1}, "num_kv_heads is 1, and every one of the 2 heads has its own"),
        (GLA | {"clamp_min": -1.0}, "GLACanon with clamp_min = -1.0"),
        (GLA | {"feature_map": "relu"}, "GLACanon with feature_map = 'relu'"),
        (GLA | {"attn": {"layers": [0]}}, "GLACanon with attn = "),
        (GDN | {"use_gate": False}, "GatedDeltaNetCanon with use_gate = False .* only True can be loaded"),
        (MAMBA2 | {"n_groups": 2}, "Mamba2Canon with n_groups = 2"),
        (MAMBA2 | {"n_groups": None}, "n_groups is 8, and here all heads share B and C: only 1 is offered"),
        (MAMBA2 | {"noconv1d": True}, "Mamba2Canon with noconv1d = True"),
        (MAMBA2 | {"time_step_limit": [0.0, 1.0]}, r"Mamba2Canon with time_step_limit = \[0.0, 1.0\]"),
        (MAMBA2 | {"mlp_type": "mlp11"}, "mlp_type 'mlp11' is none of null, 'mlp10'"),
        (MAMBA2 | {"head_dim": 8}, "4 heads of 8 are 32 channels, and expand makes 64"),
    ],
)
def test_what_cannot_be_loaded_is_refused(config, message):
    with pytest.raises(SpecError, match=message):
        from_state(config, {})


@pytest.mark.parametrize(
    ("net", "message"),
    [
        ({"mixer": "gla", "canon": "B"}, "GLACanon canon_set 'Bb' asks for Canon B"),
        ({"mixer": {"name": "gla", "gate_rank": 8}}, "GLACanon has no place for mixer.gate_rank: 8"),
        ({"mixer": {"name": "mamba2", "conv": None}}, "Mamba2Canon has no place for mixer.conv: None"),
        ({"mixer": {"name": "mamba2", "expand": 1.5}}, "Mamba2Canon has a whole number for expand, and .* is 1.5"),
        ({"mixer": {"name": "mamba2", "eps": 1e-3}}, "Mamba2Canon has no place for mixer.eps: 0.001"),
        ({"mixer": {"name": "deltanet", "gated": False}}, "GatedDeltaNetCanon has no place for mixer.gated: False"),
        ({"mixer": {"name": "deltanet", "negative": True}}, "GatedDeltaNetCanon has no place for mixer.negative: True"),
    ],
)
def test_what_they_cannot_express_is_refused(net, message):
    eps = {"name": "rmsnorm", "eps": 1e-5}
    spec = Decoder(layers=1, width=32, heads=2, positions="none", norm=eps, **net)
    with pytest.raises(SpecError, match=message):
        to_state(TorchLanguageModel.new(spec, Streams(0), vocab=V, length=9))


RELEASED = {  # what the released configurations say, from canon_linear_recipes of PhysicsLM4
    "GLACanon": {"expand_k": 1, "expand_v": 2, "use_short_conv": True, "conv_size": 4},
    "GatedDeltaNetCanon": {"head_dim": 128, "expand_v": 2},
    "Mamba2Canon": {"head_dim": 256, "expand": 2, "state_size": 128, "n_groups": 1, "mlp_type": "mlp10"},
}
SIZES = {  # blocks, width, heads, hidden width of the MLP, vocabulary
    "1B": (24, 2048, 16, 4096, 32_000),
    "3B": (26, 3072, 24, 6144, 32_000),
    "8B": (32, 4096, 32, 9472, 128_256),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("canon_set", ["bb", "AbbCD"])
@pytest.mark.parametrize(
    ("model_type", "name"), [("GLACanon", "gla5"), ("GatedDeltaNetCanon", "gdn2"), ("Mamba2Canon", "mamba2")]
)
def test_presets_are_the_released_configurations(model_type, name, canon_set, size):
    layers, width, heads, hidden, vocab = SIZES[size]
    config = {"num_hidden_layers": layers, "hidden_size": width, "num_heads": heads, "intermediate_size": hidden}
    config |= {"vocab_size": vocab, "canon_set": canon_set, "output_gate_rank": 16, "tie_word_embeddings": False}
    config |= {"norm_eps": 1e-5, "layer_norm_epsilon": 1e-5}
    layout = _layout(model_type)
    read = layout.read(Options(config | RELEASED[model_type]))
    preset = Decoder.preset(f"{name}{'canon' if 'A' in canon_set else ''}-{size}")
    ours, theirs = (_essence(net, layout.free) for net in (preset, read.net))
    assert ours == theirs
    assert read.net.mlp.hidden(width) == preset.mlp.hidden(width) == hidden
    assert (read.vocab, read.length) == (vocab, 2048)
