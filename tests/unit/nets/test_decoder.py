"""The decoder against a naive one in float64, written from the equations alone."""

import itertools
import random

import numpy as np
import pytest
import torch

from airtrack.core.part import SpecError, build, part, to_spec
from airtrack.core.streams import Streams
from airtrack.nets.decoder import Decoder

STREAMS = Streams(3) / "init"
SUBSETS = ["".join(s) for k in range(5) for s in itertools.combinations("ABCD", k)]


def variants():
    return [
        {"positions": positions, "mlp": mlp, "canon": canon}
        for positions, mlp in itertools.product(["rope", "none", "learned"], ["gated", "plain", "none"])
        for canon in SUBSETS
        if mlp != "none" or not set(canon) & set("CD")
    ]


def rope(**fields):
    return {"name": "rope"} | fields


def naive(model, ids, spec):
    """Logits [T, V] of one document, ids [T]."""
    p = {k: v.detach().numpy().astype(np.float64) for k, v in model.state_dict().items()}
    T, D, H = len(ids), spec.width, spec.heads
    hd = D // H
    r = round(getattr(spec.positions, "dims", 0) * hd)

    def norm(x, gain):
        return np.stack([row / np.sqrt((row**2).mean() + 1e-6) for row in x]) * gain

    def canon(x, taps):
        y = x.copy()
        for t in range(T):
            for j in range(4):
                if t - j >= 0:
                    y[t] += taps[j] * x[t - j]
        return y

    def maybe(x, name):
        return canon(x, p[name]) if name in p else x

    def turn(x):  # [T, hd]
        x = x.copy()
        for t in range(T):
            for i in range(r // 2):
                z = complex(x[t, 2 * i], x[t, 2 * i + 1]) * np.exp(1j * t * 10_000.0 ** (-2 * i / r))
                x[t, 2 * i], x[t, 2 * i + 1] = z.real, z.imag
        return x

    def silu(x):
        return x / (1 + np.exp(-x))

    x = p["tokens.weight"][ids]
    if "positions.weight" in p:
        x = x + p["positions.weight"][:T]
    for n in range(spec.layers):
        b = f"blocks.{n}."
        h = maybe(norm(x, p[b + "norm.weight"]), b + "canon_a.weight")
        qkv = maybe(h @ p[b + "mixer.qkv.weight"].T, b + "mixer.canon.weight")
        heads = []
        for a in range(H):
            q, k, v = (qkv[:, s * D + a * hd : s * D + (a + 1) * hd] for s in range(3))
            if r:
                q, k = turn(q), turn(k)
            out = np.zeros((T, hd))
            for t in range(T):
                score = np.exp(q[t] @ k[: t + 1].T / np.sqrt(hd))
                out[t] = score / score.sum() @ v[: t + 1]
            heads.append(out)
        x = x + np.concatenate(heads, 1) @ p[b + "mixer.out.weight"].T
        if b + "mlp.up.weight" in p:
            h = maybe(norm(x, p[b + "mlp_norm.weight"]), b + "canon_c.weight")
            h = maybe(h @ p[b + "mlp.up.weight"].T, b + "mlp.canon.weight")
            if type(spec.mlp).__name__ == "Gated":
                half = h.shape[1] // 2
                h = silu(h[:, :half]) * h[:, half:]
            else:
                h = silu(h)
            x = x + h @ p[b + "mlp.down.weight"].T
    return norm(x, p["norm.weight"]) @ p["tokens.weight" if spec.tied else "head.weight"].T


def make(length=12, start=None, vocab=7, **fields):
    spec = Decoder(**({"layers": 2, "width": 16, "heads": 2} | fields))
    model = spec.build(vocab, STREAMS, length=length, start=start).double()
    with torch.no_grad():
        for p in model.parameters():  # larger than at the start, so that nothing is hidden by smallness; norms not 1
            p.mul_(8 if p.abs().max() < 0.3 else 1.2)
    return spec, model


@pytest.mark.parametrize("fields", variants(), ids=lambda f: "-".join(v for v in f.values() if v))
def test_agrees_with_the_naive_decoder(fields):
    spec, model = make(**fields)
    ids = np.array([3, 1, 4, 1, 5, 2, 6, 5, 0])
    logits = model(torch.from_numpy(ids)[None])[0].detach().numpy()
    assert np.abs(logits - naive(model, ids, spec)).max() < 1e-10
    assert np.abs(logits).max() > 0.1


@pytest.mark.parametrize(
    "fields",
    [{"positions": rope(dims=0.25)}, {"positions": rope(dims=0.5), "canon": "B"}, {"tied": True}, {"heads": 1}],
)
def test_other_fields_agree_too(fields):
    spec, model = make(**fields)
    ids = np.array([3, 1, 4, 1, 5, 2, 6, 5, 0, 3])
    assert np.abs(model(torch.from_numpy(ids)[None])[0].detach().numpy() - naive(model, ids, spec)).max() < 1e-10


@pytest.mark.parametrize("fields", variants(), ids=lambda f: "-".join(v for v in f.values() if v))
def test_packed_documents_are_separate_runs(fields):
    """Rows of documents, the start token first; and a row that begins in the middle of one."""
    spec, model = make(start=0, **fields)
    rows = [[0, 3, 1, 4, 0, 5, 0, 2, 6, 5, 3], [4, 1, 0, 2, 0, 0, 6, 5, 3, 1, 2], [0, 3, 1, 4, 1, 5, 1, 2, 6, 5, 3]]
    logits = model(torch.tensor(rows)).detach().numpy()
    for row, ours in zip(rows, logits):
        cuts = sorted({0, len(row)} | {t for t, i in enumerate(row) if i == 0})
        for a, b in itertools.pairwise(cuts):
            assert np.abs(ours[a:b] - naive(model, np.array(row[a:b]), spec)).max() < 1e-10


@pytest.mark.parametrize("fields", variants(), ids=lambda f: "-".join(v for v in f.values() if v))
def test_generation_with_the_cache_is_without(fields):
    _, model = make(length=20, **fields)
    ids = torch.tensor([[3, 1, 4, 1], [2, 2, 6, 5]])
    expected = ids
    for _ in range(8):
        expected = torch.cat((expected, model(expected)[:, -1].argmax(-1, keepdim=True)), 1)
    assert torch.equal(model.generate(ids, 8), expected)


def test_generation_starts_a_document_where_the_model_says_so():
    _, model = make(length=20, start=0, canon="ABCD")
    ids = torch.tensor([[3, 1, 0, 1], [2, 2, 6, 5]])
    expected = ids
    for _ in range(8):
        expected = torch.cat((expected, model(expected)[:, -1].argmax(-1, keepdim=True)), 1)
    assert torch.equal(model.generate(ids, 8), expected)


def test_drawn_ids_follow_the_softmax():
    _, model = make(layers=1)
    ids = torch.tensor([[3, 1, 4]]).expand(4000, 3)
    new = model.generate(ids, 1, temperature=2.0, generator=torch.Generator().manual_seed(0))[:, -1]
    expected = 4000 * (model(ids[:1])[0, -1] / 2).softmax(-1).detach()
    counts = torch.bincount(new, minlength=7)
    assert ((counts - expected) ** 2 / expected).sum() < 25  # chi-square, 6 degrees of freedom: p = .0003


@pytest.mark.parametrize("canon", ["", "ABCD"])
def test_at_gives_the_same_logits(canon):
    _, model = make(canon=canon)
    ids = torch.randint(7, (5, 9), generator=torch.Generator().manual_seed(0))
    rows, columns = torch.tensor([4, 0, 0, 2]), torch.tensor([8, 0, 8, 3])
    assert torch.allclose(model(ids, (rows, columns)), model(ids)[rows, columns], atol=1e-12)


def test_lengths_nought_and_one():
    for fields in variants():
        spec, model = make(**fields)
        assert model(torch.zeros(2, 0, dtype=torch.long)).shape == (2, 0, 7)
        one = model(torch.tensor([[3]]))[0].detach().numpy()
        assert np.abs(one - naive(model, np.array([3]), spec)).max() < 1e-10


def test_variants_share_the_parameters_that_they_share():
    first = Decoder(layers=2, width=16, heads=2, mlp="gated").build(7, STREAMS, length=12)
    everything = dict(first.named_parameters())
    for fields in variants():
        model = Decoder(layers=2, width=16, heads=2, **fields).build(7, STREAMS, length=12)
        common = 0
        for name, value in model.named_parameters():
            if name in everything and value.shape == everything[name].shape:
                assert torch.equal(value, everything[name]), name
                common += 1
        assert common >= 9  # tokens, head, last norm, and three of each block
    deeper = Decoder(layers=3, width=16, heads=2).build(7, STREAMS, length=12)
    assert all(torch.equal(deeper.state_dict()[name], value) for name, value in everything.items())


def test_start_values():
    model = Decoder(layers=1, width=128, heads=2, canon="ABCD").build(200, STREAMS, length=9)
    for name, value in model.named_parameters():
        if "canon" in name:
            assert 0.49 < value.abs().max() <= 0.5
        elif "norm" in name:
            assert (value == 1).all()
        else:
            assert abs(value.std() - 0.02) < 5 * 0.02 / (2 * value.numel()) ** 0.5, name
    other = Decoder(layers=1, width=128, heads=2).build(200, Streams(4) / "init", length=9)
    assert not torch.equal(other.tokens.weight, model.tokens.weight)


@pytest.mark.parametrize("fields", variants()[::7])
def test_count_is_the_number_of_parameters(fields):
    spec = Decoder(layers=2, width=16, heads=2, **fields)
    model = spec.build(7, STREAMS, length=12)
    assert spec.count(7, length=12) == sum(p.numel() for p in model.parameters())


def test_counts_that_were_published():
    """The sizes of specs' throughput table: vocabulary 64, gated MLP."""
    for width, heads, layers, thousands in [(64, 2, 2, 106), (128, 4, 2, 406), (128, 4, 4, 796), (256, 4, 4, 3173)]:
        assert round(Decoder(layers=layers, width=width, heads=heads).count(64) / 1000) == thousands


def test_global_randomness_is_neither_read_nor_moved():
    def build_and_run(seed):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
        model = Decoder(layers=2, width=16, heads=2, canon="ABCD").build(7, STREAMS, length=12)
        model(torch.tensor([[1, 2, 3]])).sum().backward()
        assert torch.equal(before[0], torch.get_rng_state())
        assert before[1:] == (np.random.get_state()[1].tolist(), random.getstate())  # noqa: NPY002
        return model.state_dict()

    a, b = build_and_run(0), build_and_run(1)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_evaluating_first_does_not_spoil_training():
    model = Decoder(layers=1, width=16, heads=2).build(7, STREAMS, length=12)
    with torch.inference_mode():
        model(torch.tensor([[1, 2, 3]]))
    for ids in ([[1, 2, 3]], [[1, 2, 3, 4]]):  # tables made under inference mode cannot be saved for a backward
        model.zero_grad()
        model(torch.tensor(ids)).sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_second_derivatives_through_the_whole_model():
    """Hessian-vector product against a central difference of gradients (flash attention has none)."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    _, model = make(layers=1, canon="ABCD")
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    parameters = list(model.parameters())
    g = torch.Generator().manual_seed(0)
    v = [torch.randn(p.shape, dtype=p.dtype, generator=g) for p in parameters]

    def gradients(graph=False):
        loss = torch.nn.functional.cross_entropy(model(ids)[0, :-1], ids[0, 1:])
        return torch.autograd.grad(loss, parameters, create_graph=graph)

    with sdpa_kernel(SDPBackend.MATH):
        hv = torch.autograd.grad(sum((a * b).sum() for a, b in zip(gradients(True), v)), parameters)
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                [p.add_(w, alpha=sign * 1e-5) for p, w in zip(parameters, v)]
            ends.append(gradients())
            with torch.no_grad():
                [p.sub_(w, alpha=sign * 1e-5) for p, w in zip(parameters, v)]
    for h, up, down in zip(hv, *ends):
        assert torch.allclose(h, (up - down) / 2e-5, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"heads": 3}, "width 16 is no multiple of 3 heads"),
        ({"positions": rope(dims=0.4)}, "is 3.2: choose an even number"),
        ({"positions": rope(dims=0.125)}, "is 1: choose an even number"),
        ({"positions": rope(heads=0.25)}, "0.25 of 2 heads is 0.5: choose another fraction"),
        ({"positions": rope(dims=0.0)}, "positions.dims: input should be greater than 0"),
        ({"positions": rope(dims=1.5)}, "positions.dims: input should be less than or equal to 1"),
        ({"canon": "AA"}, "a Canon place is named twice"),
        ({"canon": "AE"}, "there is no Canon 'E'"),
        ({"canon": "a"}, "there is no Canon 'a'"),
        ({"mlp": "none", "canon": "AC"}, "mlp none has no place for Canon C: there is no MLP; leave C out of canon"),
        ({"mlp": "none", "canon": "D"}, "mlp none has no place for Canon D: there is no MLP"),
        ({"layers": 0}, "layers: input should be greater than 0"),
        ({"positions": "ropes"}, "did you mean 'rope'"),
        ({"mixer": "decoder"}, "no mixer is named 'decoder'"),
        ({"mixer": "atention"}, "did you mean 'attention'"),
    ],
)
def test_bad_fields_are_refused(fields, message):
    with pytest.raises(SpecError, match=message.replace("(", r"\(")):
        Decoder(**({"layers": 1, "width": 16, "heads": 2} | fields))


def test_canon_places_have_one_spelling():
    assert to_spec(Decoder(layers=1, width=16, heads=2, canon="CA"))["canon"] == "AC"


def test_too_long_for_learned_positions():
    _, model = make(length=4, positions="learned", start=0)
    model(torch.tensor([[0, 1, 2, 3, 0, 1, 2]]))  # two documents of at most four
    with pytest.raises(ValueError, match="4 learned positions, and a document of 5 tokens"):
        model(torch.tensor([[0, 1, 2, 3, 1]]))


class ShiftModule(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.drawn = torch.nn.Parameter(torch.randn(width))  # from the global generator, as people write it
        self.linear = torch.nn.Linear(width, width)

    def forward(self, x):
        return self.linear(torch.nn.functional.pad(x, (0, 0, 1, 0))[:, :-1]) * self.drawn


@part("mixer")
class Shift:
    def build(self, width, heads):
        return ShiftModule(width)


def test_a_mixer_of_ones_own():
    spec = Decoder(layers=2, width=16, heads=2, positions="none", mixer=Shift(), canon="AC")
    before = torch.get_rng_state()
    a = spec.build(7, STREAMS, length=12, start=0)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(12345)
    b = spec.build(7, STREAMS, length=12, start=0)
    assert all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())
    assert not torch.equal(a.blocks[0].mixer.drawn, a.blocks[1].mixer.drawn)
    ids = torch.tensor([[0, 1, 2, 3]])
    assert a(ids).shape == (1, 4, 7)
    assert a.generate(ids, 3).shape == (1, 7)
    with pytest.raises(SpecError, match="mixer ShiftModule cannot keep packed documents apart"):
        a(torch.tensor([[0, 1, 0, 3]]))


def test_what_ones_own_mixer_cannot_take_is_refused():
    with pytest.raises(SpecError, match="mixer Shift has no place for rope positions; set positions: none"):
        Decoder(layers=1, width=16, heads=2, mixer=Shift())
    with pytest.raises(SpecError, match="mixer Shift has no place for Canon B"):
        Decoder(layers=1, width=16, heads=2, mixer=Shift(), positions="none", canon="B")


def test_specification_returns_the_same_part():
    spec = Decoder(layers=1, width=16, heads=2, canon="BD", positions="none")
    assert build("net", to_spec(spec)) == spec


def test_compiled_path_is_the_same(monkeypatch):
    """The branches that the compiler takes, without the minutes that compiling takes."""
    _, model = make(canon="ABCD", positions=rope(dims=0.5))
    ids = torch.tensor([[3, 1, 4, 1, 5, 2]])
    expected = model(ids)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert torch.allclose(model(ids), expected, atol=1e-12)


def test_autocast():
    model = Decoder(layers=1, width=16, heads=2, canon="ABCD").build(7, STREAMS, length=12)
    ids = torch.tensor([[3, 1, 4, 1, 5, 2]])
    with torch.autocast("cpu", torch.bfloat16):
        half = model(ids)
    assert torch.allclose(half.float(), model(ids), atol=0.02)


@pytest.mark.parametrize("fields", variants(), ids=lambda f: "-".join(v for v in f.values() if v))
def test_a_cached_net_that_begins_documents_reads_every_column_once(fields):
    """Rows that begin documents at different places, in pieces of any size, against the whole read at once."""
    _, model = make(length=24, start=0, **fields)
    ids = torch.randint(7, (5, 20), generator=torch.Generator().manual_seed(2))
    ids[:, 0] = 0
    reads, forward = [], model.forward
    model.forward = lambda *args: reads.append(1) or forward(*args)
    cache, done = None, 0
    for size in (3, 1, 1, 6, 2, 1, 6):
        logits, cache = model.advance(ids[:, done : done + size], cache)
        done += size
        expected = forward(ids[:, :done])[:, -1]
        assert (logits - expected).abs().max() < 1e-10
    assert not reads
