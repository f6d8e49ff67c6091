"""Layouts against transformers' own models with the same weights, and against naive models in float64."""

import json
import math

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import airtrack as at
from airtrack.core.part import SpecError, build, to_spec
from airtrack.core.streams import Streams
from airtrack.nets.decoder import Decoder
from airtrack.nets.huggingface.convert import from_state, load_huggingface, save_huggingface, to_state
from airtrack.nets.model import TorchLanguageModel

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

V = 11
SMALL = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 40, "vocab_size": V}
GPT2 = {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 16, "vocab_size": V}
NO_IDS = {"bos_token_id": None, "eos_token_id": None}

PEERS = {
    "llama": ("Llama", SMALL),
    "llama-grouped": ("Llama", SMALL | {"num_key_value_heads": 2}),
    "llama-one-group": ("Llama", SMALL | {"num_key_value_heads": 1, "rms_norm_eps": 1e-3}),
    "llama-tied": ("Llama", SMALL | {"tie_word_embeddings": True, "num_key_value_heads": 2}),
    "llama-bias": ("Llama", SMALL | {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 2}),
    "llama-base": ("Llama", SMALL | {"rope_theta": 500.0, "hidden_act": "gelu"}),
    "neox": ("GPTNeoX", SMALL),
    "neox-sequential": ("GPTNeoX", SMALL | {"use_parallel_residual": False, "rotary_pct": 1.0}),
    "neox-half": ("GPTNeoX", SMALL | {"rotary_pct": 0.5, "rotary_emb_base": 100, "attention_bias": False}),
    "neox-tied": ("GPTNeoX", SMALL | {"tie_word_embeddings": True, "hidden_act": "gelu_new", "layer_norm_eps": 1e-3}),
    "gpt2": ("GPT2", GPT2),
    "gpt2-untied": ("GPT2", GPT2 | {"tie_word_embeddings": False, "n_inner": 48, "activation_function": "relu"}),
}
MODELS = {"Llama": "LlamaForCausalLM", "GPTNeoX": "GPTNeoXForCausalLM", "GPT2": "GPT2LMHeadModel"}


def fill(module, seed=0):
    """Weights large enough that every part shows in the logits; gains and taps near, and not at, their start."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in module.named_parameters():
            draw = torch.randn(p.shape, generator=g, dtype=torch.float64).to(p.dtype)
            gain = "norm" in name or "ln_" in name
            p.copy_(draw * (0.2 if p.ndim > 1 or gain else 0.5) + (gain and name.endswith("weight")))
    return module.eval()


def peer(name):
    family, fields = PEERS[name]
    config = getattr(transformers, f"{family}Config")(**fields, **NO_IDS)
    return fill(getattr(transformers, MODELS[family])(config))


IDS = torch.randint(V, (3, 13), generator=torch.Generator().manual_seed(5))


@torch.no_grad()
def distance(a, b):
    """(largest difference of logits, largest logit)."""
    return float((a - b).abs().max()), float(a.abs().max())


@pytest.mark.parametrize("name", PEERS)
def test_logits_are_those_of_transformers(name, tmp_path):
    theirs = peer(name)
    with torch.no_grad():
        expected = theirs(IDS).logits
    ours = from_state(theirs.config.to_dict(), theirs.state_dict())
    far, large = distance(expected, ours.module(IDS))
    assert large > 1.5
    assert far < 1e-5
    theirs.save_pretrained(tmp_path / "theirs")
    loaded = load_huggingface(tmp_path / "theirs")
    assert loaded.origin == ours.origin
    assert all(torch.equal(v, loaded.module.state_dict()[k]) for k, v in ours.module.state_dict().items())
    # and the other way
    save_huggingface(loaded, tmp_path / "ours")
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    assert type(back) is type(theirs)
    assert distance(back(IDS).logits, expected)[0] < 1e-6
    written, original = (load_file(tmp_path / who / "model.safetensors") for who in ("ours", "theirs"))
    assert set(written) == set(original)
    assert all(torch.equal(written[k], v) for k, v in original.items())
    again = load_huggingface(tmp_path / "ours")
    assert again.origin == loaded.origin
    assert all(torch.equal(v, again.module.state_dict()[k]) for k, v in loaded.module.state_dict().items())


@pytest.mark.parametrize(
    ("net", "model_type"),
    [
        ({}, "llama"),
        ({"tied": True, "mixer": {"name": "attention", "groups": 1}}, "llama"),
        ({"canon": "ABCD"}, "LlamaCanon"),
        ({"canon": "AC", "positions": {"name": "rope", "dims": 0.5}}, "LlamaCanon"),
        (
            {"positions": {"name": "rope", "dims": 0.25}, "mixer": {"name": "attention", "qk_norm": "vector"}},
            "LlamaCanon",
        ),
        (
            {
                "positions": {"name": "rope", "dims": 0.5},
                "mlp": {"name": "plain", "bias": True, "activation": "gelu"},
                "norm": "layernorm",
                "parallel": True,
            },
            "gpt_neox",
        ),
        (
            {
                "positions": "learned",
                "mlp": {"name": "plain", "bias": True, "activation": "gelu_tanh"},
                "mixer": {"name": "attention", "bias": True},
                "norm": "layernorm",
            },
            "gpt2",
        ),
    ],
)
def test_our_nets_choose_their_layout(net, model_type, tmp_path):
    spec = Decoder(layers=2, width=32, heads=2, **net)
    model = TorchLanguageModel.new(spec, Streams(1), vocab=V, length=16, start=3)
    fill(model.module)
    save_huggingface(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"] == model_type
    assert (config["bos_token_id"], config["eos_token_id"]) == (3, None)
    back = load_huggingface(tmp_path, start=3)
    assert all(torch.equal(v, back.module.state_dict()[k]) for k, v in model.module.state_dict().items())
    ids = torch.where(IDS == 3, 4, IDS)
    assert torch.equal(back.module(IDS), model.module(IDS))
    assert not torch.equal(load_huggingface(tmp_path).module(IDS), back.module(IDS))  # rows that begin documents
    assert torch.equal(load_huggingface(tmp_path).module(ids), back.module(ids))
    if model_type != "LlamaCanon":
        theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
        far, large = distance(theirs(ids).logits, back.module(ids))
        assert large > 1
        assert far < 1e-5


def test_the_plainest_net_comes_back_as_it_was(tmp_path):
    spec = Decoder(layers=1, width=24, heads=2)
    save_huggingface(TorchLanguageModel.new(spec, Streams(0), vocab=V, length=16), tmp_path)
    net = build("net", load_huggingface(tmp_path).origin["net"])
    assert net.mlp == spec.mlp
    assert to_spec(net) | {"mixer": None} == to_spec(spec) | {"mixer": None}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_precisions(dtype, tmp_path):
    theirs = peer("llama").to(dtype)
    theirs.save_pretrained(tmp_path / "a")
    single, own = load_huggingface(tmp_path / "a"), load_huggingface(tmp_path / "a", dtype=dtype)
    assert single.module.tokens.weight.dtype == torch.float32
    assert torch.equal(own.module.tokens.weight, theirs.model.embed_tokens.weight)
    save_huggingface(own, tmp_path / "b")
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "b")
    assert back.dtype == dtype
    assert all(torch.equal(v, theirs.state_dict()[k]) for k, v in back.state_dict().items())


def test_shards(tmp_path):
    theirs = peer("llama")
    theirs.save_pretrained(tmp_path, max_shard_size="8KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    far, _ = distance(theirs(IDS).logits, load_huggingface(tmp_path).module(IDS))
    assert far < 1e-5


def test_older_names():
    """GPT-2 without its prefix, buffers of masks, a tied head that is there; options before transformers 5."""
    theirs = peer("gpt2")
    state = {k.removeprefix("transformer."): v for k, v in theirs.state_dict().items()}
    state |= {f"h.{n}.attn.bias": torch.ones(1, 1, 16, 16).tril() for n in range(2)}
    assert "lm_head.weight" in state
    assert distance(theirs(IDS).logits, from_state(theirs.config.to_dict(), state).module(IDS))[0] < 1e-5
    theirs = peer("neox-half")
    config = {k: v for k, v in theirs.config.to_dict().items() if k != "rope_parameters"}
    config |= {"rotary_pct": 0.5, "rotary_emb_base": 100, "rope_scaling": None}
    assert distance(theirs(IDS).logits, from_state(config, theirs.state_dict()).module(IDS))[0] < 1e-5
    theirs = peer("llama-base")
    config = {k: v for k, v in theirs.config.to_dict().items() if k not in ("rope_parameters", "head_dim")}
    state = theirs.state_dict() | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    loaded = from_state(config | {"rope_theta": 500.0}, state)
    assert distance(theirs(IDS).logits, loaded.module(IDS))[0] < 1e-5
    assert distance(theirs(IDS).logits, from_state(config, theirs.state_dict()).module(IDS))[0] > 1e-3


@pytest.mark.parametrize("stop", [None, 3, 7])
@pytest.mark.parametrize("name", ["llama-grouped", "neox", "gpt2"])
def test_generation_is_that_of_transformers(name, stop):
    theirs = peer(name).double()
    ours = from_state(theirs.config.to_dict(), theirs.state_dict(), dtype=torch.float64).module
    ids = IDS[:, :4]
    for beams, penalty in ((1, 0.0), (2, 0.0), (4, 0.0), (4, 1.0), (3, 2.0)):
        settings = {"length_penalty": penalty, "early_stopping": "never"} if beams > 1 else {}
        expected = theirs.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=8,
            do_sample=False,
            num_beams=beams,
            eos_token_id=stop,
            pad_token_id=0 if stop is None else stop,
            **settings,
        )
        made = ours.generate(ids, 8, beams=beams, stop=stop, length_penalty=penalty)
        assert torch.equal(made[:, : expected.shape[1]], expected)
        assert set(made[:, expected.shape[1] :].flatten().tolist()) <= {stop}


# -------------------------------------------------------------------------------------------------------- LlamaCanon


def naive_llama_canon(config, p, ids):
    """Logits [T, V] of ids [T] in float64, written from Physics of Language Models 4.1 and the released options."""
    p = {k: v.double().numpy() for k, v in p.items()}
    T, D, H = len(ids), config["hidden_size"], config["num_attention_heads"]
    G, hd = config.get("num_key_value_heads") or H, D // H
    r = config.get("rope_dim") or hd
    eps, theta = config["rms_norm_eps"], config["rope_theta"]

    def norm(x, gain):
        return np.array([row / math.sqrt(sum(v * v for v in row) / len(row) + eps) for row in x]) * gain

    def canon(x, name):
        if name + ".weight" not in p:
            return x
        w, y = p[name + ".weight"], np.zeros_like(x)  # [C, 1, K], the last tap is the present
        K = w.shape[2]
        for t in range(T):
            for j in range(K):
                if t - j >= 0:
                    y[t] += w[:, 0, K - 1 - j] * x[t - j]
        y = y + p.get(name + ".bias", 0)
        if config.get("canon_activation"):
            y = y / (1 + np.exp(-y))
        return x + y if config.get("canon_residual", True) else y

    def turn(x):  # [T, hd]
        x = x.copy()
        for t in range(T):
            for i in range(r // 2):
                a, b = (2 * i, 2 * i + 1) if config["rope_version"] == "lingua" else (i, i + r // 2)
                z = complex(x[t, a], x[t, b]) * np.exp(1j * t * theta ** (-2 * i / r))
                x[t, a], x[t, b] = z.real, z.imag
        return x

    x = p["model.embed_tokens.weight"][ids]
    for n in range(config["num_hidden_layers"]):
        b = f"model.layers.{n}."
        h = canon(norm(x, p[b + "input_layernorm.weight"]), b + "canonA")
        q, k, v = (h @ p[b + f"self_attn.{s}_proj.weight"].T + p.get(b + f"self_attn.{s}_proj.bias", 0) for s in "qkv")
        if config.get("qk_norm"):
            q, k = norm(q, p[b + "self_attn.q_norm.weight"]), norm(k, p[b + "self_attn.k_norm.weight"])
        qkv = canon(np.concatenate((q, k, v), 1), b + "self_attn.canonB")
        q, k, v = qkv[:, : H * hd], qkv[:, H * hd : (H + G) * hd], qkv[:, (H + G) * hd :]
        heads = []
        for a in range(H):
            g = a // (H // G)
            qa = turn(q[:, a * hd : (a + 1) * hd])
            ka, va = turn(k[:, g * hd : (g + 1) * hd]), v[:, g * hd : (g + 1) * hd]
            out = np.zeros((T, hd))
            for t in range(T):
                score = np.exp(ka[: t + 1] @ qa[t] / math.sqrt(hd))
                out[t] = score / score.sum() @ va[: t + 1]
            heads.append(out)
        x = x + np.concatenate(heads, 1) @ p[b + "self_attn.o_proj.weight"].T + p.get(b + "self_attn.o_proj.bias", 0)
        h = canon(norm(x, p[b + "post_attention_layernorm.weight"]), b + "canonC")
        both = np.concatenate((h @ p[b + "mlp.gate_proj.weight"].T, h @ p[b + "mlp.up_proj.weight"].T), 1)
        gate, up = np.split(canon(both, b + "mlp.canonD"), 2, 1)
        x = x + gate / (1 + np.exp(-gate)) * up @ p[b + "mlp.down_proj.weight"].T
    x = norm(x, p["model.norm.weight"])
    return x @ p["model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"].T


def canon_state(config, seed=0):
    """Random tensors under the released names."""
    g = torch.Generator().manual_seed(seed)
    D, F, H = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    q, kv = D, (config.get("num_key_value_heads") or H) * (D // H)
    shapes = {"model.embed_tokens.weight": (V, D), "model.norm.weight": (D,)}
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (V, D)
    for n in range(config["num_hidden_layers"]):
        b, s = f"model.layers.{n}.", f"model.layers.{n}.self_attn."
        shapes |= {b + "input_layernorm.weight": (D,), b + "post_attention_layernorm.weight": (D,)}
        shapes |= {s + "q_proj.weight": (q, D), s + "k_proj.weight": (kv, D), s + "v_proj.weight": (kv, D)}
        shapes |= {s + "o_proj.weight": (D, q), b + "mlp.down_proj.weight": (D, F)}
        shapes |= {b + "mlp.gate_proj.weight": (F, D), b + "mlp.up_proj.weight": (F, D)}
        if config.get("attention_bias"):
            shapes |= {s + "q_proj.bias": (q,), s + "k_proj.bias": (kv,), s + "v_proj.bias": (kv,)}
            shapes |= {s + "o_proj.bias": (D,)}
        if config.get("qk_norm"):
            shapes |= {s + "q_norm.weight": (q,), s + "k_norm.weight": (kv,)}
        for letter, name, width in (
            ("A", b + "canonA", D),
            ("B", s + "canonB", q + 2 * kv),
            ("C", b + "canonC", D),
            ("D", b + "mlp.canonD", 2 * F),
        ):
            if letter in config.get("canon_set", ""):
                shapes[name + ".weight"] = (width, 1, config.get("canon_kernel", 4))
                if config.get("canon_bias"):
                    shapes[name + ".bias"] = (width,)
    return {
        name: torch.randn(shape, generator=g, dtype=torch.float64) * 0.3 + ("norm" in name)
        for name, shape in shapes.items()
    }


CANON = SMALL | {
    "model_type": "LlamaCanon",
    "rms_norm_eps": 1e-5,
    "rope_theta": 1000.0,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
    "max_position_embeddings": 16,
    "canon_set": "ABCD",
}


@pytest.mark.parametrize("version", ["huggingface", "lingua"])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"canon_set": ""},
        {"canon_set": "CA", "rope_dim": 4},
        {"canon_set": "B", "num_key_value_heads": 2, "qk_norm": True},
        {"qk_norm": True, "rope_dim": 2, "num_key_value_heads": 1, "tie_word_embeddings": True},
        {"attention_bias": True, "canon_kernel": 3, "canon_bias": True, "canon_activation": True},
        {"canon_residual": False, "canon_kernel": 2, "canon_set": "BD", "head_dim": 8},
    ],
    ids=lambda f: "-".join(f"{k}={v}" for k, v in f.items()) or "plain",
)
def test_llama_canon_against_a_naive_one(fields, version, tmp_path):
    config = CANON | {"rope_version": version} | fields
    state = canon_state(config)
    model = from_state(config, state, dtype=torch.float64)
    got = model.module(IDS[:1])[0].detach().numpy()
    expected = naive_llama_canon(config, state, IDS[0].numpy())
    assert np.abs(expected).max() > 1.5
    assert np.abs(got - expected).max() < 1e-10
    # back: in our own convention of rotary pairs, which the naive one reads from the configuration
    written, tensors = to_state(model, "LlamaCanon")
    assert written["rope_version"] == "lingua"
    assert set(tensors) == set(state)
    assert np.abs(naive_llama_canon(written, tensors, IDS[0].numpy()) - expected).max() < 1e-10
    if version == "lingua":
        assert all(torch.equal(tensors[k], v) for k, v in state.items())
    save_huggingface(model, tmp_path, "LlamaCanon")
    back = load_huggingface(tmp_path, dtype=torch.float64)
    assert all(torch.equal(v, back.module.state_dict()[k]) for k, v in model.module.state_dict().items())
    assert back.origin == model.origin


def test_the_two_rotary_conventions_differ():
    state = canon_state(CANON)
    a, b = (from_state(CANON | {"rope_version": v}, state).module(IDS) for v in ("huggingface", "lingua"))
    assert distance(a, b)[0] > 0.01


# ---------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("llama", {"model_type": "lama"}, "no layout is named 'lama'; did you mean 'llama'"),
        ("llama", {"model_type": None}, "the configuration has no 'model_type'"),
        ("llama", {"hidden_size": None}, "the configuration has no 'hidden_size', which a llama needs"),
        ("llama", {"rope_scaling": {"rope_type": "llama3"}}, "rope_scaling of type 'llama3' stretches"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling of type 'linear' stretches"),
        ("llama", {"rope_parameters": {"rope_type": "yarn"}}, "rope_parameters of type 'yarn' stretches"),
        ("llama", {"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor is 0.5"),
        ("llama", {"sliding_window": 4}, "llama with sliding_window = 4 is not what nets here compute"),
        ("llama", {"canon_set": "A"}, "llama with canon_set = 'A' is not what nets here compute; only ''"),
        ("llama", {"head_dim": 16}, "4 heads of 16 dimensions are 64, and the residual stream has 32"),
        ("llama", {"hidden_act": "mish"}, "hidden_act 'mish' is not offered; there are silu"),
        ("llama", {"num_key_value_heads": 3}, "4 heads are no multiple of 3 groups"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx = True"),
        ("llama", {"num_hidden_layers": 1}, r"not expected: model.layers.1.*, … \(9 in all\)"),
        ("llama", {"num_hidden_layers": 3}, r"missing: model.layers.2.*, … \(9 in all\)"),
        ("llama", {"attention_bias": True}, r"missing: model.layers.0.self_attn.q_proj.bias, .* \(8 in all\)"),
        (
            "llama",
            {"vocab_size": 12},
            r"of another shape: model.embed_tokens.weight has \(11, 32\), and by the configuration \(12, 32\), lm_head",
        ),
        ("llama", {"intermediate_size": 48}, r"gate_proj.weight has \(40, 32\), and by the configuration \(48, 32\)"),
        ("llama", {"tie_word_embeddings": True}, "lm_head.weight differs from the embedding of tokens"),
    ],
)
def test_what_cannot_be_loaded_is_refused(name, change, message):
    theirs = peer(name)
    with pytest.raises(SpecError, match=message):
        from_state(theirs.config.to_dict() | change, theirs.state_dict())


@pytest.mark.parametrize(
    ("net", "layout", "message"),
    [
        ({"canon": "AB"}, "llama", "^llama has no place for canon: AB; use the layout LlamaCanon$"),
        ({"positions": {"name": "rope", "dims": 0.5}}, "llama", "positions.dims: 0.5; use the layout LlamaCanon$"),
        ({"positions": "none"}, "llama", r"llama has rope for positions, and .* has none; use model.save\(folder\)"),
        ({"mlp": "plain"}, "LlamaCanon", r"LlamaCanon has gated for mlp, and this model has plain; use model.save"),
        ({"parallel": True}, "llama", "llama has no place for parallel: True"),
        ({"mixer": {"name": "attention", "window": 4}}, "llama", "llama has no place for mixer.window: 4"),
        ({"positions": {"name": "rope", "heads": 0.5}}, None, "no layout expresses this model: llama has no place for"),
        ({}, "lama", "no layout is named 'lama'; did you mean 'llama'"),
        ({}, "gpt2", "gpt2 has learned for positions, and this model has rope; use the layout llama or LlamaCanon"),
    ],
)
def test_what_a_layout_cannot_express_is_refused(net, layout, message, tmp_path):
    model = TorchLanguageModel.new(Decoder(layers=1, width=32, heads=2, **net), Streams(0), vocab=V, length=9)
    with pytest.raises(SpecError, match=message):
        save_huggingface(model, tmp_path / "new", layout)
    assert not (tmp_path / "new").exists()


def test_modules_that_were_changed_or_are_not_ours(tmp_path):
    model = TorchLanguageModel.new(Decoder(layers=1, width=32, heads=2), Streams(0), vocab=V, length=9)
    with pytest.raises(SpecError, match="does not know how it was built"):
        save_huggingface(TorchLanguageModel(model.module), tmp_path)
    model.module.register_buffer("extra", torch.zeros(1))
    with pytest.raises(SpecError, match="llama has no place for the tensors: extra"):
        save_huggingface(model, tmp_path)


def test_folders_without_a_model(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_huggingface(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(peer("llama").config.to_dict()))
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"there is config.json, pytorch_model.bin. Other formats: load them"):
        load_huggingface(tmp_path)
    save_file({"model.norm.weight": torch.ones(32)}, tmp_path / "model.safetensors")
    with pytest.raises(SpecError, match=r"missing: model.embed_tokens.weight, lm_head.weight, .* \(20 in all\)"):
        load_huggingface(tmp_path)


def test_names_of_the_package():
    assert at.nets.load_huggingface is load_huggingface
    assert at.nets.from_state is from_state
