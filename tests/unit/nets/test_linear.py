"""Linear mixers against loops over positions, written from the equations; and what they owe to packed documents."""

import itertools
import math
import sys
import types

import pytest
import torch
from torch.nn.functional import linear, logsigmoid, normalize, silu, softplus
from torch.utils.flop_counter import FlopCounterMode

from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.nets.canon import CanonLayer
from airtrack.nets.decoder import Decoder
from airtrack.nets.mixers import chunks, deltanet, gla, mamba2
from airtrack.nets.mixers.deltanet import DeltaNet, delta_rule
from airtrack.nets.mixers.gla import Gla, gated_linear
from airtrack.nets.mixers.mamba2 import Mamba2, state_space
from airtrack.nets.start import initialise

B, H, K, V = 2, 3, 4, 5
DOUBLE = torch.float64


def seeded(number=0):
    return torch.Generator().manual_seed(number)


def randn(*shape, seed=0, dtype=DOUBLE):
    return torch.randn(*shape, generator=seeded(seed), dtype=dtype)


# ---------------------------------------------------------------------------------------------------- the operators


def draw(name, length, strength, seed=0, dtype=DOUBLE):
    """Arguments of an operator; `strength` times the usual log-decays, a tenth of them a hundred times stronger."""
    g = -torch.rand(B, length, H, K, generator=seeded(seed), dtype=dtype) * 0.1 * strength
    g = g * torch.where(torch.rand(B, length, H, 1, generator=seeded(seed + 1)) < 0.1, 100, 1)
    q, k, v = (randn(B, length, H, d, seed=seed + i, dtype=dtype) for i, d in ((2, K), (3, K), (4, V)))
    beta = 2 * torch.rand(B, length, H, generator=seeded(seed + 5), dtype=dtype)
    return {
        "gla": (q, k, v, g),
        "mamba2": (q[:, :, 0], k[:, :, 0], v, g[..., 0]),
        "deltanet": (normalize(q, dim=-1), normalize(k, dim=-1), v, g[..., 0], beta),
    }[name]


def loop(name, q, k, v, g, beta=None, state=None, documents=None):
    """The recurrence, one row, head and position after another."""
    if name == "mamba2":
        q, k = (x.unsqueeze(2).expand(-1, -1, v.shape[2], -1) * x.shape[-1] ** 0.25 for x in (q, k))  # no 1/√K there
    out, states = torch.zeros_like(v), []
    for row in range(len(v)):
        for head in range(v.shape[2]):
            S = torch.zeros(q.shape[-1], v.shape[-1], dtype=v.dtype)
            S = (
                S
                if state is None
                else (state[row, :, head] * q.shape[-1] ** 0.25 if name == "mamba2" else state[row, head])
            )
            for t in range(v.shape[1]):
                if t > 0 and documents is not None and documents[row, t] != documents[row, t - 1]:
                    S = torch.zeros_like(S)
                kt, vt, keep = k[row, t, head], v[row, t, head], g[row, t, head].exp()
                S = keep.reshape(-1, 1) * S
                S = S + (torch.outer(kt, vt) if beta is None else beta[row, t, head] * torch.outer(kt, vt - S.T @ kt))
                out[row, t, head] = S.T @ q[row, t, head] / math.sqrt(q.shape[-1])
            states.append(S / q.shape[-1] ** 0.25 if name == "mamba2" else S)
    last = torch.stack(states).unflatten(0, (len(v), -1))
    return out, last.transpose(1, 2) if name == "mamba2" else last


OPERATORS = {"gla": gated_linear, "mamba2": state_space, "deltanet": delta_rule}
names = pytest.mark.parametrize("name", OPERATORS)


def assert_close(ours, theirs, atol=1e-10):
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert not a.numel() or (a - b).abs().max().item() <= atol


@names
@pytest.mark.parametrize("chunk", [8, 16, 32])
@pytest.mark.parametrize(("length", "strength"), [(1, 1), (7, 1), (16, 30), (37, 0), (37, 1), (37, 30), (64, 1e4)])
def test_operator_is_the_recurrence(name, chunk, length, strength):
    inputs = draw(name, length, strength)
    assert_close(OPERATORS[name](*inputs, chunk=chunk), loop(name, *inputs))


@names
@pytest.mark.parametrize("strength", [1, 30, 1e4])
def test_operator_is_the_recurrence_in_single_precision(name, strength):
    inputs = draw(name, 37, strength, dtype=torch.float32)
    exact = loop(name, *(x.double() for x in inputs))
    assert_close([x.double() for x in OPERATORS[name](*inputs)], exact, 2e-4)


@names
def test_one_gate_after_another_may_close_and_no_number_overflows(name):
    """All gates shut at once is where a decay taken apart into two factors would be ∞ · 0."""
    q, k, v, g, *beta = draw(name, 48, 1, dtype=torch.float32)
    inputs = [x.requires_grad_() for x in (q, k, v, torch.full_like(g, -1e4), *beta)]
    o, state = OPERATORS[name](*inputs)
    exact = loop(name, *(x.detach().double() for x in inputs))
    assert_close([o.double(), state.double()], exact, 1e-5)
    (o.sum() + state.sum()).backward()
    assert all(x.grad.isfinite().all() for x in inputs)


@names
def test_operator_goes_on_from_a_state(name):
    inputs = draw(name, 40, 3)
    whole, last = OPERATORS[name](*inputs)
    parts, state, done = [], None, 0
    for length in (5, 1, 0, 17, 1, 16):
        o, state = OPERATORS[name](*(x[:, done : done + length] for x in inputs), state=state)
        parts.append(o)
        done += length
    assert_close((torch.cat(parts, 1), state), (whole, last))


@names
def test_no_positions_leave_the_state_alone(name):
    inputs = draw(name, 0, 1)
    state = loop(name, *draw(name, 3, 1))[1]
    o, after = OPERATORS[name](*inputs, state=state)
    assert o.shape == (B, 0, H, V)
    assert torch.equal(after, state)
    assert not OPERATORS[name](*inputs)[1].any()
    none = [x[:0] for x in draw(name, 20, 1)]
    assert [y.shape for y in OPERATORS[name](*none)] == [(0, 20, H, V), state[:0].shape]


DOCUMENTS = torch.tensor([[0] * 3 + [1] * 1 + [2] * 20 + [3] * 8 + [4] * 5, [7] * 16 + [8] * 16 + [9] * 5])


@names
@pytest.mark.parametrize("strength", [1, 1e4])
@pytest.mark.parametrize("chunk", [8, 16])
def test_nothing_passes_from_document_to_document(name, chunk, strength):
    inputs = draw(name, 37, strength)
    ours = OPERATORS[name](*inputs, documents=DOCUMENTS, chunk=chunk)
    assert_close(ours, loop(name, *inputs, documents=DOCUMENTS))
    for row, document in ((0, 2), (0, 4), (1, 8)):
        here = DOCUMENTS[row] == document
        alone, _ = OPERATORS[name](*(x[row : row + 1, here] for x in inputs), chunk=chunk)
        assert_close([ours[0][row : row + 1, here]], [alone])


@names
@pytest.mark.parametrize("border", [3, 4, 5, 16, 24, 31])
def test_a_state_knows_its_document(name, border):
    inputs = draw(name, 37, 1)
    whole, last = OPERATORS[name](*inputs, documents=DOCUMENTS)
    first, state = OPERATORS[name](*(x[:, :border] for x in inputs), documents=DOCUMENTS[:, :border])
    for end in (border + 1, 37):
        o, after = OPERATORS[name](
            *(x[:, border:end] for x in inputs), state=state, documents=DOCUMENTS[:, border - 1 : end]
        )
        assert_close([torch.cat((first, o), 1)], [whole[:, :end]])
    assert_close([after], [last])


@names
def test_gradients_are_those_of_the_loop(name):
    inputs = [x.requires_grad_() for x in draw(name, 21, 5)]
    state = loop(name, *(x.detach() for x in draw(name, 3, 1, seed=9)))[1].requires_grad_()
    documents = torch.cat((DOCUMENTS[:, :1], DOCUMENTS[:, :21]), 1)
    found = []
    for o, last in (
        OPERATORS[name](*inputs, state=state, documents=documents, chunk=8),
        loop(name, *inputs, state=state, documents=documents[:, 1:]),
    ):
        loss = (o * randn(*o.shape, seed=5)).sum() + (last * randn(*last.shape, seed=6)).sum()
        found.append(torch.autograd.grad(loss, (*inputs, state)))
    assert_close(*found)


@names
@pytest.mark.parametrize("documents", [None, torch.tensor([[0, 0, 1, 1, 1, 1, 1, 1, 1, 2, 2]])])
def test_gradients_of_gradients(name, documents):
    inputs = [x[:1, :, :2].detach().requires_grad_() for x in draw(name, 11, 1)]
    if name == "mamba2":
        inputs = [inputs[0][..., :2], inputs[1][..., :2], *inputs[2:]]

    def run(*inputs):
        o, state = OPERATORS[name](*inputs, documents=documents, chunk=8)
        return o.sum((0, 2)), state.sum(-1)

    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(run, inputs, fast_mode=True)


@names
def test_what_the_compiler_sees_is_the_same(name, monkeypatch):
    found = []
    for compiling in (False, True):
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda compiling=compiling: compiling)
        inputs = [x.requires_grad_() for x in draw(name, 37, 30)]
        o, state = OPERATORS[name](*inputs, documents=DOCUMENTS)
        found.append((o, state, *torch.autograd.grad(o.sum() + state.square().sum(), inputs)))
    assert_close(*found)


@names
def test_gradients_of_each_example_at_once(name):
    """As torch.func has them, for whoever asks how the gradients of a batch differ."""
    inputs = draw(name, 20, 1)
    alone = torch.func.grad(
        lambda *one: OPERATORS[name](*(x[None] for x in one))[0].square().sum(), tuple(range(len(inputs)))
    )
    whole = [x.requires_grad_() for x in draw(name, 20, 1)]
    assert_close(torch.vmap(alone)(*inputs), torch.autograd.grad(OPERATORS[name](*whole)[0].square().sum(), whole))


# ------------------------------------------------------------------------------------------------------ the modules


def module(spec, width=12, heads=2, canon=None, dtype=DOUBLE):
    built = spec.build(width, heads, canon=canon)
    initialise(built, Streams(0))
    for number, p in enumerate(built.parameters()):  # far from the start, where most things are nearly zero
        p.data = p.data + 0.3 * torch.randn(p.shape, generator=seeded(number))
    return built.to(dtype)


def taps(layer, x):
    """A Canon layer, position by position."""
    rows = [sum(layer.weight[j] * x[:, t - j] for j in range(min(4, t + 1))) for t in range(x.shape[1])]
    y = torch.stack(rows, 1)
    y = y if layer.bias is None else y + layer.bias
    y = silu(y) if layer.activation else y
    return x + y if layer.residual else y


def rms(x, gain, eps):
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * gain


def forgetting(rate, raw):
    step = softplus(raw + rate.dt_bias)
    return step, -rate.A_log.exp() * step


def by_hand(mixer, x):
    """A mixer's output from its parameters, by the equations and the loop."""
    spec = mixer.spec
    if isinstance(spec, Mamba2):
        inner = mixer.out.in_features
        everything = linear(x, mixer.into.weight)
        everything = everything if mixer.canon is None else taps(mixer.canon, everything)
        z, xbc, raw = everything.split((inner, inner + 2 * spec.state, mixer.heads), -1)
        xbc = xbc if mixer.conv is None else taps(mixer.conv, xbc)
        u, b, c = xbc.split((inner, spec.state, spec.state), -1)
        step, g = forgetting(mixer.rate, raw)
        u = u.unflatten(-1, (mixer.heads, -1))
        y, _ = loop("mamba2", c, b, u * step.unsqueeze(-1), g)
        y = (y + mixer.D[:, None] * u).flatten(2) * silu(z)
        return linear(rms(y, mixer.norm.weight, spec.eps), mixer.out.weight)
    inputs, output = mixer.inputs, mixer.output
    qkv = linear(x, inputs.qkv.weight)
    qkv = qkv if inputs.canon is None else taps(inputs.canon, qkv)
    qkv = silu(qkv) if inputs.conv is None else taps(inputs.conv, qkv)
    q, k, v = (y.unflatten(-1, (mixer.heads, -1)) for y in qkv.split(inputs.sizes, -1))
    if isinstance(spec, Gla):
        gate = linear(linear(x, mixer.forget.down.weight), mixer.forget.up.weight, mixer.forget.up.bias)
        o, _ = loop("gla", q, k, v, logsigmoid(gate).unflatten(-1, (mixer.heads, -1)) / spec.gate_divisor)
    else:
        beta = (2 if spec.negative else 1) * linear(x, mixer.beta.weight).sigmoid()
        g = forgetting(mixer.rate, linear(x, mixer.forget.weight))[1] if spec.gated else torch.zeros_like(beta)
        q, k = (y / (y.square().sum(-1, keepdim=True) + 1e-6).sqrt() for y in (q, k))
        o, _ = loop("deltanet", q, k, v, g, beta)
    if spec.output_rank is None:
        gate = linear(x, output.gate.weight)
    else:
        gate = linear(linear(x, output.gate.down.weight), output.gate.up.weight, output.gate.up.bias)
    return linear(rms(o, output.norm.weight, spec.eps).flatten(2) * silu(gate), output.out.weight)


CANON = CanonLayer().build
VARIANTS = {
    "gla": (Gla(), None),
    "gla, no convolution": (Gla(conv=None, gate_divisor=1), None),
    "gla, Canon-B": (Gla(conv=None), CANON),
    "GLA5, both": (Gla(expand_k=1, expand_v=2, output_rank=16), CANON),
    "mamba2": (Mamba2(state=6), None),
    "mamba2, no convolution": (Mamba2(state=6, conv=None), None),
    "mamba2, Canon-B": (Mamba2(state=6, conv=None), CANON),
    "mamba2, both": (Mamba2(state=6, expand=1.5), CANON),
    "deltanet": (DeltaNet(expand_k=0.5, expand_v=1), None),
    "deltanet, no decay": (DeltaNet(expand_k=0.5, expand_v=1, gated=False), None),
    "deltanet, both signs": (DeltaNet(expand_k=0.5, expand_v=1, negative=True, conv=None), None),
    "deltanet, Canon-B": (DeltaNet(expand_k=0.5, expand_v=1, conv=None), CANON),
    "GDN2, both": (DeltaNet(expand_k=1, expand_v=2, output_rank=16), CANON),
}
variants = pytest.mark.parametrize(("spec", "canon"), VARIANTS.values(), ids=VARIANTS.keys())


@variants
@torch.no_grad()
def test_mixer_is_its_equations_and_its_steps(spec, canon):
    mixer = module(spec, canon=canon)
    x = randn(2, 37, 12)
    exact = by_hand(mixer, x)
    for length in (0, 1, 2, 16, 37):
        assert_close([mixer(x[:, :length])], [exact[:, :length]])
    for pieces in ([1] * 37, [20, 1, 1, 15], [37]):
        cache = {}
        assert_close([torch.cat([mixer.step(piece, cache) for piece in x.split(pieces, 1)], 1)], [exact])
        kept = sum(y.numel() for y in cache.values() if isinstance(y, torch.Tensor))
        assert kept == 2 * mixer.state_size(37)
        assert all(len(y) == 2 if isinstance(y, torch.Tensor) else isinstance(y, int) for y in cache.values())


@variants
@torch.no_grad()
def test_mixer_keeps_packed_documents_apart(spec, canon):
    mixer = module(spec, canon=canon)
    x = randn(2, 37, 12)
    whole = mixer(x, documents=DOCUMENTS)
    for row in range(2):
        for document in DOCUMENTS[row].unique():
            here = DOCUMENTS[row] == document
            assert_close([whole[row : row + 1, here]], [mixer(x[row : row + 1, here])])
    for pieces in ([1] * 37, [2, 1, 1, 20, 1, 12]):
        cache, outputs, done = {}, [], 0
        for piece in x.split(pieces, 1):
            done += piece.shape[1]
            outputs.append(mixer.step(piece, cache, documents=DOCUMENTS[:, :done]))
        assert_close([torch.cat(outputs, 1)], [whole])


@variants
def test_mixer_reads_nothing_ahead_and_learns_with_all_its_parameters(spec, canon):
    mixer = module(spec, canon=canon)
    x = randn(1, 20, 12).requires_grad_()
    for t in (0, 7, 8, 15, 16, 18):
        (gradient,) = torch.autograd.grad(mixer(x)[:, t].sum(), x)
        assert gradient[:, t].any()
        assert not gradient[:, t + 1 :].any()
    mixer(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in mixer.parameters())


@variants
@pytest.mark.parametrize("length", [0, 1, 37, 64])
def test_operations_are_those_that_torch_counts(spec, canon, length):
    mixer = module(spec, canon=canon, dtype=torch.float32)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        mixer(torch.zeros(1, length, 12))
    layers = [layer for layer in mixer.modules() if type(layer).__name__ == "Canon"]  # no products: torch sees none
    assert mixer.flops(length) == counter.get_total_flops() + sum(layer.flops(length) for layer in layers)


@variants
@torch.no_grad()
def test_half_precision_is_single_precision_but_for_its_rounding(spec, canon):
    mixer = module(spec, canon=canon, dtype=torch.float32)
    x = randn(1, 40, 12, dtype=torch.float32)
    exact, half = mixer(x), mixer.bfloat16()(x.bfloat16())
    assert half.dtype == torch.bfloat16
    assert (half - exact).abs().max() < 0.06 * exact.abs().max()


@names
@torch.no_grad()
def test_decays_stay_in_single_precision_under_autocast(name):
    inputs = draw(name, 40, 1, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        inside = OPERATORS[name](*inputs)[0]
    assert torch.equal(inside, OPERATORS[name](*inputs)[0])


@pytest.mark.parametrize(
    ("mixer", "field"),
    [
        ({"name": "gla"}, "expand_k"),
        ({"name": "gla", "expand_k": 1.0, "expand_v": 0.5}, "expand_v"),
        ({"name": "mamba2", "expand": 1.25}, "expand"),
        ({"name": "deltanet"}, "expand_k"),
    ],
)
def test_heads_that_cannot_share_are_refused(mixer, field):
    with pytest.raises(SpecError, match=rf"{field} .* of width 18 .* 6 heads cannot share: choose another width"):
        Decoder(layers=1, width=18, heads=6, positions="none", mixer=mixer)


def test_a_chunk_of_gla_is_made_of_eights():
    with pytest.raises(SpecError, match="chunk: input should be a multiple of 8, got 12"):
        Gla(chunk=12)


def test_published_sizes():
    """Physics of Language Models 4.1, section C: weights and state in widths, at 8L512D and 12L768D."""
    for width, heads, spec, weights, state in [
        (512, 4, Gla(), 4, 64),
        (768, 4, Gla(), 4, 96),
        (512, 4, DeltaNet(), 6, 144),
        (768, 6, DeltaNet(), 6, 144),
        (512, 16, Mamba2(), 6, 128),
        (512, 8, Gla(expand_k=1, expand_v=2, output_rank=16), 6, 128),  # at 64 a head; the released have 128
        (2048, 16, DeltaNet(expand_k=1, expand_v=2, output_rank=16), 6, 256),
        (2048, 16, Mamba2(state=128), 6, 256),
    ]:
        mixer = spec.build(width, heads)
        matrices = sum(m.weight.numel() for m in mixer.modules() if isinstance(m, torch.nn.Linear))
        assert matrices == pytest.approx(weights * width**2, rel=0.06)
        assert mixer.state_size(100) == pytest.approx(state * width, rel=0.13)


def test_start_values_are_the_published_ones():
    heads = 400
    for spec, low in ((DeltaNet(expand_k=1, expand_v=1), 0), (Mamba2(state=8), 1)):
        mixer = spec.build(400, heads)
        initialise(mixer, Streams(0))
        A, step = mixer.rate.A_log.exp(), softplus(mixer.rate.dt_bias)
        assert low <= A.min() < low + 0.5
        assert 15.5 < A.max() <= 16
        assert step.min() >= 0.001 - 1e-9
        assert step.max() <= 0.1 + 1e-6
        assert step.log().mean().item() == pytest.approx(math.log(0.01), abs=0.2)
        assert all(p.ndim == 1 for p in (mixer.rate.A_log, mixer.rate.dt_bias))
    assert torch.equal(mixer.D, torch.ones(heads))
    assert mixer.conv.bias is not None
    assert 0.4 < mixer.conv.weight.abs().max() <= 0.5
    gla = Gla(output_rank=16).build(400, 4)
    initialise(gla, Streams(0))
    for pair in (gla.forget, gla.output.gate):
        assert pair.down.weight.std().item() == pytest.approx(math.sqrt(0.02) / 2, rel=0.05)
        assert pair.up.weight.std().item() == pytest.approx(math.sqrt(0.02) / 2, rel=0.05)
        assert (pair.up.weight @ pair.down.weight).std().item() == pytest.approx(0.02, rel=0.1)
        assert not pair.up.bias.any()
    assert 0.018 < gla.inputs.conv.weight.std() < 0.022


# -------------------------------------------------------------------------------------------------- fla's kernels


@pytest.fixture
def fla(monkeypatch):
    """Stands in for fla: keeps what its kernels are called with, and answers by the loop."""
    calls = []
    for file, name, loops in (
        ("gla", "chunk_gla", "gla"),
        ("gated_delta_rule", "chunk_gated_delta_rule", "deltanet"),
        ("simple_gla", "chunk_simple_gla", "gla"),
    ):

        def call(
            *, q, k, v, g, beta=None, scale=None, cu_seqlens=None, initial_state=None, output_final_state, loops=loops
        ):
            assert output_final_state
            calls.append({"scale": scale, "cu_seqlens": cu_seqlens})
            g = g if g.ndim == 4 or loops == "deltanet" else g.unsqueeze(-1).expand_as(q)
            q = q if scale is None else q * scale * q.shape[-1] ** 0.5
            ends = [0, q.shape[1]] if cu_seqlens is None else cu_seqlens.tolist()
            assert len(ends) == 2 or len(q) == 1
            found = [
                loop(
                    loops,
                    *(x[:, a:b] for x in (q, k, v, g)),
                    None if beta is None else beta[:, a:b],
                    None
                    if initial_state is None
                    else initial_state[i : i + 1]
                    if cu_seqlens is not None
                    else initial_state,
                )
                for i, (a, b) in enumerate(itertools.pairwise(ends))
            ]
            return torch.cat([o for o, _ in found], 1), torch.cat([s for _, s in found])

        monkeypatch.setitem(sys.modules, f"fla.ops.{file}", types.SimpleNamespace(**{name: call}))
    monkeypatch.setitem(sys.modules, "fla", types.ModuleType("fla"))
    monkeypatch.setitem(sys.modules, "fla.ops", types.ModuleType("fla.ops"))
    found = chunks.kernel

    def kernel(file, name, x):
        return found(file, name, types.SimpleNamespace(is_cuda=True, dtype=torch.bfloat16))

    for part in (gla, mamba2, deltanet):
        monkeypatch.setattr(part, "kernel", kernel)
    return calls


@names
def test_flas_kernels_are_called_as_they_want(name, fla):
    inputs = draw(name, 37, 1)
    assert_close(OPERATORS[name](*inputs), loop(name, *inputs))
    assert_close(OPERATORS[name](*inputs, documents=DOCUMENTS), loop(name, *inputs, documents=DOCUMENTS))
    _, state = OPERATORS[name](*(x[:, :10] for x in inputs), documents=DOCUMENTS[:, :10])
    o, last = OPERATORS[name](*(x[:, 10:] for x in inputs), state=state, documents=DOCUMENTS[:, 9:])
    exact, end = loop(name, *inputs, documents=DOCUMENTS)
    assert_close((o, last), (exact[:, 10:], end))
    assert [c["scale"] for c in fla] == [1.0 if name == "mamba2" else None] * 4
    assert fla[0]["cu_seqlens"] is None
    assert fla[1]["cu_seqlens"].tolist() == [0, 3, 4, 24, 32, 37, 53, 69, 74]


def test_kernels_are_for_half_precision_on_a_gpu(fla):
    for dtype, there in ((torch.float32, False), (torch.bfloat16, True), (torch.float16, True)):
        on_gpu = types.SimpleNamespace(is_cuda=True, dtype=dtype)
        assert (chunks.kernel("gla", "chunk_gla", on_gpu) is not None) is there
    assert chunks.kernel("gla", "chunk_gla", torch.zeros(1, dtype=torch.bfloat16)) is None


def test_without_fla_there_is_no_kernel(monkeypatch):
    monkeypatch.setitem(sys.modules, "fla", None)
    monkeypatch.delitem(sys.modules, "fla.ops.gla", raising=False)
    assert chunks.kernel("gla", "chunk_gla", types.SimpleNamespace(is_cuda=True, dtype=torch.bfloat16)) is None
