"""What every part of a block owes the nets: mixers, MLPs, norms, positions, Canon layers. A new file in one of these
folders is tested by being there."""

import copy
import itertools
import random
import re

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from airtrack.core.part import SpecError, build, known, lookup, to_spec
from airtrack.core.streams import Streams
from airtrack.nets.canon import Canon
from airtrack.nets.decoder import Decoder
from airtrack.nets.model import TorchLanguageModel
from airtrack.nets.penalty import penalised, taken
from airtrack.nets.protocols import takes

WIDTH, HEADS = 16, 2
FAMILIES = ("mixer", "mlp", "norm", "position", "canon")
PARTS = {(family, name): lookup(family, name) for family in FAMILIES for name in known(family)}


def example(family, name):
    cls = PARTS[family, name]
    assert hasattr(cls, "example"), f"give {cls.__name__} a class variable `example`: the fields of a small one"
    return cls(**cls.example)


def made(family, name, canon=False, **more):
    """The module in float64 and in evaluation mode, its numbers those of its constructor."""
    spec = example(family, name)
    sizes = (WIDTH, HEADS) if family == "mixer" else (WIDTH,)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = spec.build(*sizes, **more, **({"canon": Canon} if canon else {}))
    return module if module is None else module.double().eval()


def families(*wanted, has=None):
    """(family, name, whether with Canon), of those whose module has a method or a `forward` with this argument."""
    found = []
    for family, name in PARTS:
        module = made(family, name) if family in wanted else None
        if module is not None and (has is None or hasattr(module, has) or takes(module.forward, has)):
            canon = (False, True) if takes(PARTS[family, name].build, "canon") else (False,)
            found += [(family, name, c) for c in canon]
    return found


def parts(*wanted, **how):
    found = families(*wanted, **how)
    return pytest.mark.parametrize("part", found, ids=["-".join((f, n, *["canon"] * c)) for f, n, c in found])


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def global_states():
    state = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().tolist(), random.getstate(), state[1].tolist(), state[2:]


@pytest.mark.parametrize(("family", "name"), PARTS)
def test_specification_makes_an_equal_part(family, name):
    assert build(family, to_spec(example(family, name))) == example(family, name)


def test_every_part_says_how_it_is_built():
    for (family, _), cls in PARTS.items():
        if family == "position":
            assert not (hasattr(cls, "attach") and hasattr(cls, "embedding"))
        else:
            assert all(takes(cls.build, a) for a in (("width", "heads") if family == "mixer" else ("width",))), cls


# ------------------------------------------------------------------------------------------------ modules by themselves


@parts("mixer", "mlp", "norm", "canon")
def test_keeps_the_shape(part):
    module = made(*part)
    for rows, length in itertools.product([0, 1, 3], [0, 1, 2, 9]):
        y = module(draw(rows, length, WIDTH))
        assert y.shape == (rows, length, WIDTH)
        assert y.dtype == torch.float64
        assert y.isfinite().all()


@parts("mixer", "mlp", "norm", "canon")
def test_reads_nothing_ahead_and_no_other_row(part):
    module, x = made(*part), draw(2, 70, WIDTH)  # longer than a chunk
    before = module(x)
    for t in (0, 1, 2, 15, 16, 40, 63, 64, 69):
        moved = x.clone()
        moved[0, t] += draw(WIDTH, seed=t + 1)
        change = (module(moved) - before).abs().amax(-1)
        assert change[0, :t].sum() + change[1].sum() <= 1e-12
        assert change[0, t] > 1e-6
        if part[0] == "norm":
            assert change[0, t + 1 :].sum() <= 1e-12


@parts("mixer", "mlp", "norm", "canon")
def test_derivatives(part):
    module, x = made(*part), draw(1, 4, WIDTH).requires_grad_()
    names, values = zip(*module.named_parameters())

    def f(x, *values):
        return torch.func.functional_call(module, dict(zip(names, values)), x)

    assert gradcheck(f, (x, *[v.detach().clone().requires_grad_() for v in values]), fast_mode=True)


@parts("mixer", "mlp", "canon", has="documents")
@pytest.mark.parametrize("cuts", [(4, 1, 4), (1, 2, 30, 37), (16, 16, 38)], ids=str)
def test_documents_leak_nothing(part, cuts):
    module = made(*part)
    x = draw(2, sum(cuts), WIDTH)
    documents = torch.arange(len(cuts)).repeat_interleave(torch.tensor(cuts))
    y = module(x, documents=torch.stack((documents + 3, torch.full_like(documents, 7))))
    assert (y[1:] - module(x[1:])).abs().max() <= 1e-10
    for mine, alone in zip(y[:1].split(cuts, 1), x[:1].split(cuts, 1)):
        assert (mine - module(alone)).abs().max() <= 1e-10


@parts("mixer", "mlp", has="step")
def test_steps_are_the_whole(part):
    module, x = made(*part), draw(2, 70, WIDTH)
    documents = torch.tensor([[0] * 5 + [1] + [2] * 30 + [3] * 34, [4] * 70])
    apart = [None, documents] if takes(module.step, "documents") and takes(module.forward, "documents") else [None]
    for packed, cuts in itertools.product(apart, ([1] * 70, [4, 1, 1, 27, 37], [33, 1, 31, 5], [70])):
        cache, done, found = {}, 0, []
        with torch.no_grad():
            for piece in x.split(cuts, 1):
                done += piece.shape[1]
                more = {} if packed is None else {"documents": packed[:, :done]}
                found.append(module.step(piece, cache, **more))
            whole = module(x) if packed is None else module(x, documents=packed)
        assert (torch.cat(found, 1) - whole).abs().max() <= 1e-10


@parts("mixer", "mlp", has="step")
def test_rows_of_a_cache_can_be_chosen(part):
    """A cache is tensors, whose first axis is the batch, and integers: so rows are dropped, doubled and moved."""
    module, x, rows = made(*part), draw(3, 12, WIDTH), torch.tensor([2, 0, 0, 1])
    cache = {}
    with torch.no_grad():
        module.step(x[:, :7], cache)
        assert all(isinstance(v, int) or (torch.is_tensor(v) and len(v) == 3) for v in cache.values())
        cache = {k: v[rows] if torch.is_tensor(v) else v for k, v in cache.items()}
        assert (module.step(x[rows, 7:], cache) - module(x)[rows, 7:]).abs().max() <= 1e-10


@parts("mixer", "mlp", has="step")
def test_state_size_is_what_a_step_needs(part):
    """No less than the numbers of the cache that move what comes next, no more than the cache has room for."""
    module, x = made(*part), draw(1, 10, WIDTH)
    cache = {}
    with torch.no_grad():
        module.step(x[:, :9], cache)
    numbers = {k: v.clone().requires_grad_() for k, v in cache.items() if torch.is_tensor(v) and v.is_floating_point()}
    y = module.step(x[:, 9:], cache | {k: v.clone() for k, v in numbers.items()})
    grads = (
        torch.autograd.grad((y * draw(*y.shape, seed=1)).sum(), list(numbers.values()), allow_unused=True)
        if numbers
        else ()
    )
    needed, room = sum(int((g != 0).sum()) for g in grads if g is not None), sum(v.numel() for v in numbers.values())
    said = module.state_size(9) if hasattr(module, "state_size") else 0
    assert type(said) is int
    assert needed <= said <= room
    if said:
        assert module.state_size(1) <= module.state_size(9) <= module.state_size(100)


@parts("mixer", "mlp", "canon")
def test_flops_are_those_that_torch_counts(part):
    """Its matrix products, and 2 · taps a token of the convolutions that it does not see."""
    module, said = made(*part), []
    taps = sum(m.weight.numel() for m in module.modules() if isinstance(m, Canon))
    for length in (1, 9, 70, 128):
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            module(draw(1, length, WIDTH))
        said.append(module.flops(length))
        assert type(said[-1]) is int
        assert said[-1] == counter.get_total_flops() + 2 * length * taps
    assert said == sorted(set(said))


@parts("mixer", "mlp", "norm", "canon")
def test_is_the_same_compiled_copied_and_in_any_surroundings(part, monkeypatch):
    x, states = draw(2, 9, WIDTH), global_states()
    module = made(*part)
    y = module(x)
    assert global_states() == states
    assert (copy.deepcopy(module)(x) - y).abs().max() <= 1e-12
    again = made(*part)
    again.load_state_dict(module.state_dict())
    assert (again(x) - y).abs().max() <= 1e-12
    with torch.inference_mode():
        module(x)
    module(x.requires_grad_()).sum().backward()  # tables made while evaluating serve training too
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert (module(x) - y).abs().max() <= 1e-12


@parts("mlp")
def test_a_penalty_is_a_scalar_and_of_training_alone(part):
    module = made(*part)
    module(draw(2, 9, WIDTH))
    assert taken(penalised(module)) == []
    module.train()(draw(2, 9, WIDTH))
    for penalty in taken(penalised(module)):
        assert penalty.shape == ()
        assert penalty.requires_grad
    assert taken(penalised(module)) == []


@pytest.mark.parametrize("name", known("position"))
def test_positions_say_which_heads_they_fit(name):
    place = example("position", name)
    if hasattr(place, "attach"):
        module = place.attach(4, 2, 8)
        assert hasattr(module, "turn") or hasattr(module, "bias")
        if hasattr(module, "turn"):
            x = draw(2, 5, 6, 8)
            whole = module.turn(x, 0)
            assert whole.shape == x.shape
            assert (torch.cat((module.turn(x[:, :2], 0), module.turn(x[:, 2:], 2)), 1) - whole).abs().max() <= 1e-12
        if hasattr(module, "bias"):
            whole = module.double().bias(5, 5)
            assert whole.shape == (4, 5, 5)
            assert torch.equal(module.bias(2, 5), whole[:, 3:])
    if hasattr(place, "embedding"):
        assert place.embedding(9, 8)(torch.zeros(2, 3, dtype=torch.long)).shape == (2, 3, 8)


# ------------------------------------------------------------------------------------------------------- parts in a net

IDS = torch.from_numpy(np.random.default_rng(0).integers(1, 9, (4, 14)))
PACKED = IDS.clone()
PACKED[:, 0] = PACKED[0, 5] = PACKED[1, 9] = PACKED[2, 9] = PACKED[2, 10] = 0
NETS = {}
for family, name in PARTS:
    own = {"canon_layer" if family == "canon" else f"{family}s" if family == "position" else family: (family, name)}
    NETS[f"{family}-{name}"] = (
        {"positions": ("position", "none")} | own | ({"canon": "AC"} if family == "mixer" else {})
    )
    if family == "canon":
        NETS[f"{family}-{name}"]["canon"] = "ABCD"
nets = pytest.mark.parametrize("fields", NETS.values(), ids=NETS)


def net(fields, **more):
    own = {key: example(*value) if isinstance(value, tuple) else value for key, value in fields.items()}
    return Decoder(**({"layers": 2, "width": WIDTH, "heads": HEADS} | own | more))


def loss(model, ids):
    return torch.nn.functional.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def trained(model):
    """After a few steps: running statistics are those of batches, and nothing is zero any more."""
    optimiser = torch.optim.AdamW(model.parameters(), 0.01)
    for _ in range(3):
        optimiser.zero_grad()
        loss(model, PACKED).backward()
        optimiser.step()
    return model.eval()


@nets
def test_a_net_learns_with_all_of_its_parameters(fields):
    spec, states = net(fields), global_states()
    model = spec.build(9, Streams(0) / "init", length=14, start=0)
    loss(model, IDS).backward()
    assert global_states() == states
    for path, p in model.named_parameters():
        if p.requires_grad:
            assert p.grad is not None, path
            assert p.grad.isfinite().all(), path
            assert p.grad.abs().max() > 0, path
    assert spec.count(9, 14) == sum(p.numel() for p in model.parameters())
    assert type(spec.flops(9, 14)) is int
    assert spec.state_size(14) >= 0


@nets
def test_a_net_depends_on_its_streams_alone(fields):
    def state(seed, torch_seed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed)
            return net(fields).build(9, Streams(seed), length=14).state_dict()

    one, same, other = state(0, 1), state(0, 2), state(1, 1)
    assert all(torch.equal(value, same[key]) for key, value in one.items())
    assert any(not torch.equal(value, other[key]) for key, value in one.items())


@nets
def test_a_net_reads_nothing_ahead_and_keeps_documents_apart(fields):
    model = trained(net(fields).build(9, Streams(0), length=14, start=0)).double()
    if any(
        isinstance(v, tuple) and not takes(made(*v).forward, "documents") for k, v in fields.items() if k == "mixer"
    ):
        pytest.skip("this mixer takes rows of one document")
    whole = model(PACKED)
    for row, begins in enumerate([[0, 5, 14], [0, 9, 14], [0, 9, 10, 14], [0, 14]]):
        for a, b in itertools.pairwise(begins):
            assert (whole[row, a:b] - model(PACKED[row : row + 1, a:b])[0]).abs().max() <= 1e-10
    for t in range(1, 14):
        moved = PACKED.clone()
        moved[3, t] = moved[3, t] % 8 + 1
        change = (model(moved) - whole).abs().amax(-1)
        assert change[:3].sum() + change[3, :t].sum() <= 1e-12
        assert change[3, t] > 0


@nets
def test_a_net_generates_with_a_cache_what_it_does_without(fields):
    model = trained(net(fields).build(9, Streams(0), length=24, start=0)).double()
    for ids in (IDS, PACKED):
        cache, done = None, 0
        for size in (3, 1, 1, 6, 2, 1):
            logits, cache = model.advance(ids[:, done : done + size], cache)
            done += size
            assert (logits - model(ids[:, :done])[:, -1]).abs().max() <= 1e-10


@nets
def test_a_net_is_saved_and_loaded(fields, tmp_path):
    model = TorchLanguageModel.new(net(fields), Streams(0), vocab=9, length=14, start=0)
    trained(model.module)
    model.save(tmp_path)
    assert np.array_equal(TorchLanguageModel.load(tmp_path).log_probs(IDS.numpy()), model.log_probs(IDS.numpy()))


@nets
def test_a_net_in_half_precision(fields):
    model = net(fields).build(9, Streams(0), length=14, start=0)
    with torch.autocast("cpu", torch.bfloat16):
        half = loss(model, PACKED)
    half.backward()
    assert abs(half - loss(model, PACKED)) < 0.02
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(("family", "name"), [key for key in PARTS if key[0] in ("mixer", "mlp")])
def test_canon_is_taken_or_refused_with_a_reason(family, name):
    part = example(family, name)
    for letter in "AB" if family == "mixer" else "CD":
        fields = {family: (family, name), "positions": "none", "canon": letter}
        inside = letter in "BD" and not takes(part.build, "canon")
        if inside or letter not in getattr(part, "places", letter):
            reason = getattr(part, "no_canon", "its build takes no canon")
            message = f"{family} {name} has no place for Canon {letter}: {reason}; leave {letter} out of canon"
            with pytest.raises(SpecError, match=re.escape(message)):
                net(fields)
        else:
            model = net(fields).build(9, Streams(0), length=14)
            assert any(isinstance(m, Canon) for m in model.modules())


@pytest.mark.parametrize("name", [name for name in known("position") if hasattr(lookup("position", name), "attach")])
def test_positions_that_a_mixer_cannot_use_are_refused(name):
    for mixer in known("mixer"):
        if not takes(lookup("mixer", mixer).build, "positions"):
            with pytest.raises(
                SpecError, match=f"mixer {mixer} has no place for {name} positions; set positions: none"
            ):
                net({"mixer": ("mixer", mixer)}, positions=name)


@pytest.mark.parametrize("mixer", known("mixer"))
def test_a_mixer_of_causal_nets_alone_refuses_an_encoder(mixer):
    from airtrack.nets.encoder import Encoder

    fields = {"layers": 1, "width": WIDTH, "heads": HEADS, "positions": "none", "mixer": example("mixer", mixer)}
    if not takes(lookup("mixer", mixer).build, "causal"):
        with pytest.raises(SpecError, match=f"mixer {mixer} only looks back"):
            Encoder(**fields)
    else:
        model = Encoder(**fields).build(9, Streams(0), length=14).double()
        moved = IDS.clone()
        moved[:, -1] = IDS[:, -1] % 8 + 1
        assert (model(moved) - model(IDS))[:, 0].abs().max() > 0
