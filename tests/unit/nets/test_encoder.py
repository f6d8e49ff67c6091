"""The encoder against a naive one in float64, written from BERT's equations alone, and against BERT itself."""

import math
import random

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertForMaskedLM

from airtrack.core.answers import generate
from airtrack.core.part import SpecError, build, part, to_spec
from airtrack.core.problem import Junk
from airtrack.core.streams import Streams
from airtrack.nets import encoder as module_of_encoder
from airtrack.nets.encoder import Encoder
from airtrack.nets.model import TorchLanguageModel

STREAMS = Streams(3) / "init"
IDS = np.array([3, 1, 4, 7, 5, 2, 7, 5, 0])  # 7 is the mask
FORMS = [{"after": after, "tied": tied} for after in (True, False) for tied in (True, False)]


def make(length=12, start=None, vocab=8, **fields):
    spec = Encoder(**({"layers": 2, "width": 16, "heads": 2} | fields))
    model = spec.build(vocab, STREAMS, length=length, start=start).double()
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():  # larger than at the start, so that nothing is hidden by smallness; no bias zero
            p.mul_(4 if p.abs().max() < 0.3 else 1).add_(0.3 * torch.randn(p.shape, generator=g, dtype=p.dtype))
    return spec, model


def naive(model, ids, spec):
    """Logits [T, V] of one document, ids [T]."""
    p = {k: v.detach().numpy() for k, v in model.state_dict().items()}
    T, D, H = len(ids), spec.width, spec.heads
    size = D // H
    erf = np.vectorize(math.erf)

    def norm(x, name):
        rows = [(row - row.mean()) / math.sqrt(((row - row.mean()) ** 2).mean() + 1e-5) for row in x]
        return np.stack(rows) * p[name + ".weight"] + p[name + ".bias"]

    def affine(x, name):
        return x @ p[name + ".weight"].T + p[name + ".bias"]

    def gelu(x):
        return x * (1 + erf(x / math.sqrt(2))) / 2

    def attend(x, b):
        qkv, heads = affine(x, b + "mixer.qkv"), []
        for a in range(H):
            q, k, v = (qkv[:, s * D + a * size : s * D + (a + 1) * size] for s in range(3))
            out = np.zeros((T, size))
            for t in range(T):
                weights = np.exp([q[t] @ k[s] / math.sqrt(size) for s in range(T)])
                out[t] = sum(w * v[s] for s, w in enumerate(weights)) / weights.sum()
            heads.append(out)
        return affine(np.concatenate(heads, 1), b + "mixer.out")

    def think(x, b):
        return affine(gelu(affine(x, b + "mlp.up")), b + "mlp.down")

    x = p["tokens.weight"][ids]
    if "positions.weight" in p:
        x = x + p["positions.weight"][:T]
    x = norm(x, "norm") if spec.after else x
    for n in range(spec.layers):
        b = f"blocks.{n}."
        if spec.after:
            x = norm(x + attend(x, b), b + "norm")
            x = norm(x + think(x, b), b + "mlp_norm")
        else:
            x = x + attend(norm(x, b + "norm"), b)
            x = x + think(norm(x, b + "mlp_norm"), b)
    x = x if spec.after else norm(x, "norm")
    x = norm(gelu(affine(x, "dense")), "dense_norm")
    return x @ p["tokens.weight" if spec.tied else "head.weight"].T + p["bias"]


def following(model, ids, spec):
    """Logits of what follows a document: of a mask behind it, the mask itself left out."""
    return naive(model, np.append(ids, model.mask), spec)[-1, :-1]


# ------------------------------------------------------------------------------------------------------- the model


@pytest.mark.parametrize("fields", [*FORMS, {"positions": "none"}, {"heads": 1}, {"layers": 1}])
def test_agrees_with_the_naive_encoder(fields):
    spec, model = make(**fields)
    logits = model(torch.from_numpy(IDS)[None])[0].detach().numpy()
    assert np.abs(logits - naive(model, IDS, spec)).max() < 1e-10
    assert np.abs(logits).max() > 0.1


def test_is_bert():
    """Weights of `transformers`' BERT; what it adds for the first segment is added to the positions."""
    sizes = {"vocab_size": 11, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3}
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = BertConfig(**sizes, intermediate_size=96, max_position_embeddings=13, initializer_range=0.2, **dropout)
        bert = BertForMaskedLM(config).eval()
        for p in bert.parameters():
            p.data += 0.1 * torch.randn(p.shape)
    theirs = bert.state_dict()
    embeddings, head = "bert.embeddings.", "cls.predictions."
    segments = theirs[embeddings + "token_type_embeddings.weight"]
    ours = {
        "tokens.weight": theirs[embeddings + "word_embeddings.weight"],
        "positions.weight": theirs[embeddings + "position_embeddings.weight"] + segments[0],
        "bias": theirs[head + "bias"],
    }
    pairs = {"norm": embeddings + "LayerNorm", "dense": head + "transform.dense"}
    pairs["dense_norm"] = head + "transform.LayerNorm"
    for n in range(2):
        b, layer = f"blocks.{n}.", f"bert.encoder.layer.{n}."
        for kind in ("weight", "bias"):
            qkv = [theirs[f"{layer}attention.self.{name}.{kind}"] for name in ("query", "key", "value")]
            ours[f"{b}mixer.qkv.{kind}"] = torch.cat(qkv)
        pairs |= {b + "mixer.out": layer + "attention.output.dense", b + "norm": layer + "attention.output.LayerNorm"}
        pairs |= {b + "mlp.up": layer + "intermediate.dense", b + "mlp.down": layer + "output.dense"}
        pairs[b + "mlp_norm"] = layer + "output.LayerNorm"
    ours |= {f"{a}.{kind}": theirs[f"{b}.{kind}"] for a, b in pairs.items() for kind in ("weight", "bias")}
    spec = Encoder(layers=2, width=24, heads=3, norm={"name": "layernorm", "eps": 1e-12})
    model = spec.build(11, STREAMS, length=12)
    model.load_state_dict(ours)
    ids = torch.randint(11, (4, 13), generator=torch.Generator().manual_seed(1))
    expected = bert(ids).logits
    assert expected.abs().max() > 1
    assert (model(ids) - expected).abs().max() < 1e-5
    assert spec.count(11, length=12) == sum(p.numel() for p in bert.parameters()) - segments.numel()


def test_counts_that_were_published():
    """google/bert_uncased_L-2_H-128_A-2 has 4,385,920; of these, pooler and segments go, and the head comes."""
    expected = 4_385_920 - (128 * 128 + 128) - 2 * 128 + (128 * 128 + 128) + 2 * 128 + 30_522
    assert Encoder(layers=2, width=128, heads=2).count(30_522, length=511) == expected


@pytest.mark.parametrize("fields", FORMS)
def test_every_position_depends_on_every_other(fields):
    _, model = make(**fields)
    before = model(torch.from_numpy(IDS)[None])
    for t in range(len(IDS)):
        moved = torch.from_numpy(IDS)[None].clone()
        moved[:, t] = (moved[:, t] + 1) % 7
        assert ((model(moved) - before).abs().amax(-1) > 1e-6).all()


@pytest.mark.parametrize("positions", ["learned", "rope", "none"])
def test_documents_are_apart(positions):
    _, model = make(start=0, positions=positions)
    row = torch.tensor([[4, 1, 0, 3, 7, 0, 2, 6, 7, 1]])
    whole = model(row)
    for a, b in [(0, 2), (2, 5), (5, 10)]:
        assert (whole[:, a:b] - model(row[:, a:b])).abs().max() < 1e-12
    _, together = make(start=0, positions=positions, apart=False)
    assert ((together(row)[:, :2] - together(row[:, :2])).abs() > 1e-3).any()


def test_at_gives_the_same_logits():
    _, model = make()
    ids = torch.randint(8, (5, 9), generator=torch.Generator().manual_seed(0))
    rows, columns = torch.tensor([4, 0, 0, 2]), torch.tensor([8, 0, 8, 3])
    assert (model(ids, (rows, columns)) - model(ids)[rows, columns]).abs().max() < 1e-12
    assert model(ids, (rows[:0], columns[:0])).shape == (0, 8)


def test_blocks_made_again_for_the_backward_pass():
    _, model = make()
    gradients = []
    for model.recompute in (False, True):
        model.zero_grad()
        model(torch.from_numpy(IDS)[None]).square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.allclose(a, b) for a, b in zip(*gradients))


# ------------------------------------------------------------------------------------------ the token that follows


@pytest.mark.parametrize("fields", [{}, {"after": False}, {"positions": "none"}])
def test_next_token_is_a_mask_behind(fields, monkeypatch):
    spec, model = make(**fields)
    ids = torch.randint(7, (3, 6), generator=torch.Generator().manual_seed(0))
    expected = np.stack([[following(model, row[: t + 1], spec) for t in range(6)] for row in ids.numpy()])
    assert np.abs(model.next_logits(ids).detach().numpy() - expected).max() < 1e-10
    rows, columns = torch.tensor([2, 0, 0, 1]), torch.tensor([5, 2, 0, 5])
    for chunk in (1, 20, 1 << 14):  # one, two and all of them at a time
        monkeypatch.setattr(module_of_encoder, "CHUNK", chunk)
        asked = model.next_logits(ids, (rows, columns)).detach().numpy()
        assert np.abs(asked - expected[rows, columns]).max() < 1e-10
    assert model.next_logits(ids, (rows[:0], columns[:0])).shape == (0, 7)
    assert model.next_logits(ids[:0]).shape == (0, 6, 7)


def test_next_token_in_a_row_of_documents():
    spec, model = make(start=0)
    row = np.array([4, 1, 0, 3, 5, 0, 2, 6, 5, 1])
    got = model.next_logits(torch.from_numpy(row)[None])[0].detach().numpy()
    for a, b in [(0, 2), (2, 5), (5, 10)]:
        for t in range(a, b):
            assert np.abs(got[t] - following(model, row[a : t + 1], spec)).max() < 1e-10


def test_a_judge_hears_of_the_next_token():
    spec, module = make(vocab=8)
    model = TorchLanguageModel(module)
    ids = np.random.default_rng(0).integers(0, 7, (3, 6))
    logits = np.stack([[following(module, row[: t + 1], spec) for t in range(6)] for row in ids])
    expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert np.abs(model.log_probs(ids) - expected).max() < 1e-10
    at = np.array([2, 0, 1]), np.array([1, 5, 0])
    assert np.abs(model.log_probs(ids, at) - expected[at]).max() < 1e-10
    first, cache = model.advance(ids[:, :2])
    second, _ = model.advance(ids[:, 2:3], cache)
    assert np.abs(first - expected[:, 1]).max() < 1e-10
    assert np.abs(second - expected[:, 2]).max() < 1e-10
    prompts, written = [ids[0, :2], ids[1, :4]], []
    for prompt in prompts:
        row = prompt
        for _ in range(3):
            row = np.append(row, following(module, row, spec).argmax())
        written.append(row[len(prompt) :].tolist())
    assert [new.tolist() for new in generate(model, prompts, 3)] == written


def test_too_long_for_learned_positions():
    _, model = make(length=4)
    ids = torch.zeros(1, 5, dtype=torch.long)
    assert model.next_logits(ids[:, :4]).shape == (1, 4, 7)  # the mask stands in the fifth place
    with pytest.raises(Junk, match="5 learned positions, and a document of 6 tokens"):
        model.next_logits(ids)


# --------------------------------------------------------------------------------------------------- house duties


def cyclic(step, n=32, T=12):
    """Rows that count up modulo 6 from anywhere, a token in four masked: x, and (rows, columns) with what was there."""
    rng = np.random.default_rng(step)
    row = (rng.integers(0, 6, (n, 1)) + np.arange(T)) % 6
    hidden = rng.random((n, T)) < 0.25
    return torch.from_numpy(np.where(hidden, 6, row)), tuple(map(torch.from_numpy, np.nonzero(hidden))), row[hidden]


@pytest.mark.parametrize("after", [True, False])
def test_learns_to_restore_and_so_to_go_on(after):
    module = Encoder(layers=1, width=32, heads=2, after=after).build(7, STREAMS, length=12)
    optimizer, losses = torch.optim.AdamW(module.parameters(), lr=5e-3), []
    for step in range(150):
        x, at, y = cyclic(step)
        loss = torch.nn.functional.cross_entropy(module(x, at), torch.from_numpy(y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert abs(losses[0] - math.log(7)) < 0.2
    assert np.mean(losses[-10:]) < 0.1
    row = (np.arange(11) + 2) % 6
    likeliest = TorchLanguageModel(module).log_probs(row[None])[0].argmax(-1)
    assert (likeliest[2:] == (row[2:] + 1) % 6).all()


def test_all_parameters_learn():
    for fields in FORMS:
        module = Encoder(layers=2, width=16, heads=2, **fields).build(7, STREAMS, length=11)
        module(cyclic(0)[0]).square().sum().backward()
        for name, p in module.named_parameters():
            assert p.grad.isfinite().all(), name
            assert p.grad.abs().max() > 0, name


def test_is_saved_and_loaded(tmp_path):
    ids = np.random.default_rng(0).integers(0, 8, (3, 12))
    model = TorchLanguageModel.new(Encoder(**Encoder.example), Streams(0), vocab=9, length=12, start=0)
    model.save(tmp_path)
    again = TorchLanguageModel.load(tmp_path)
    assert np.array_equal(again.log_probs(ids), model.log_probs(ids))
    assert model.log_probs(ids).shape == (3, 12, 8)


def test_depends_on_its_streams_alone():
    states = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        random.seed(seed)
        before = torch.get_rng_state(), random.getstate()
        states.append(Encoder(**Encoder.example).build(9, STREAMS, length=12).state_dict())
        assert torch.equal(before[0], torch.get_rng_state())
        assert before[1] == random.getstate()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    other = Encoder(**Encoder.example).build(9, Streams(4), length=12).state_dict()
    assert not torch.equal(other["tokens.weight"], states[0]["tokens.weight"])


def test_start_values():
    model = Encoder(layers=1, width=128, heads=2, tied=False).build(200, STREAMS, length=99)
    for name, value in model.named_parameters():
        if name.endswith("bias"):
            assert (value == 0).all()
        elif "norm" in name:
            assert (value == 1).all()
        else:
            assert abs(value.std() - 0.02) < 5 * 0.02 / (2 * value.numel()) ** 0.5, name


@pytest.mark.parametrize("fields", [*FORMS, {"positions": "rope"}])
def test_counts(fields):
    spec = Encoder(layers=2, width=16, heads=2, **fields)
    model = spec.build(9, STREAMS, length=12)
    assert spec.count(9, length=12) == sum(p.numel() for p in model.parameters())
    with FlopCounterMode(display=False) as counted, sdpa_kernel(SDPBackend.MATH):
        model(torch.zeros(1, 12, dtype=torch.long))
    assert spec.flops(9, 12) == counted.get_total_flops()


def test_describes_itself():
    assert Encoder(layers=1, width=32, heads=2).describe() == [
        "13,920 parameters, and 33 more for every token of the vocabulary, 32 for every token of a row",
        "43,008 FLOPs a token forward, at 128 tokens a row, without the vocabulary",
        "restores masked tokens; the token after a position costs a whole pass",
    ]


def test_specification_returns_the_same_part():
    spec = Encoder(layers=1, width=16, heads=2, after=False, positions="rope")
    assert build("net", to_spec(spec)) == spec


class Back:
    """A mixer that only looks back."""

    def build(self, width, heads):
        return torch.nn.Identity()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"heads": 3}, "width 16 is no multiple of 3 heads"),
        ({"layers": 0}, "layers: input should be greater than 0"),
        ({"positions": "learnt"}, "did you mean 'learned'"),
        ({"canon": "A"}, "encoder has no field 'canon'"),
    ],
)
def test_bad_fields_are_refused(fields, message):
    with pytest.raises(SpecError, match=message):
        build("net", {"name": "encoder", "layers": 1, "width": 16, "heads": 2} | fields)


def test_a_mixer_that_only_looks_back_is_refused():
    with pytest.raises(SpecError, match="mixer Back only looks back, and an encoder's positions see all"):
        Encoder(layers=1, width=16, heads=2, mixer=part("mixer")(Back)())
