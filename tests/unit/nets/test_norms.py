"""PowerNorm and batch normalisation against the papers' equations in float64."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd import gradcheck
from torch.utils.checkpoint import checkpoint

from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.nets.decoder import Decoder
from airtrack.nets.model import TorchLanguageModel
from airtrack.nets.norms.batchnorm import BatchNorm
from airtrack.nets.norms.powernorm import PowerNorm

NORMS = [PowerNorm(warmup=2), PowerNorm(warmup=2, groups=2, divide="batch"), BatchNorm()]
WIDTH = 4


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def batches(count, seed=0):
    """(x, ∂L/∂y) of so many batches [2, 5, 4], each of another size and with a mean that is not nought."""
    made = [(draw(2, 5, WIDTH, seed=seed + t), draw(2, 5, WIDTH, seed=100 + seed + t)) for t in range(count)]
    return [(x * (1 + 0.3 * t) + 0.5, g) for t, (x, g) in enumerate(made)]


def made(norm):
    """A module in double precision whose gain and bias are not one and nought."""
    module = norm.build(WIDTH).double()
    with torch.no_grad():
        module.weight.copy_(draw(WIDTH, seed=50).abs() + 0.5)
        module.bias.copy_(draw(WIDTH, seed=51))
    return module


def passed(module, x, g):
    """y and ∂L/∂x of one forward and backward pass."""
    x = x.clone().requires_grad_()
    y = module(x)
    y.backward(g)
    return y.detach(), x.grad


class Equations:
    """PowerNorm step by step, numpy, from the equations alone."""

    def __init__(self, spec, module):
        self.spec, self.gain, self.bias = spec, module.weight.detach().numpy(), module.bias.detach().numpy()
        self.psi2, self.nu, self.seen = np.ones(WIDTH), np.zeros(WIDTH), []

    def step(self, x, dy):
        spec = self.spec
        x, dy = (a.numpy().reshape(-1, WIDTH) for a in (x, dy))
        batch = np.array([np.mean([token[c] ** 2 for token in x]) for c in range(WIDTH)])
        used = batch if len(self.seen) < spec.warmup else self.psi2
        z = x / np.sqrt(used + spec.eps)
        y = self.gain * z + self.bias
        g = self.gain * dy
        corrected = g - (1 - spec.backward_decay) * self.nu * z
        dx = corrected / np.sqrt((batch if spec.divide == "batch" else used) + spec.eps)
        self.nu = self.nu + (corrected * z).mean(0)
        self.seen.append(batch)
        if len(self.seen) <= min(spec.warmup, 1 / (1 - spec.decay) if spec.decay < 1 else np.inf):
            self.psi2 = np.mean(self.seen, axis=0)
        else:
            self.psi2 = spec.decay * self.psi2 + (1 - spec.decay) * batch
        return y, dx, (dy * z).sum(0), dy.sum(0)


@pytest.mark.parametrize("divide", ["running", "batch"])
@pytest.mark.parametrize("warmup", [0, 3, 100])
@pytest.mark.parametrize("decays", [(0.9, 0.9), (0.5, 0.7), (1.0, 1.0), (0.0, 0.0)])
def test_powernorm_is_its_equations_over_many_steps(divide, warmup, decays):
    spec = PowerNorm(divide=divide, warmup=warmup, decay=decays[0], backward_decay=decays[1])
    module = made(spec)
    truth = Equations(spec, module)
    for t, (x, g) in enumerate(batches(7)):
        module.zero_grad()
        y, dx = passed(module, x, g)
        expected = truth.step(x, g)
        found = (y.view(-1, WIDTH), dx.view(-1, WIDTH), module.weight.grad, module.bias.grad)
        for ours, theirs in zip((*found, module.moment, module.nu), (*expected, truth.psi2, truth.nu)):
            assert np.abs(ours.numpy() - theirs).max() < 1e-11
        assert int(module.batches) == t + 1
    assert module.batches.dtype == torch.int64


def test_the_papers_own_form_of_nu():
    """ν ← ν (1 − (1 − a) mean z²) + (1 − a) mean(z · g), for a ν that is (1 − a) times ours."""
    module = made(PowerNorm(warmup=0, backward_decay=0.8))
    nu = torch.zeros(WIDTH, dtype=torch.float64)
    for x, g in batches(5):
        z = x / (module.moment + 1e-5).sqrt()
        power, product = (z * z).mean((0, 1)), (z * g * module.weight).mean((0, 1)).detach()
        nu = nu * (1 - 0.2 * power) + 0.2 * product
        passed(module, x, g)
        assert torch.allclose(0.2 * module.nu, nu, rtol=0, atol=1e-12)


def test_groups_are_scaled_first():
    module, plain = made(PowerNorm(groups=2, warmup=1)), made(PowerNorm(warmup=1))
    for x, g in batches(3):
        x = x.requires_grad_()
        halves = [h / (h.square().mean(-1, keepdim=True) + 1e-5).sqrt() for h in x.split(2, -1)]
        expected = plain(torch.cat(halves, -1))
        (dx,) = torch.autograd.grad(expected, x, g)
        y, ours = passed(module, x.detach(), g)
        assert torch.allclose(y, expected, rtol=0, atol=1e-12)
        assert torch.allclose(ours, dx, rtol=0, atol=1e-12)


def test_without_correction_and_with_a_fixed_moment_it_is_linear_scaling():
    module = made(PowerNorm(warmup=0, decay=1.0, backward_decay=1.0))
    module.moment.copy_(torch.tensor([0.5, 1.0, 2.0, 3.0]))
    assert gradcheck(module, (draw(2, 3, WIDTH).requires_grad_(),))


def test_otherwise_the_backward_pass_is_not_the_derivative():
    x, g = batches(1)[0]
    module, still = made(PowerNorm(warmup=0, decay=1.0)), made(PowerNorm(warmup=0, decay=1.0, backward_decay=1.0))
    first, scaling = passed(module, x, g)[1], passed(still, x, g)[1]
    assert torch.equal(first, scaling)  # ν is still nought
    assert (passed(module, x, g)[1] - scaling).abs().max() > 1e-2
    own = x.clone().requires_grad_()  # during the warm-up the derivative would go through the batch's moment
    y = own / (own.square().mean((0, 1)) + 1e-5).sqrt() * module.weight + module.bias
    warm = made(PowerNorm(warmup=5))
    ours = passed(warm, x, g)
    assert torch.allclose(ours[0], y, rtol=0, atol=1e-12)
    assert (ours[1] - torch.autograd.grad(y, own, g)[0]).abs().max() > 1e-2


def test_batchnorm_is_torchs():
    module, theirs = made(BatchNorm(momentum=0.3, eps=1e-3)), nn.BatchNorm1d(WIDTH, 1e-3, 0.3).double()
    with torch.no_grad():
        theirs.weight.copy_(module.weight), theirs.bias.copy_(module.bias)
    for x, g in batches(4):
        x = x.requires_grad_()
        expected = theirs(x.flatten(0, 1)).view_as(x)
        (dx,) = torch.autograd.grad(expected, x, g)
        y, ours = passed(module, x.detach(), g)
        assert torch.allclose(y, expected, rtol=0, atol=1e-13)
        assert torch.allclose(ours, dx, rtol=0, atol=1e-13)
        assert torch.allclose(module.running_mean, theirs.running_mean, rtol=0, atol=1e-13)
        assert torch.allclose(module.running_var, theirs.running_var, rtol=0, atol=1e-13)
    module.eval(), theirs.eval()
    assert torch.allclose(module(x), theirs(x.flatten(0, 1)).view_as(x), rtol=0, atol=1e-13)


def test_batchnorms_gradient_is_the_derivative():
    assert gradcheck(made(BatchNorm()), (draw(2, 3, WIDTH).requires_grad_(),))


@pytest.mark.parametrize("norm", NORMS)
def test_every_backward_pass_is_a_batch(norm):
    module, other = made(norm), made(norm)
    (x1, g1), (x2, g2) = batches(2)
    module.zero_grad()
    passed(module, x1, g1), passed(module, x2, g2)  # accumulated: no step of an optimiser between
    single = [copy.deepcopy(other) for _ in range(2)]
    passed(single[0], x1, g1)
    single[1].load_state_dict(single[0].state_dict())
    passed(single[1], x2, g2)
    assert all(torch.equal(a, b) for a, b in zip(module.state_dict().values(), single[1].state_dict().values()))
    assert torch.allclose(module.weight.grad, single[0].weight.grad + single[1].weight.grad, rtol=0, atol=1e-12)
    assert int(module.batches) == 2
    y1, y2 = other(x1), other(x2)  # two forward passes meet the same statistics
    fresh = made(norm)
    assert torch.equal(y1, fresh(x1))
    assert torch.equal(y2, fresh(x2))
    torch.autograd.backward([y1, y2], [g1, g2])
    assert int(other.batches) == 2


@pytest.mark.parametrize("norm", NORMS)
def test_without_a_gradient_no_batch_is_counted(norm):
    module = made(norm)
    passed(module, *batches(1)[0])
    before = copy.deepcopy(module.state_dict())
    x = batches(2)[1][0]
    with torch.no_grad():
        y = module(x)
    assert torch.equal(y, module(x))
    module.eval()(x.requires_grad_()).sum().backward()
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


class Net(nn.Module):
    """Two parts with a norm each, which are recomputed one at a time."""

    def __init__(self, norm, again):
        super().__init__()
        self.parts = nn.ModuleList(nn.Sequential(nn.Linear(WIDTH, WIDTH), norm.build(WIDTH), nn.Tanh()) for _ in "ab")
        self.again = again
        self.double()
        with torch.no_grad():
            for seed, p in enumerate(self.parameters()):
                p.copy_(draw(*p.shape, seed=seed))

    def forward(self, x):
        for part in self.parts:
            x = checkpoint(part, x, use_reentrant=False) if self.again else part(x)
        return x


@pytest.mark.parametrize("norm", NORMS)
def test_recomputation_changes_nothing(norm):
    plain, again = Net(norm, False), Net(norm, True)
    for x, g in batches(5):
        plain.zero_grad(), again.zero_grad()
        for ours, theirs in zip(passed(again, x, g), passed(plain, x, g)):
            assert torch.equal(ours, theirs)
        assert all(torch.equal(p.grad, q.grad) for p, q in zip(plain.parameters(), again.parameters()))
        assert all(torch.equal(a, b) for a, b in zip(plain.state_dict().values(), again.state_dict().values()))
    assert int(again.parts[0][1].batches) == 5


def test_recomputation_with_other_statistics_is_refused():
    net = Net(PowerNorm(warmup=0), True)
    (x1, g1), (x2, g2) = batches(2)
    y1, y2 = net(x1.requires_grad_()), net(x2.requires_grad_())
    y2.backward(g2)
    with pytest.raises(RuntimeError, match="statistics moved between a forward pass and its repetition; where"):
        y1.backward(g1)


@pytest.mark.parametrize("norm", NORMS)
def test_in_evaluation_a_token_stands_alone(norm):
    module = made(norm)
    for x, g in batches(3):
        passed(module, x, g)
    module.eval()
    x = draw(3, 6, WIDTH, seed=9)
    y = module(x)
    assert torch.equal(module(x), y)
    assert torch.allclose(module(x[1:2, 2:3]), y[1:2, 2:3], rtol=0, atol=1e-14)
    assert gradcheck(module, (x[:1, :2].clone().requires_grad_(),))
    assert torch.autograd.gradgradcheck(module, (x[:1, :2].clone().requires_grad_(),))


@pytest.mark.parametrize("norm", [PowerNorm(warmup=1), BatchNorm()])
def test_in_training_a_token_depends_on_its_batch(norm):
    assert norm.batch_statistics
    x = batches(1)[0][0]
    moved = x.clone()
    moved[1, 4] += 1
    assert not torch.allclose(made(norm)(x)[0, 0], made(norm)(moved)[0, 0])


def test_powernorm_evaluates_with_the_running_moment():
    module = made(PowerNorm(warmup=0))
    for x, g in batches(3):
        passed(module, x, g)
    expected = x / (module.moment + 1e-5).sqrt() * module.weight + module.bias
    assert torch.allclose(module.eval()(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", NORMS)
def test_discrepancy_is_of_the_last_batch_against_what_met_it(norm):
    module = made(norm)
    assert all(np.isnan(v) for v in module.discrepancy().values())
    for n, (x, g) in enumerate(batches(4)):
        before = {k: v.numpy().copy() for k, v in module.state_dict().items()}
        passed(module, x, g)
        tokens = x.numpy().reshape(-1, WIDTH)
        if isinstance(norm, BatchNorm):
            sigma = np.sqrt(before["running_var"])
            expected = {
                "mean": np.linalg.norm(tokens.mean(0) - before["running_mean"]) / np.linalg.norm(sigma),
                "deviation": np.linalg.norm(tokens.std(0, ddof=1) - sigma) / np.linalg.norm(sigma),
            }
        else:
            if norm.groups:
                halves = tokens.reshape(-1, 2, 2)
                tokens = (halves / np.sqrt((halves**2).mean(-1, keepdims=True) + 1e-5)).reshape(-1, WIDTH)
            psi = np.sqrt(before["moment"])
            expected = {"deviation": np.linalg.norm(np.sqrt((tokens**2).mean(0)) - psi) / np.linalg.norm(psi)}
        assert module.discrepancy() == pytest.approx(expected if n else dict.fromkeys(expected, np.nan), nan_ok=True)


IDS = torch.from_numpy(np.random.default_rng(0).integers(0, 9, (4, 12)))


def trained(norm, steps, recompute=False):
    """A decoder that has learnt a few rows by heart, and its losses."""
    spec = Decoder(layers=2, width=16, heads=2, norm=norm)
    model = TorchLanguageModel.new(spec, Streams(0), vocab=9, length=12)
    model.module.recompute = recompute
    optimizer = torch.optim.AdamW(model.module.parameters(), lr=1e-2)
    losses = []
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model.module(IDS)[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return model, losses


@pytest.mark.parametrize("norm", [PowerNorm(), PowerNorm(warmup=30, groups=1, divide="batch"), BatchNorm()])
def test_a_decoder_trains_and_is_saved_with_its_statistics(norm, tmp_path):
    model, losses = trained(norm, 130)
    assert losses[0] > 2
    assert losses[-1] < 0.1
    model.save(tmp_path)
    again = TorchLanguageModel.load(tmp_path)
    assert np.array_equal(again.log_probs(IDS.numpy()), model.log_probs(IDS.numpy()))
    assert int(again.module.norm.batches) == 130
    evaluated = -np.take_along_axis(model.log_probs(IDS.numpy())[:, :-1], IDS[:, 1:, None].numpy(), 2).mean()
    assert evaluated < 0.1


@pytest.mark.parametrize("norm", [PowerNorm(warmup=2), BatchNorm()])
def test_a_decoder_that_recomputes_is_the_same(norm):
    (plain, losses), (again, others) = (trained(norm, 5, recompute) for recompute in (False, True))
    assert losses == others
    pairs = zip(plain.module.state_dict().values(), again.module.state_dict().values())
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("norm", NORMS)
def test_half_precision_keeps_its_statistics_in_single(norm):
    module = norm.build(WIDTH)
    for x, g in batches(3):
        y, dx = passed(module, x.bfloat16(), g.bfloat16())
        assert y.dtype == dx.dtype == torch.bfloat16
        assert y.isfinite().all()
        assert dx.isfinite().all()
    assert {b.dtype for b in module.buffers()} == {torch.float32, torch.int64}
    exact = norm.build(WIDTH)
    for x, g in batches(3):
        passed(exact, x.float(), g.float())
    for a, b in zip(module.state_dict().values(), exact.state_dict().values()):
        assert torch.allclose(a, b, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PowerNorm(decay=1.5), "decay: input should be less than or equal to 1"),
        (lambda: PowerNorm(warmup=-1), "warmup: input should be greater than or equal to 0"),
        (lambda: PowerNorm(divide="psi"), "'psi' is none of running, batch"),
        (lambda: PowerNorm(eps=0.0), "eps: input should be greater than 0"),
        (lambda: PowerNorm(groups=3).build(8), "width 8 is no multiple of 3 groups"),
        (lambda: Decoder(layers=1, width=8, heads=2, norm=PowerNorm(groups=3)), "width 8 is no multiple of 3 groups"),
        (lambda: BatchNorm(momentum=0.0), "momentum: input should be greater than 0"),
        (lambda: BatchNorm().build(8)(torch.zeros(1, 1, 8)), "more than 1 value per channel"),
    ],
)
def test_nonsense_is_refused(make, words):
    with pytest.raises((SpecError, ValueError), match=words):
        make()
