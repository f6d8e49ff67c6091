"""Nets on images: against naive ones in float64, published sizes, and what all of them owe."""

import math
import random

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from airtrack.core.part import SpecError, build, known, lookup, to_spec
from airtrack.core.streams import Streams
from airtrack.nets.images import image
from airtrack.nets.perceptron import Perceptron
from airtrack.nets.resnet import Resnet
from airtrack.nets.vit import Vit

STREAMS = Streams(3) / "init"
SHAPE, CLASSES = (3, 8, 12), 5
NETS = {
    "linear": Perceptron(widths=[]),
    "perceptron": Perceptron(widths=[16, 8]),
    "normed": Perceptron(widths=[16, 8], norm="layernorm", activation="gelu"),
    "resnet-A": Resnet(depth=14, width=4),
    "resnet-B": Resnet(depth=8, width=4, shortcut="B"),
    "vit": Vit(patch=4, layers=2, width=16, heads=2),
    "vit-mean": Vit(patch=2, layers=1, width=16, heads=2, pool="mean", norm="rmsnorm", mlp="gated"),
}


@pytest.fixture(params=NETS)
def net(request):
    return NETS[request.param]


def some(n=4, shape=SHAPE, dtype=torch.float32):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def shaken(net):
    """A module in float64 with no number left at nought or one."""
    model, g = net.build(SHAPE, CLASSES, STREAMS).double(), torch.Generator().manual_seed(1)
    for p in model.parameters():
        p.data += 0.3 * torch.randn(p.shape, generator=g, dtype=p.dtype)
    return model, {k: v.detach().numpy() for k, v in model.state_dict().items()}


def test_every_net_on_images_is_here():
    names = {name for name in known("net") if getattr(lookup("net", name), "inputs", "tokens") == "images"}
    assert names == {to_spec(net)["name"] for net in NETS.values()}
    for name in names:
        cls = lookup("net", name)
        assert cls(**cls.example).build((1, 8, 8), 2, STREAMS)(some(2, (1, 8, 8))).shape == (2, 2)


# ----------------------------------------------------------------------------------------------- against naive ones


def normalised(x, eps):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)


def test_perceptron():
    model, p = shaken(Perceptron(widths=[7, 6], norm="layernorm", activation="relu2"))
    x = some(dtype=torch.float64)
    h = x.numpy().reshape(4, -1)
    for n in range(2):
        h = h @ p[f"maps.{n}.weight"].T + p[f"maps.{n}.bias"]
        h = normalised(h, 1e-5) * p[f"norms.{n}.weight"] + p[f"norms.{n}.bias"]
        h = np.maximum(h, 0) ** 2
    assert np.abs(model(x).detach().numpy() - (h @ p["head.weight"].T + p["head.bias"])).max() < 1e-10


def convolved(x, weight, stride):
    """[B, in, H, W] → [B, out, H / stride, W / stride], nought around the image."""
    k = weight.shape[-1]
    border = np.pad(x, ((0, 0), (0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    H, W = (-(-side // stride) for side in x.shape[2:])
    y = np.zeros((len(x), len(weight), H, W))
    for i in range(H):
        for j in range(W):
            window = border[:, :, i * stride : i * stride + k, j * stride : j * stride + k]
            y[:, :, i, j] = window.reshape(len(x), -1) @ weight.reshape(len(weight), -1).T
    return y


@pytest.mark.parametrize("shortcut", ["A", "B"])
@pytest.mark.parametrize("shape", [SHAPE, (3, 7, 5)])
def test_resnet(shortcut, shape):
    model, p = shaken(Resnet(depth=14, width=2, shortcut=shortcut))
    x = some(shape=shape, dtype=torch.float64)

    def conv(x, name, stride=1):
        y = convolved(x, p[name + ".conv.weight"], stride)
        y = (y - y.mean((0, 2, 3), keepdims=True)) / np.sqrt(y.var((0, 2, 3), keepdims=True) + 1e-5)  # while training
        gain, bias = (p[f"{name}.norm.{kind}"][:, None, None] for kind in ("weight", "bias"))
        return y * gain + bias

    h = np.maximum(conv(x.numpy(), "stem"), 0)
    for n in range(6):
        stride = 2 if n in (2, 4) else 1
        past = h
        if stride == 2 and shortcut == "A":
            past = np.zeros((len(h), 2 * h.shape[1], *(-(-side // 2) for side in h.shape[2:])))
            past[:, : h.shape[1]] = h[:, :, ::2, ::2]
        elif stride == 2:
            past = conv(h, f"blocks.{n}.shortcut", 2)
        inner = np.maximum(conv(h, f"blocks.{n}.first", stride), 0)
        h = np.maximum(past + conv(inner, f"blocks.{n}.second"), 0)
    expected = h.mean((2, 3)) @ p["head.weight"].T + p["head.bias"]
    assert np.abs(model(x).detach().numpy() - expected).max() < 1e-10


@pytest.mark.parametrize("pool", ["token", "mean"])
def test_vit(pool):
    spec = Vit(patch=4, layers=2, width=8, heads=2, pool=pool)
    model, p = shaken(spec)
    x = some(dtype=torch.float64)
    erf = np.vectorize(math.erf)

    def affine(h, name):
        return h @ p[name + ".weight"].T + p[name + ".bias"]

    def norm(h, name):
        return normalised(h, 1e-6) * p[name + ".weight"] + p[name + ".bias"]

    for image_, logits in zip(x.numpy(), model(x).detach().numpy()):
        rows = [image_[:, i : i + 4, j : j + 4].ravel() for i in (0, 4) for j in (0, 4, 8)]  # patches, as read
        h = affine(np.array(rows), "patches")
        h = np.vstack((p["token"], h)) if pool == "token" else h
        h = h + p["positions.weight"]
        for n in range(2):
            b = f"blocks.{n}."
            qkv, heads = affine(norm(h, b + "norm"), b + "mixer.qkv"), []
            for a in range(2):
                q, k, v = (qkv[:, s * 8 + a * 4 : s * 8 + a * 4 + 4] for s in range(3))
                weights = np.exp(q @ k.T / 2)
                heads.append(weights / weights.sum(1, keepdims=True) @ v)
            h = h + affine(np.hstack(heads), b + "mixer.out")
            hidden = affine(norm(h, b + "mlp_norm"), b + "mlp.up")
            h = h + affine(hidden * (1 + erf(hidden / math.sqrt(2))) / 2, b + "mlp.down")
        h = norm(h, "norm")
        assert np.abs(affine(h[0] if pool == "token" else h.mean(0), "head") - logits).max() < 1e-10


# ------------------------------------------------------------------------------------------------------------ sizes


def test_counts_that_were_published():
    """He et al. (2016), table 6, in millions; the exact one is that of Keras' example, with 1 × 1 convolutions."""
    published = {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7}
    for depth, millions in published.items():
        count = Resnet(depth=depth).count((3, 32, 32), 10)
        assert round(count / 1e6, 1 if depth == 110 else 2) == millions
    assert Resnet(depth=20, shortcut="B").count((3, 32, 32), 10) == 272_474
    small = Vit(patch=16, layers=12, width=384, heads=6)
    assert small.count((3, 224, 224), 1000) == 22_050_664  # timm's vit_small_patch16_224


def test_counts_are_of_the_module(net):
    model = net.build(SHAPE, CLASSES, STREAMS).eval()
    assert net.count(SHAPE, CLASSES) == sum(p.numel() for p in model.parameters())
    with FlopCounterMode(display=False) as counted, sdpa_kernel(SDPBackend.MATH):
        model(some(1))
    assert net.flops(SHAPE, CLASSES) == counted.get_total_flops()


def test_counts_of_odd_images():
    for shortcut in "AB":
        net = Resnet(depth=8, width=2, shortcut=shortcut)
        with FlopCounterMode(display=False) as counted:
            net.build((1, 7, 5), 3, STREAMS)(some(1, (1, 7, 5)))
        assert net.flops((1, 7, 5), 3) == counted.get_total_flops()


def test_describes_itself(net):
    (size, work), side = net.describe(), 32
    assert size == f"{net.count((3, side, side), 10):,} parameters, for images of 3 × 32 × 32 and 10 classes"
    assert work == f"{net.flops((3, side, side), 10):,} FLOPs forward for one of them"


def test_describes_itself_with_patches_that_do_not_fit():
    assert "3 × 35 × 35" in Vit(patch=7, layers=1, width=8, heads=2).describe()[0]


# --------------------------------------------------------------------------------------------------- house duties


def test_shapes(net):
    model = net.build(SHAPE, CLASSES, STREAMS)
    assert model(some()).shape == (4, CLASSES)
    assert model(some()).dtype == torch.float32
    assert model.eval()(some(1)).shape == (1, CLASSES)


def test_flat_features():
    assert Perceptron(widths=[8]).build((20,), 2, STREAMS)(torch.zeros(3, 20)).shape == (3, 2)


def test_depends_on_its_streams_alone(net):
    states = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state(), random.getstate()
        model = net.build(SHAPE, CLASSES, STREAMS)
        model(some()).sum().backward()
        states.append(net.build(SHAPE, CLASSES, STREAMS).state_dict())
        assert torch.equal(before[0], torch.get_rng_state())
        assert before[1] == random.getstate()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    other = net.build(SHAPE, CLASSES, Streams(4)).state_dict()
    assert not torch.equal(other["head.weight"], states[0]["head.weight"])


@pytest.mark.parametrize("net", [Perceptron(widths=[256, 256]), Resnet(depth=20, shortcut="B")], ids=lambda n: repr(n))
def test_start_values_are_hes(net):
    for name, value in net.build((3, 8, 8), 64, STREAMS).named_parameters():
        if value.dim() == 1:
            assert (value == ("norm.weight" in name)).all()
            continue
        fan = value.shape[0] * value[0, 0].numel() if value.dim() == 4 else value.shape[1]
        spread = math.sqrt(2 / fan)
        assert abs(value.std() - spread) < 5 * spread / math.sqrt(2 * value.numel()), name


def test_every_parameter_learns(net):
    model = net.build(SHAPE, CLASSES, STREAMS)
    torch.nn.functional.cross_entropy(model(some(8)), torch.arange(8) % CLASSES).backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name
        assert p.grad.abs().max() > 0, name


def stripes(step, n=64):
    """Noisy horizontal stripes (class 0) and vertical ones (class 1), bright or dark first; every patch shows which."""
    rng = np.random.default_rng(step)
    y, sign = rng.integers(0, 2, n), rng.choice([-1, 1], n)
    i, j = np.indices((8, 8))
    clean = np.where(y[:, None, None] == 0, (-1) ** i, (-1) ** j) * sign[:, None, None]
    x = clean + rng.normal(0, 0.5, (n, 8, 8))
    return torch.from_numpy(x[:, None]).float(), torch.from_numpy(y)


@pytest.mark.parametrize("name", ["perceptron", "normed", "resnet-A", "resnet-B", "vit", "vit-mean"])
def test_learns_stripes(name):
    """No linear classifier can: every class is its own negative."""
    model = NETS[name].build((1, 8, 8), 2, STREAMS)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(50):
        x, y = stripes(step)
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, y = stripes(1000, 500)
    with torch.no_grad():
        assert (model.eval()(x).argmax(-1) == y).float().mean() > 0.95


def test_specification_returns_the_same_part(net):
    assert build("net", to_spec(net)) == net


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "resnet", "depth": 21}, r"depth 21 is no 6n \+ 2 .*; choose 20 or 26"),
        ({"name": "resnet", "depth": 2}, "depth: input should be greater than or equal to 8"),
        ({"name": "resnet", "depth": 20, "shortcut": "C"}, "shortcut: 'C' is none of A, B"),
        ({"name": "perceptron", "widths": [8, 0]}, "widths.1: input should be greater than 0"),
        ({"name": "perceptron", "widths": [8], "activation": "rellu"}, "did you mean 'relu'"),
        ({"name": "perceptron", "widths": [8], "norm": "layernrm"}, "did you mean 'layernorm'"),
        ({"name": "vit", "patch": 4, "layers": 1, "width": 9, "heads": 2}, "width 9 is no multiple of 2 heads"),
        ({"name": "vit", "patch": 0, "layers": 1, "width": 8, "heads": 2}, "patch: input should be greater than 0"),
    ],
)
def test_bad_fields_are_refused(spec, message):
    with pytest.raises(SpecError, match=message):
        build("net", spec)


def test_images_that_do_not_fit_are_refused():
    fact = "images of 8 × 10 pixels are not made of whole patches of 4 × 4; choose a patch that divides"
    with pytest.raises(SpecError, match=fact):
        NETS["vit"].build((3, 8, 10), 2, STREAMS)
    for shape in [(8, 8), (0, 8, 8), (64,)]:
        with pytest.raises(SpecError, match="is no shape of images: give"):
            image(shape)
        with pytest.raises(SpecError, match="is no shape of images"):
            NETS["resnet-A"].build(shape, 2, STREAMS)
