"""Mixtures of experts against a loop over tokens in float64, written from the equations alone."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd import gradcheck
from torch.utils.checkpoint import checkpoint

from airtrack.core.part import SpecError, build
from airtrack.core.streams import Streams
from airtrack.nets.decoder import Decoder
from airtrack.nets.mlps.gated import Gated
from airtrack.nets.mlps.moe import Mixture, Moe
from airtrack.nets.mlps.plain import FeedForward, Plain
from airtrack.nets.model import TorchLanguageModel
from airtrack.nets.penalty import penalised, taken

WIDTH = 6


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def made(width=WIDTH, layer=(0, 1), lean=0.0, **fields):
    """A mixture in double precision with large weights; `lean` makes the first experts better liked."""
    module = Moe(expert=Plain(expand=2), **fields).build(width, layer=layer).double()
    with torch.no_grad():
        for seed, p in enumerate(module.parameters()):
            p.copy_(draw(*p.shape, seed=seed) * 0.7)
        module.gate.weight[:, 0] -= lean * torch.arange(len(module.gate.weight))
    return module


def leaning(B, T, width=WIDTH, seed=1):
    x = draw(B, T, width, seed=seed)
    x[..., 0] = x[..., 0].abs() + 0.5
    return x


def silu(a):
    return a / (1 + np.exp(-a))


def mlp(p, name, x):
    return p[f"{name}.down.weight"] @ silu(p[f"{name}.up.weight"] @ x)


def naive(module, x, top, limit, residual=False):
    """Outputs, what each expert has taken, the number of choices dropped, the balance loss: a loop over claims."""
    p = {k: v.detach().numpy() for k, v in module.state_dict().items()}
    x = x.detach().numpy()
    (B, T, _), E = x.shape, len(p["gate.weight"])
    probs, choices = np.zeros((B, T, E)), {}
    for b in range(B):
        for t in range(T):
            e = np.exp(p["gate.weight"] @ x[b, t])
            probs[b, t] = e / e.sum()
            choices[b, t] = sorted(range(E), key=lambda e: -probs[b, t, e])[:top]
    room, won, dropped = [limit] * E, {key: [] for key in choices}, 0
    for t in range(T):
        for j in range(top):
            for b in range(B):
                e = choices[b, t][j]
                if room[e]:
                    room[e] -= 1
                    won[b, t].append(e)
                else:
                    dropped += 1
    y = np.zeros_like(x)
    for (b, t), experts in won.items():
        total = sum(probs[b, t, e] for e in experts) if top > 1 else 1
        for e in experts:
            y[b, t] += probs[b, t, e] / total * mlp(p, f"experts.{e}", x[b, t])
        if residual:
            c = np.exp(p["mix.weight"] @ x[b, t] + p["mix.bias"])
            c = c / c.sum()
            y[b, t] = c[0] * y[b, t] + c[1] * mlp(p, "mlp", x[b, t])
    share = [sum(c.count(e) for c in choices.values()) / (B * T * top) for e in range(E)]
    balance = E * sum(probs[..., e].mean() * share[e] for e in range(E))
    return y, [limit - r for r in room], dropped, balance


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("capacity", [None, 2.0, 1.0, 0.4])
@pytest.mark.parametrize(("experts", "top"), [(4, 1), (4, 2), (5, 3), (3, 3), (1, 1)])
def test_agrees_with_the_naive_loop(experts, top, capacity, residual):
    module = made(experts=experts, top=top, capacity=capacity, residual=residual, least=1, lean=0.8)
    x = leaning(3, 10)
    limit = 30 if capacity is None else math.ceil(30 * capacity * top / experts)
    y, load, dropped, balance = naive(module, x, top, limit, residual)
    assert np.abs(module(x).detach().numpy() - y).max() < 1e-12
    assert module.penalty.item() == pytest.approx(0.01 * balance, rel=1e-12)
    assert module.routing()["dropped"] == pytest.approx(dropped / (30 * top))
    assert module._last[2].tolist() == load
    if capacity == 0.4:
        assert dropped > 0
    everything = naive(module, x, top, 30, residual)[0]
    assert np.abs(module.eval()(x).detach().numpy() - everything).max() < 1e-12


@pytest.mark.parametrize("fields", [{"capacity": 0.7}, {"top": 2, "capacity": 0.7}, {"residual": True, "top": 2}])
def test_steps_are_evaluation(fields):
    module = made(experts=4, least=1, lean=0.8, **fields)
    x = leaning(2, 9)
    whole, cache = copy.deepcopy(module).eval()(x), {}
    pieces = [module.step(piece, cache) for piece in x.split([4, 1, 3, 1], 1)]
    assert torch.allclose(torch.cat(pieces, 1), whole, rtol=0, atol=1e-13)
    assert module.penalty is None
    with torch.no_grad():  # then idle experts do not run
        assert torch.allclose(module.step(x[:1, :1], {}), whole[:1, :1], rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("tokens", "fields", "expected"),
    [
        (2048, {"experts": 32}, 128),
        (30, {"experts": 3, "capacity": 1.1}, 11),  # 30 · 1.1 / 3 is 11.000000000000002 in floating point
        (30, {"experts": 4, "capacity": 1.0}, 8),
        (30, {"experts": 4, "capacity": 1.0, "top": 2}, 15),
        (30, {"experts": 16, "capacity": 1.0}, 4),  # the least
        (30, {"experts": 16, "capacity": 1.0, "least": 0}, 2),
        (30, {"experts": 16, "capacity": None}, 30),
    ],
)
def test_capacity(tokens, fields, expected):
    module = Moe(**fields).build(8)
    assert module.capacity(tokens) == expected
    with torch.no_grad():
        module.gate.weight.zero_()
        module.gate.weight[0] = 1  # all to the first expert, as far as it has room
    module(torch.ones(1, tokens, 8))
    assert int(module._last[2][0]) == min(expected, tokens)
    assert module.routing()["load"][0] == pytest.approx(1 / module.top)


def test_a_dropped_token_gets_nothing():
    module = made(experts=4, capacity=0.1, least=2)
    x = leaning(1, 1).repeat(2, 5, 1)  # the same token ten times: two are taken, those of position 0
    y = module(x)
    assert torch.count_nonzero(y[:, 0]) == 2 * WIDTH
    assert torch.count_nonzero(y[:, 1:]) == 0
    assert module.routing()["dropped"] == 0.8


@pytest.mark.parametrize("top", [1, 2])
def test_drops_keep_causality(top):
    module = made(experts=4, top=top, capacity=0.5, least=1, lean=0.5)
    x = leaning(3, 8)
    before = module(x)
    assert module.routing()["dropped"] > 0.2
    changed = 0
    for t in range(8):
        for seed in range(4):
            moved = x.clone()
            moved[1, t:] = leaning(1, 8 - t, seed=20 + seed)[0] * 3
            after = module(moved)
            assert torch.equal(after[:, :t], before[:, :t])  # in every row
            changed += not torch.equal(after[[0, 2], t:], before[[0, 2], t:])
    assert changed > 0  # rows do compete in training
    module.eval()
    assert torch.allclose(module(moved)[[0, 2]], module(x)[[0, 2]], rtol=0, atol=1e-14)


def test_random_priority_takes_as_many_and_spares_the_late():
    module = made(experts=3, capacity=0.5, least=1, priority="random")
    x = leaning(1, 1).repeat(1, 40, 1)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        kept = torch.stack([module(x)[0, :, 0] != 0 for _ in range(60)]).double()  # [draws, position]
    assert (kept.sum(1) == module.capacity(40)).all()
    share = module.capacity(40) / 40
    assert abs(kept.mean(0) - share).max() < 4.5 * math.sqrt(share * (1 - share) / 60)


def test_noise_comes_from_the_scoped_generator_in_training_alone():
    x = leaning(2, 200)
    for noise in ("gumbel", "jitter"):
        module = made(experts=4, capacity=None, noise=noise)
        drawn = []
        with torch.random.fork_rng(devices=[]):
            for seed in (0, 0, 1):
                torch.default_generator.manual_seed(seed)
                drawn.append(module(x))
            state = torch.get_rng_state()
            calm = module.eval()(x)
            assert torch.equal(torch.get_rng_state(), state)
        assert torch.equal(drawn[0], drawn[1])
        assert not torch.equal(drawn[0], drawn[2])
        assert torch.equal(calm, module(x))


def test_gumbel_draws_experts_with_the_gates_probabilities():
    module = made(experts=3, capacity=None, noise="gumbel")
    x = 0.3 * draw(1, 1, WIDTH)
    probs = torch.softmax(module.gate.weight @ x[0, 0], 0)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        module(x.expand(1, 20_000, -1))
    load = torch.tensor(module.routing()["load"], dtype=torch.float64)
    assert ((load - probs).abs() < 4.5 * (probs * (1 - probs) / 20_000).sqrt()).all()
    assert probs.min() > 0.01


def test_jitter_multiplies_the_gates_input_within_a_hundredth():
    module = made(experts=3, noise="jitter", capacity=None)
    x = draw(1, 500, WIDTH)
    clean = x[0] @ module.gate.weight.T
    reach = 0.01 * (x[0].abs() @ module.gate.weight.abs().T)
    module(x)
    noisy = module._last[0][0].log()
    moved = (noisy - noisy[:, :1]) - (
        clean - clean[:, :1]
    )  # the logarithm of a softmax is the logits but for a constant
    assert (moved.abs() <= reach + reach[:, :1] + 1e-12).all()
    assert (moved.abs() > 0.3 * (reach + reach[:, :1]))[:, 1:].any()


def test_the_balance_losss_gradient_goes_through_the_probabilities_alone():
    """∂/∂W of E Σ_e share_e mean_n p_ne is E mean_n p_ne (share_e − Σ_f share_f p_nf) x_n, by hand."""
    module = made(experts=4, balance=0.3, lean=0.3)
    x = leaning(2, 10)
    module(x)
    (g,) = torch.autograd.grad(module.penalty, module.gate.weight)
    flat, w = x.flatten(0, 1), module.gate.weight.detach()
    p = torch.softmax(flat @ w.T, 1)
    share = nn.functional.one_hot(p.argmax(1), 4).double().mean(0)
    by_hand = 0.3 * 4 * (p * (share - (p @ share)[:, None])).T @ flat / 20
    assert torch.allclose(g, by_hand, rtol=0, atol=1e-14)
    step = 1e-6  # too small to move a choice
    for i, j in ((0, 0), (2, 3)):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                module.gate.weight[i, j] += sign * step
                module(x)
                values.append(module.penalty.item())
                module.gate.weight[i, j] -= sign * step
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(g[i, j].item(), rel=1e-6)


@pytest.mark.parametrize("top", [1, 2])
def test_the_balance_loss_of_an_even_load_is_its_coefficient(top):
    module = made(width=4, experts=4, top=top, balance=0.05)
    with torch.no_grad():
        module.gate.weight.copy_(3 * torch.eye(4) + torch.eye(4).roll(1, 1))
    module(torch.eye(4, dtype=torch.float64)[None])  # each expert is one token's first choice, and another's second
    assert module.penalty.item() == pytest.approx(0.05, rel=1e-12)
    assert module.routing()["load"] == [0.25] * 4
    with torch.no_grad():
        module.gate.weight.zero_()
        module.gate.weight[0] = 100
    module(torch.ones(1, 8, 4).double())
    if top == 1:
        assert module.penalty.item() == pytest.approx(0.05 * 4)  # the worst
        assert module.routing()["entropy"] < 1e-100


def test_routing_statistics():
    module = made(experts=4, capacity=None)
    assert module.routing() == {}
    x = leaning(2, 10)
    module(x)
    p = torch.softmax(x.flatten(0, 1) @ module.gate.weight.T, 1)
    found = module.routing()
    assert found["entropy"] == pytest.approx(-(p * p.log()).sum(1).mean().item(), rel=1e-12)
    assert found["load"] == nn.functional.one_hot(p.argmax(1), 4).double().mean(0).tolist()
    assert found["dropped"] == 0


@pytest.mark.parametrize("fields", [{"top": 1}, {"top": 2}, {"top": 2, "capacity": 0.5}, {"residual": True}])
def test_gradients_away_from_ties(fields):
    module = made(width=3, experts=3, least=1, **fields)
    x = draw(2, 3, 3).requires_grad_()
    names, parameters = zip(*module.named_parameters())

    def run(x, *values):
        y = torch.func.functional_call(module, dict(zip(names, values)), (x,))
        return y, module.penalty

    assert gradcheck(run, (x, *[p.detach().clone().requires_grad_() for p in parameters]))


def test_every_expert_has_gradients_idle_ones_noughts():
    module = made(experts=4, residual=True)
    module(leaning(2, 20)).square().sum().backward()
    assert all(p.grad.abs().max() > 0 for p in module.parameters())
    module.zero_grad()
    module(leaning(1, 1)).square().sum().backward()  # one token, one expert
    used = [float(e.up.weight.grad.abs().max()) > 0 for e in module.experts]
    assert used.count(True) == 1
    assert all(p.grad is not None for p in module.parameters())


def test_pyramid_and_every():
    def sizes(count, **fields):
        moe = Moe(experts=4, **fields)
        built = [moe.build(8, layer=(n, count)) for n in range(count)]
        return [len(m.experts) if isinstance(m, Mixture) else type(m) for m in built]

    dense = FeedForward
    assert sizes(4) == [4, 4, 4, 4]
    assert sizes(4, pyramid=2) == [4, 4, 8, 8]
    assert sizes(1, pyramid=3) == [12]
    assert sizes(6, every=2) == [dense, 4, dense, 4, dense, 4]
    assert sizes(6, every=2, pyramid=2) == [dense, 4, dense, 8, dense, 8]
    assert sizes(7, every=3, pyramid=2) == [dense, dense, 8, dense, dense, 8, dense]


def test_experts_are_any_mlp():
    moe = build("mlp", {"name": "moe", "experts": 3, "expert": {"name": "gated", "expand": 1}})
    module = moe.build(16)
    assert moe.expert == Gated(expand=1)
    assert [e.gated for e in module.experts] == [True] * 3
    assert {"gate.weight", "experts.2.up.weight"} <= set(module.state_dict())


def test_flops_are_of_the_experts_in_use_and_parameters_of_all():
    one = Plain().build(16)
    own, size = one.flops(10), sum(p.numel() for p in one.parameters())
    for fields, used, held in [
        ({}, own + 2 * 10 * 16 * 8, 8 * size + 16 * 8),
        ({"top": 2}, 2 * own + 2 * 10 * 16 * 8, 8 * size + 16 * 8),
        ({"residual": True}, 2 * own + 2 * 10 * 16 * (8 + 2), 9 * size + 16 * 8 + 16 * 2 + 2),
    ]:
        module = Moe(experts=8, **fields).build(16)
        assert module.flops(10) == used
        assert sum(p.numel() for p in module.parameters()) == held


def test_recomputation_gives_the_same_gradients_the_penaltys_included():
    grads = []
    for again in (False, True):
        module = made(experts=4, top=2, capacity=0.6, least=1, noise="gumbel")
        x = leaning(2, 8).requires_grad_()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(5)
            y = checkpoint(module, x, use_reentrant=False) if again else module(x)
            (penalty,) = taken(penalised(module))
            (y.square().sum() + penalty).backward()
        grads.append([x.grad, *(p.grad for p in module.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*grads))


def test_a_penalty_is_left_in_training_and_taken_once():
    net = nn.Sequential(made(experts=4), nn.Linear(WIDTH, WIDTH).double(), made(experts=3, balance=0.5))
    found = penalised(net)
    assert found == [net[0], net[2]]
    assert taken(found) == []
    net(leaning(2, 5))
    first, second = net[0].penalty, net[2].penalty
    copied = copy.deepcopy(net)  # a penalty belongs to a graph, and stays with it
    assert copied[0].penalty is None
    assert taken(found) == [first, second]
    assert taken(found) == []
    net.eval()(leaning(2, 5))
    assert taken(found) == []


def test_half_precision_decides_in_single():
    module = made(experts=4).float()
    x = leaning(2, 10).float()
    with torch.autocast("cpu", torch.bfloat16):
        y = module(x)
    inexact = module.penalty.item()
    exact = module(x)
    assert module.penalty.item() == inexact
    assert torch.allclose(y.float(), exact, atol=0.1)


IDS = torch.from_numpy(np.random.default_rng(0).integers(0, 9, (4, 12)))


@pytest.mark.parametrize(
    "fields",
    [{}, {"top": 2}, {"residual": True, "pyramid": 2, "every": 2}, {"priority": "random", "noise": "gumbel"}],
)
def test_a_decoder_trains_and_is_saved(fields, tmp_path):
    spec = build("net", {"name": "decoder", "layers": 2, "width": 16, "heads": 2, "mlp": {"name": "moe"} | fields})
    model = TorchLanguageModel.new(spec, Streams(0), vocab=9, length=12)
    optimizer = torch.optim.AdamW(model.module.parameters(), lr=1e-2)
    losses, found = [], penalised(model.module)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        for _ in range(50):
            loss = nn.functional.cross_entropy(model.module(IDS)[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())
            losses.append(loss.item())
            optimizer.zero_grad()
            (loss + sum(taken(found))).backward()
            optimizer.step()
    assert losses[-1] < 0.3 * losses[0]
    model.save(tmp_path)
    again = TorchLanguageModel.load(tmp_path)
    assert np.array_equal(again.log_probs(IDS.numpy()), model.log_probs(IDS.numpy()))
    generated = model.module.generate(IDS[:, :4], 3)
    for t in range(4, 7):
        logits = model.module.eval()(generated[:, :t])[:, -1]
        assert torch.equal(generated[:, t], logits.argmax(-1))
    assert spec.count(9) == sum(p.numel() for p in model.module.parameters())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Moe(experts=4, top=5), "cannot go to 5 of 4 experts; lower top"),
        (lambda: Moe(capacity=0.0), "capacity: input should be greater than 0"),
        (lambda: Moe(capacity=-1.0), "capacity: input should be greater than 0"),
        (lambda: Moe(experts=0), "experts: input should be greater than 0"),
        (lambda: Moe(top=2, priority="random"), "priority random is for top 1, not 2"),
        (lambda: Moe(expert="none"), "an expert is an MLP of its own, not NoMlp"),
        (lambda: Moe(expert={"name": "moe"}), "an expert is an MLP of its own, not Moe"),
        (lambda: Moe(every=3).build(8, layer=(0, 2)), "with every 3, none of 2 blocks is a mixture; lower every"),
        (
            lambda: Decoder(layers=1, width=8, heads=2, mlp=Moe(), canon="ABCD"),
            "mlp moe has no place for Canon D: neighbours go to different experts, .*; leave D out of canon",
        ),
    ],
)
def test_nonsense_is_refused(make, words):
    with pytest.raises(SpecError, match=words):
        make()


def test_canon_abc_goes_with_a_mixture():
    model = Decoder(layers=1, width=8, heads=2, mlp=Moe(), canon="ABC").build(9, Streams(0), length=12)
    model(IDS).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
