"""Disentangled attention, attention by distance and plain averages, against loops in float64."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck
from torch.utils.flop_counter import FlopCounterMode

from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.nets.canon import Canon
from airtrack.nets.decoder import Decoder
from airtrack.nets.encoder import Encoder
from airtrack.nets.mixers.distance import Distance
from airtrack.nets.mixers.relative import Relative
from airtrack.nets.mixers.uniform import Uniform
from airtrack.nets.protocols import options

WIDTH, HEADS, T = 12, 3, 9
SIZE = WIDTH // HEADS
DOCUMENTS = torch.tensor([[0, 0, 0, 0, 1, 2, 2, 2, 2], [3] * 9])
SPECS = [
    Relative(reach=1),
    Relative(reach=3),
    Relative(reach=9),
    Relative(reach=40),
    Distance(reach=1),
    Distance(reach=4),
    Distance(reach=40),
    Uniform(),
    Uniform(spans=(1, 1, 1)),
    Uniform(spans=(3, 5, 14)),
    Uniform(spans=(2, 7, 2**40)),
]
TWO_SIDED = [spec for spec in SPECS if not isinstance(spec, Uniform)]


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def made(spec, causal=True, canon=None, width=WIDTH, heads=HEADS):
    module = spec.build(width, heads, **options(spec.build, causal=causal, canon=canon)).double()
    with torch.no_grad():
        for number, p in enumerate(module.parameters()):
            p.copy_(draw(*p.shape, seed=number + 1) * 0.7)
    return module


def naive(module, spec, x, documents, causal):
    """x [T, width], documents [T]: one number of the logits at a time."""
    w = {name: p.detach().numpy() for name, p in module.named_parameters()}
    x, out = x.numpy(), np.zeros(x.shape)
    head = lambda vector, h: vector[h * SIZE : (h + 1) * SIZE]  # noqa: E731
    if isinstance(spec, Relative):
        q, k, v = np.split(x @ w["qkv.weight"].T, 3, axis=1)
        far_q, far_k = (w["distances.weight"] @ w[f"{name}.weight"].T for name in ("far_q", "far_k"))
    else:
        v = x @ w["v.weight"].T
    for h, i in itertools.product(range(HEADS), range(len(x))):
        total, mixed = 0.0, np.zeros(SIZE)
        for j in range(len(x)):
            if (causal and j > i) or documents[i] != documents[j]:
                continue
            if isinstance(spec, Uniform):
                weight = float(i - j < (spec.spans[h] if spec.spans else 2**h))
            elif isinstance(spec, Distance):
                first = 0 if causal else 1 - spec.reach  # the distance that the table begins with
                weight = np.exp(w["distances.weight"][np.clip(i - j, first, spec.reach - 1) - first, h])
            else:
                d = np.clip(i - j, 1 - spec.reach, spec.reach - 1)
                middle = spec.reach - 1
                logit = head(q[i], h) @ head(k[j], h) + head(q[i], h) @ head(far_k[middle + d], h)
                logit += head(k[j], h) @ head(far_q[middle - d], h)
                weight = np.exp(logit / math.sqrt(3 * SIZE))
            total, mixed = total + weight, mixed + weight * head(v[j], h)
        out[i, h * SIZE : (h + 1) * SIZE] = mixed / total
    return torch.from_numpy(out @ w["out.weight"].T)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_is_the_loop(spec):
    x = draw(2, T, WIDTH)
    for causal in (True, False) if spec in TWO_SIDED else (True,):
        module = made(spec, causal)
        for documents in (None, DOCUMENTS):
            got = module(x, documents)
            for b in range(2):
                apart = torch.zeros(T) if documents is None else documents[b]
                assert (got[b] - naive(module, spec, x[b], apart, causal)).abs().max() < 1e-11
            assert got.abs().max() > 0.1


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_steps_are_the_whole(spec):
    x, documents = draw(2, 30, WIDTH), torch.tensor([[0] * 4 + [1] * 15 + [2] * 11, [3] * 30])
    for canon, apart in itertools.product([None, Canon], [None, documents]):
        module = made(spec, canon=canon)
        for cuts in ([1] * 30, [7, 1, 1, 11, 2, 5, 3], [29, 1]):
            cache, done, parts = {}, 0, []
            with torch.no_grad():
                for piece in x.split(cuts, 1):
                    done += piece.shape[1]
                    parts.append(module.step(piece, cache, None if apart is None else apart[:, :done]))
            assert (torch.cat(parts, 1) - module(x, apart)).abs().max() < 1e-11
        if isinstance(spec, Uniform):
            kept = module.state_size(30) - (3 * WIDTH if canon else 0)
            assert cache["v"][0].numel() == kept == WIDTH * min(30, (spec.spans or [4])[-1] - 1)


@pytest.mark.parametrize("spec", [Relative(reach=3), Distance(reach=3), Uniform(spans=(1, 2, 3))], ids=str)
@pytest.mark.parametrize("documents", [None, torch.tensor([[0, 0, 1, 1, 1]])], ids=["one", "packed"])
def test_gradients(spec, documents):
    module, x = made(spec, canon=Canon), draw(1, 5, WIDTH).requires_grad_()
    names, values = zip(*module.named_parameters())

    def f(x, *values):
        return torch.func.functional_call(module, dict(zip(names, values)), (x, documents))

    assert gradcheck(f, (x, *[v.detach().requires_grad_() for v in values]), fast_mode=True)


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("causal", [True, False])
def test_counts(spec, causal):
    if not causal and spec not in TWO_SIDED:
        assert "causal" not in options(spec.build, causal=False)
        return
    for length in (1, 5, 20):
        module = made(spec, causal)
        with FlopCounterMode(display=False) as counter:
            module(draw(1, length, WIDTH))
        assert module.flops(length) == counter.get_total_flops()
    with_canon = made(spec, causal, canon=Canon)
    assert with_canon.flops(20) == module.flops(20) + 2 * 20 * with_canon.canon.weight.numel()
    assert with_canon.state_size(20) == module.state_size(20) + 3 * with_canon.canon.weight.shape[1]


def test_canon_lies_on_content():
    x = draw(1, T, WIDTH)
    module, bare = made(Relative(reach=4), canon=Canon), made(Relative(reach=4))
    bare.load_state_dict({k: v for k, v in module.state_dict().items() if "canon" not in k})
    assert (module(x) - bare._attend(*bare._split(module.canon(bare.qkv(x))), None)).abs().max() < 1e-12
    for spec in (Distance(), Uniform()):
        module = made(spec, canon=Canon)
        assert module.canon.weight.shape == (4, WIDTH)  # of the values


def test_without_distances_disentangled_attention_is_attention():
    module, x = made(Relative(reach=5)), draw(2, T, WIDTH)
    module.distances.weight.data.zero_()
    q, k, v = module._split(module.qkv(x))
    heads = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=(3 * SIZE) ** -0.5)
    assert (module(x) - module.out(heads.transpose(1, 2).flatten(2))).abs().max() < 1e-12


def test_every_distance_has_a_gradient_where_it_occurs():
    """Of a causal net too: keys look back, and queries of the other side look ahead."""
    for length, far in [(3, 3), (9, 5)]:
        module = made(Relative(reach=5))
        module(draw(1, length, WIDTH)).square().sum().backward()
        used = module.distances.weight.grad.abs().sum(1) > 0
        assert used.tolist() == [abs(d) < far for d in range(-4, 5)]


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_averages_are_exact_to_single_precision(scale):
    """Far into a row, behind values that a running sum would carry along."""
    module = made(Uniform(spans=(1, 128, 1000))).float()
    module.v.weight.data, module.out.weight.data = torch.eye(WIDTH), torch.eye(WIDTH)
    x = draw(1, 4000, WIDTH).float()
    x[:, :2000] = x[:, :2000] * scale
    got = module(x)[0].detach().double()
    for h, span in enumerate((1, 128, 1000)):
        own, eps = x[0, :, h * SIZE : (h + 1) * SIZE].double(), 2**-24
        for t in (0, 100, 1999, 3200, 3999):
            window = own[max(t - span + 1, 0) : t + 1]
            bound = (math.log2(span) + 2) * eps * window.abs().mean(0)  # of a sum in a tree
            assert ((got[t, h * SIZE : (h + 1) * SIZE] - window.mean(0)).abs() <= bound).all()


def test_the_default_spans_are_the_sources():
    assert Uniform().build(64, 8).spans == (1, 2, 4, 8, 16, 32, 64, 128)


@pytest.mark.parametrize("mixer", [{"name": "relative", "reach": 4}, {"name": "distance", "reach": 4}])
def test_serves_an_encoder(mixer):
    model = Encoder(layers=2, width=WIDTH, heads=HEADS, positions="none", mixer=mixer).build(8, Streams(0), length=9)
    ids = torch.tensor([[1, 2, 3, 4, 5, 6]])
    before, moved = model(ids), ids.clone()
    moved[0, 5] = 1
    assert (model(moved) - before)[0, 0].abs().max() > 0  # the first position sees the last


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mixer": "relative", "positions": "rope"}, "mixer relative has no place for rope positions"),
        ({"mixer": "distance", "positions": "alibi"}, "mixer distance has no place for alibi positions"),
        ({"mixer": {"name": "relative", "reach": 0}}, "reach: input should be greater than 0"),
        ({"mixer": {"name": "distance", "reach": 0}}, "reach: input should be greater than 0"),
        ({"mixer": {"name": "uniform", "spans": [1, 2]}}, "2 spans for 3 heads: give one for each, or null"),
        ({"mixer": {"name": "uniform", "spans": [1, 4, 2]}}, r"spans \[1, 4, 2\] do not ascend"),
        ({"mixer": {"name": "uniform", "spans": [0, 1, 2]}}, "greater than 0"),
    ],
    ids=str,
)
def test_bad_fields_are_refused(fields, message):
    with pytest.raises(SpecError, match=message):
        Decoder(**({"layers": 1, "width": WIDTH, "heads": HEADS, "positions": "none"} | fields))


def test_averages_only_look_back():
    with pytest.raises(SpecError, match="mixer uniform only looks back"):
        Encoder(layers=1, width=WIDTH, heads=HEADS, positions="none", mixer="uniform")
