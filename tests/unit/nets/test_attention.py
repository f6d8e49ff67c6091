"""Attention against loops in float64 that are written from the equations."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from airtrack.core.part import SpecError, build
from airtrack.nets.canon import Canon
from airtrack.nets.decoder import Decoder
from airtrack.nets.mixers.attention import Attention
from airtrack.nets.mixers.window import distances, extended, seen, sheared

WIDTH, HEADS, T = 16, 4, 9
SIZE = WIDTH // HEADS
DOCUMENTS = torch.tensor([[0, 0, 0, 0, 1, 2, 2, 2, 2], [3] * 9])
PLACES = [
    "none",
    {"name": "rope"},
    {"name": "rope", "dims": 0.5},
    {"name": "rope", "dims": 0.5, "heads": 0.5},
    {"name": "rope", "heads": 0.5},
    "alibi",
    "halibi",
    {"name": "halibi", "hard": 1.0},
]


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def made(spec, place="none", causal=True, canon=None):
    module = spec.build(WIDTH, HEADS, positions=build("position", place), causal=causal, canon=canon).double()
    with torch.no_grad():
        for number, p in enumerate(module.parameters()):
            p.copy_(draw(*p.shape, seed=number + 1) * (0.5 if p.ndim > 1 else 1.0))
    return module


def naive(module, spec, place, x, documents=None, causal=True):
    """x [T, width], documents [T]: one query and one key at a time."""
    part, w = build("position", place), {name: p.detach().numpy() for name, p in module.named_parameters()}
    groups = spec.groups or HEADS
    rows = [w["qkv.weight"] @ row + w.get("qkv.bias", 0) for row in x.numpy()]
    qs, ks, vs = zip(*[np.split(row, [HEADS * SIZE, (HEADS + groups) * SIZE]) for row in rows])

    def norm(vector, name):
        return vector / np.sqrt((vector**2).mean() + spec.eps) * w[name]

    def picked(vector, t, head, count, name):
        vector = vector[head * SIZE : (head + 1) * SIZE].copy()
        vector = norm(vector, name) if spec.qk_norm == "head" else vector
        if place != "none" and hasattr(part, "dims") and head < round(part.heads * count):
            r = round(part.dims * SIZE)
            for i in range(r // 2):
                z = complex(*vector[2 * i : 2 * i + 2]) * np.exp(1j * t * 1e4 ** (-2 * i / r))
                vector[2 * i], vector[2 * i + 1] = z.real, z.imag
        return vector

    if spec.qk_norm == "vector":
        qs, ks = [norm(q, "q_norm.weight") for q in qs], [norm(k, "k_norm.weight") for k in ks]
    out = np.zeros(x.shape)
    for h, i in itertools.product(range(HEADS), range(len(x))):
        g = h // (HEADS // groups)
        q, total, mixed = picked(qs[i], i, h, HEADS, "q_norm.weight"), 0.0, 0.0
        for j in range(len(x)):
            far = abs(i - j)
            if (causal and j > i) or (documents is not None and documents[i] != documents[j]):
                continue
            if spec.window is not None and far >= spec.window:
                continue
            if hasattr(part, "hard") and h < round(part.hard * HEADS) and far > h:
                continue
            logit = q @ picked(ks[j], j, g, groups, "k_norm.weight") / math.sqrt(SIZE)
            if place == "alibi":
                logit -= far * 2.0 ** (-8 * (h + 1) / HEADS)
            total, mixed = total + np.exp(logit), mixed + np.exp(logit) * vs[j][g * SIZE : (g + 1) * SIZE]
        out[i, h * SIZE : (h + 1) * SIZE] = mixed / total
    return torch.from_numpy(out @ w["out.weight"].T + w.get("out.bias", 0))


FIELDS = [
    {},
    {"bias": True},
    {"groups": 1, "bias": True},
    {"groups": 2},
    {"window": 1},
    {"window": 3, "groups": 2},
    {"window": 20},
    {"qk_norm": "head", "groups": 2},
    {"qk_norm": "vector", "groups": 2, "window": 3, "eps": 0.1},
]
CASES = [
    (fields, place)
    for fields, place in itertools.product(FIELDS, PLACES)
    if not (fields.get("groups") == 1 and isinstance(place, dict) and place["name"] == "rope" and "heads" in place)
]


@pytest.mark.parametrize(("fields", "place"), CASES, ids=str)
def test_is_the_loop(fields, place):
    spec = Attention(**fields)
    x = draw(2, T, WIDTH)
    for causal, documents in [(True, None), (True, DOCUMENTS), (False, None), (False, DOCUMENTS)]:
        if not causal and "alibi" not in place and "halibi" not in place and "window" not in fields:
            continue  # what is two-sided has a distance in it
        module = made(spec, place, causal)
        got = module(x, documents)
        for b in range(2 if documents is not None else 1):
            expected = naive(module, spec, place, x[b], None if documents is None else documents[b], causal)
            assert (got[b] - expected).abs().max() < 1e-10
        assert got.abs().max() > 0.1


@pytest.mark.parametrize(("fields", "place"), CASES, ids=str)
def test_steps_are_the_whole(fields, place):
    canon = Canon if fields.get("groups") == 2 else None
    module, x = made(Attention(**fields), place, canon=canon), draw(2, 41, WIDTH)  # many times twice the window
    documents = torch.tensor([[0] * 4 + [1] * 20 + [2] * 17, [3] * 41])
    with torch.no_grad():
        for apart, cuts in itertools.product([None, documents], [[1] * 41, [7, 1, 1, 11, 2, 5, 1, 1, 12], [40, 1]]):
            cache, done, parts = {}, 0, []
            for piece in x.split(cuts, 1):
                done += piece.shape[1]
                parts.append(module.step(piece, cache, None if apart is None else apart[:, :done]))
                room = (cache["k"].shape, cache["v"].shape)
            assert (torch.cat(parts, 1) - module(x, apart)).abs().max() < 1e-10
            if "window" in fields and len(cuts) == 41:
                assert room[0] == room[1]
                assert room[0][2] <= 4 * fields["window"] + 2  # twice of what is kept, and that is twice the window


@pytest.mark.parametrize(
    ("fields", "place"),
    [({}, "none"), ({"groups": 2, "qk_norm": "head"}, "rope"), ({"window": 2, "qk_norm": "vector"}, "alibi")],
    ids=str,
)
def test_gradients(fields, place):
    module, x = made(Attention(**fields), place, canon=Canon), draw(1, 4, WIDTH).requires_grad_()
    names, values = zip(*module.named_parameters())
    with sdpa_kernel(SDPBackend.MATH):

        def f(x, *values):
            return torch.func.functional_call(module, dict(zip(names, values)), x)

        assert gradcheck(f, (x, *[v.detach().requires_grad_() for v in values]), fast_mode=True)
        assert gradcheck(lambda x: module(x, torch.tensor([[0, 0, 1, 1]])), (x,), fast_mode=True)


@pytest.mark.parametrize("fields", FIELDS, ids=str)
def test_counts(fields):
    module = made(Attention(**fields), "none")
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(draw(1, T, WIDTH))
    assert module.flops(T) == counter.get_total_flops()
    kept = 2 * (fields.get("groups") or HEADS) * SIZE * min(T, fields.get("window", 99) - 1)
    assert module.state_size(T) == kept
    canon = made(Attention(**fields), "none", canon=Canon)
    width = canon.qkv.out_features
    assert canon.flops(T) == module.flops(T) + 2 * T * 4 * width
    assert canon.state_size(T) == kept + 3 * width


@pytest.mark.parametrize("window", [1, 2, 3, 8])
def test_a_step_needs_no_more_than_it_says(window):
    """All that a window has to keep is window − 1 keys: what is older may be anything."""
    module, x = made(Attention(window=window), "rope"), draw(1, 12, WIDTH)
    cache = {}
    with torch.no_grad():
        module.step(x[:, :11], cache)
        for name in ("k", "v"):
            cache[name][:, :, : 11 - (window - 1)] = torch.nan
        last = module.step(x[:, 11:], cache)
        assert (last - module(x)[:, 11:]).abs().max() < 1e-10


def test_canon_lies_on_queries_keys_and_values_before_they_are_turned():
    module, x = made(Attention(), "rope", canon=Canon), draw(1, T, WIDTH)
    bare = made(Attention(), "rope")
    bare.load_state_dict({k: v for k, v in module.state_dict().items() if "canon" not in k})
    expected = bare._attend(*bare._split(module.canon(bare.qkv(x))), None)
    assert (module(x) - expected).abs().max() < 1e-12


def test_evaluating_first_does_not_spoil_training():
    for place in ("alibi", "halibi"):
        module = made(Attention(), place)
        with torch.inference_mode():
            module(draw(1, T, WIDTH))
        module(draw(1, T, WIDTH)).sum().backward()
        assert module.qkv.weight.grad.isfinite().all()


def test_autocast():
    for place, fields in itertools.product(["rope", "alibi"], [{}, {"qk_norm": "head"}, {"window": 3}]):
        module, x = made(Attention(**fields), place).float(), draw(1, T, WIDTH).float()
        with torch.autocast("cpu", torch.bfloat16):
            half = module(x)
        assert half.dtype == torch.bfloat16
        assert torch.allclose(half.float(), module(x), atol=0.1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mixer": {"name": "attention", "groups": 3}}, "4 heads are no multiple of 3 groups"),
        ({"mixer": {"name": "attention", "groups": 8}}, "4 heads are no multiple of 8 groups"),
        ({"mixer": {"name": "attention", "groups": 0}}, "groups: input should be greater than 0"),
        ({"mixer": {"name": "attention", "window": 0}}, "window: input should be greater than 0"),
        ({"mixer": {"name": "attention", "qk_norm": "heads"}}, "qk_norm"),
        (
            {"mixer": {"name": "attention", "groups": 1}, "positions": {"name": "rope", "heads": 0.5}},
            "0.5 of 1 key-value heads is 0.5",
        ),
        ({"positions": {"name": "rope", "heads": 1.5}}, "heads: input should be less than or equal to 1"),
        ({"positions": {"name": "rope", "base": 1.0}}, "base: input should be greater than 1"),
        ({"positions": {"name": "halibi", "hard": 0.3}}, "0.3 of 4 heads is 1.2: choose another fraction"),
        ({"heads": 1, "positions": "halibi"}, "0.5 of 1 heads is 0.5"),
        ({"positions": {"name": "halibi", "hard": 0}}, "hard: input should be greater than 0"),
    ],
    ids=str,
)
def test_bad_fields_are_refused(fields, message):
    with pytest.raises(SpecError, match=message):
        Decoder(**({"layers": 1, "width": WIDTH, "heads": HEADS} | fields))


# ---------------------------------------------------------------------------------------------------- what is shared


def test_what_is_seen():
    for rows, columns, window, causal in itertools.product([1, 2, 5], [5, 6], [None, 1, 2, 9], [True, False]):
        documents = torch.tensor([[0, 0, 1, 1, 1, 2], [0] * 6])[:, :columns]
        for apart in (None, documents):
            got = seen(rows, columns, causal=causal, window=window, documents=apart)
            assert got.shape == ((rows, columns) if apart is None else (2, 1, rows, columns))
            for b, r, j in itertools.product(range(2), range(rows), range(columns)):
                i = columns - rows + r
                expected = (j <= i or not causal) and (window is None or abs(i - j) < window)
                expected = expected and (apart is None or bool(apart[b, i] == apart[b, j]))
                assert bool(got[r, j] if apart is None else got[b, 0, r, j]) == expected


@pytest.mark.parametrize("window", [None, 1, 2, 5])
def test_a_cache_holds_what_was_last(window):
    rng, cache, everything = torch.Generator().manual_seed(0), {}, torch.zeros(2, 3, 0, 4)
    for _ in range(40):
        new = torch.randn(2, 3, int(torch.randint(1, 5, (), generator=rng)), 4, generator=rng)
        everything = torch.cat((everything, new), 2)
        kept, twice = extended(cache, window, k=new, v=2 * new)
        n = kept.shape[2]
        assert n == everything.shape[2] if window is None else n >= min(window - 1 + new.shape[2], everything.shape[2])
        assert torch.equal(kept, everything[:, :, -n:])
        assert torch.equal(twice, 2 * kept)


def test_shearing_is_a_gather():
    for rows, n, skipped in itertools.product([1, 2, 5], [1, 2, 6], [0, 1, 4]):
        x = draw(2, rows, n + 1)
        if skipped + rows * n <= rows * (n + 1):
            got = sheared(x, skipped, n)
            for i, j in itertools.product(range(rows), range(n)):
                if 0 <= skipped - i + j <= n:
                    assert torch.equal(got[:, i, j], x[:, i, skipped - i + j])
    assert torch.equal(distances(2, 3), torch.tensor([[1, 0, -1], [2, 1, 0]]))
