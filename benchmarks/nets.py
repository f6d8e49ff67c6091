"""What the nets cost on a CPU: the decoder against others' code, Canon against none, linear attention against softmax.

Arms alternate within one process, in a new order every round, and are timed by the CPU time of the thread, so that what
else the machine does falls on all alike. Ratios are medians over rounds of the ratio within a round. The placebo is the
reference once more: how far its ratio lies from 1 is how far any ratio here can be trusted. Trainings side by side have
a script of their own, together.py; GPUs have gpu.py.

    python benchmarks/nets.py [--rounds 25] [--quick]
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: spinning threads on a shared machine spoil every time

import argparse
import random
import statistics
import time
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn.functional import conv1d, cross_entropy, logsigmoid, normalize, scaled_dot_product_attention, silu

from airtrack.core.streams import Streams
from airtrack.nets.canon import Canon, shifted_sum
from airtrack.nets.decoder import Decoder
from airtrack.nets.mixers.deltanet import delta_rule
from airtrack.nets.mixers.gla import gated_linear
from airtrack.nets.mixers.mamba2 import state_space
from airtrack.optim.adamw import AdamW

torch.set_num_threads(1)
WARM = 3  # rounds that are dropped


@dataclass
class Size:
    """Of a decoder and its batch. `hidden` is the gated MLP's: 8/3 of the width, in eights."""

    width: int
    layers: int
    heads: int
    batch: int
    length: int = 64
    vocab: int = 64

    @property
    def hidden(self):
        return 8 * self.width // 3 // 8 * 8

    def __str__(self):
        return f"width {self.width}, {self.layers} layers, {self.batch} × {self.length} tokens"


# ---------------------------------------------------------------------------------------------- the model of a person


class Layer(nn.Module):
    """Llama's, with q, k, v in one product, and gate and up in one: what one writes who knows PyTorch."""

    def __init__(self, width, heads, hidden):
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = nn.RMSNorm(width, 1e-6), nn.RMSNorm(width, 1e-6)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.gate_up, self.down = nn.Linear(width, 2 * hidden, bias=False), nn.Linear(hidden, width, bias=False)

    def forward(self, x, cos, sin):
        B, T, C = x.shape
        q, k, v = self.qkv(self.attention_norm(x)).view(B, T, 3 * self.heads, -1).transpose(1, 2).chunk(3, 1)
        y = scaled_dot_product_attention(turned(q, cos, sin), turned(k, cos, sin), v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(B, T, C))
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, -1)
        return x + self.down(silu(gate) * up)


def turned(x, cos, sin):
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


class ByHand(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.tokens = nn.Embedding(size.vocab, size.width)
        self.layers = nn.ModuleList(Layer(size.width, size.heads, size.hidden) for _ in range(size.layers))
        self.norm, self.head = nn.RMSNorm(size.width, 1e-6), nn.Linear(size.width, size.vocab, bias=False)
        half = size.width // size.heads // 2
        angles = torch.arange(size.length)[:, None] * 10_000.0 ** (-torch.arange(half) / half)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, ids):
        x = self.tokens(ids)
        for layer in self.layers:
            x = layer(x, self.cos[: ids.shape[1]], self.sin[: ids.shape[1]])
        return self.head(self.norm(x))


def of_transformers(size):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=size.vocab,
        hidden_size=size.width,
        intermediate_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        max_position_embeddings=size.length,
        use_cache=False,
    )
    return LlamaForCausalLM(config)


def ours(size, **fields):
    spec = Decoder(layers=size.layers, width=size.width, heads=size.heads, **fields)
    return spec.build(size.vocab, Streams(0), length=size.length)


# -------------------------------------------------------------------------------------------------- what is raced


def batch(size):
    """Inputs [B, T] and labels [B · T]."""
    ids = torch.randint(size.vocab, (size.batch, size.length + 1), generator=torch.Generator().manual_seed(0))
    return ids[:, :-1].contiguous(), ids[:, 1:].flatten()


def step(size, model, read=lambda y: y):
    """One training step, forward, backward and fused AdamW, as a function without arguments."""
    optimizer, (x, y) = AdamW(lr=1e-3).build(model), batch(size)

    def run():
        loss = cross_entropy(read(model(x)).flatten(0, 1), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return run


def products(size, model):
    """The matrix products of a step's linear maps and nothing else: no model of this shape takes less time."""
    maps = [m.weight.detach() for m in model.modules() if isinstance(m, nn.Linear)]
    rows = size.batch * size.length
    tensors = [(torch.ones(rows, w.shape[1]), w, torch.ones(rows, w.shape[0])) for w in maps]

    def run():
        for x, w, g in tensors:
            x @ w.T, g @ w, g.T @ x

    return run


def kernels(size, model):
    """The least that a step asks of PyTorch, each kernel called by itself: those products, attention, SwiGLU, turns,
    norms, residual stream, loss, embedding, optimizer. No copies, no sums of gradients, no autograd."""
    aten, generator = torch.ops.aten, torch.Generator().manual_seed(0)
    rows, width, shape = size.batch * size.length, size.width, [size.batch, size.length, size.heads, -1]

    def noise(*shape):
        return torch.randn(shape, generator=generator)

    maps, optimizer, (ids, labels) = products(size, model), AdamW(lr=1e-3).build(model), batch(size)
    x, y, gain, table = noise(rows, width), noise(rows, width), torch.ones(width), model.tokens.weight.detach()
    q, k, v, o = (noise(rows, width).view(shape).transpose(1, 2) for _ in range(4))
    pairs = torch.view_as_complex(noise(rows, width, 2))  # of q and k: half as many pairs as dimensions, twice
    gate, up, down, logits = (
        noise(rows, size.hidden),
        noise(rows, size.hidden),
        noise(rows, size.hidden),
        noise(rows, size.vocab),
    )
    for p in model.parameters():
        p.grad = torch.zeros_like(p)

    def normed():
        aten._fused_rms_norm(x, [width], gain, 1e-6)
        # RMSNorm has no backward kernel on a CPU; layer norm's does no less
        aten.native_layer_norm_backward(y, x, [width], x[:, :1], x[:, 1:2], gain, None, [True, True, False])

    def run():
        maps()
        for _ in range(size.layers):
            heads, sums = aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, True)
            aten._scaled_dot_product_flash_attention_for_cpu_backward(o, q, k, v, heads, sums, 0.0, True)
            open = silu(gate)
            open * up, down * open, aten.silu_backward(down * up, gate)
            pairs * pairs, pairs * pairs
            normed(), normed()
            x + y, x + y, x + y, x + y
        normed()
        likely = torch.log_softmax(logits, -1)
        aten.nll_loss_forward(likely, labels, None, 1, -100), likely.exp() - logits
        aten.embedding(table, ids), aten.embedding_dense_backward(y.view(*ids.shape, width), ids, len(table), -1, False)
        optimizer.step()

    return run


def both_ways(f, *inputs):
    """Forward and backward of f(*inputs), which need a gradient, as a function without arguments."""
    inputs = [x.detach().requires_grad_() for x in inputs]
    out = torch.randn(f(*inputs).shape, generator=torch.Generator().manual_seed(1)).to(inputs[0])

    def run():
        torch.autograd.grad(f(*inputs), inputs, out)

    return run


def convolution(x, weight):
    kernel = weight.flip(0).T.unsqueeze(1)
    return x + conv1d(x.transpose(1, 2), kernel, padding=3, groups=x.shape[2])[..., : x.shape[1]].transpose(1, 2)


def softmax(q, k, v):
    return scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v)), is_causal=True).transpose(1, 2)


def cores(B, T, H, K):
    """Softmax attention and the cores of linear mixers, each with its inputs, of the same q, k and v [B, T, H, K]."""
    generator = torch.Generator().manual_seed(0)
    q, k, v, g = (torch.randn(B, T, H, K, generator=generator) for _ in range(4))
    decay, beta = logsigmoid(g), torch.rand(B, T, H, generator=generator)
    short = normalize(q, dim=-1), normalize(k, dim=-1)
    return {
        "softmax (SDPA)": (softmax, (q, k, v)),
        "GLA": (lambda *xs: gated_linear(*xs)[0], (q, k, v, decay / 16)),
        "Mamba2 (SSD)": (lambda *xs: state_space(*xs)[0], (q[:, :, 0], k[:, :, 0], v, decay[..., 0])),
        "gated DeltaNet": (lambda *xs: delta_rule(*xs)[0], (*short, v, decay[..., 0], beta)),
    }


# ---------------------------------------------------------------------------------------------- races and tables


def race(arms, rounds):
    """Arm → times in milliseconds, one a round, after rounds of warming up."""
    times, names, order = {name: [] for name in arms}, list(arms), random.Random(0)
    for number in range(rounds + WARM):
        order.shuffle(names)  # a fixed order would always give the same arm the cache that the same other one left
        for name in names:
            start = time.thread_time_ns()
            arms[name]()
            if number >= WARM:
                times[name].append((time.thread_time_ns() - start) / 1e6)
    return times


def table(title, times, asked=None):
    """asked  arm → "≤ 1.5" or "≥ 1.3": what its ratio is to be"""
    print(f"\n{title}\n{'':26}  median ms   ratio to the first (quartiles)   asked")
    reference = next(iter(times.values()))
    for name, own in times.items():
        low, middle, high = statistics.quantiles([a / b for a, b in zip(own, reference)], n=4)
        row = f"{name:26}  {statistics.median(own):9.3f}   {middle:5.2f}  ({low:.2f} … {high:.2f})"
        if bound := (asked or {}).get(name):
            sign, value = bound.split()
            met = middle <= float(value) if sign == "≤" else middle >= float(value)
            row = f"{row:62}  {bound}  {'met' if met else 'NOT MET'}"
        print(row, flush=True)


def decoders(sizes, rounds, bounded=True):
    print("\nA training step: a ratio is how many times as fast the decoder is")
    for size in sizes:
        models = {"decoder": ours(size), "placebo: decoder again": ours(size), "by hand": ByHand(size)}
        arms = {name: step(size, model) for name, model in models.items()}
        asked = {"by hand": "≥ 1.0"}
        try:
            models["transformers"] = of_transformers(size)
        except ImportError:
            print("transformers is not installed")
        else:
            arms["transformers"] = step(size, models["transformers"], lambda y: y.logits)
            asked["transformers"] = "≥ 1.3"
        arms["matrix products alone"] = products(size, models["decoder"])
        arms["PyTorch's kernels alone"] = kernels(size, ours(size))
        counts = {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()}
        assert len(set(counts.values())) == 1, counts
        table(f"{size}, {counts['decoder']:,} parameters", race(arms, rounds), asked if bounded else None)


def canon(sizes, rounds):
    print("\nA training step with Canon layers")
    for size, bound in sizes:
        arms = {"plain": step(size, ours(size)), "placebo: plain again": step(size, ours(size))}
        arms |= {f"canon {places}": step(size, ours(size, canon=places)) for places in ("A", "AC", "ABCD")}
        table(str(size), race(arms, rounds), {"canon ABCD": bound} if bound else None)


def operators(shapes, rounds):
    print("\nThe operator of a Canon layer, forward and backward")
    for shape in shapes:
        layer, generator = Canon(shape[2]), torch.Generator().manual_seed(0)
        x, weight = torch.randn(shape, generator=generator), torch.randn(4, shape[2], generator=generator)
        custom = partial(lambda layer, x, weight: torch.func.functional_call(layer, {"weight": weight}, x), layer)
        ways = {"Canon": custom, "placebo: Canon again": custom}
        ways |= {"shifted sum": lambda x, weight: x + shifted_sum(x, weight), "conv1d, groups": convolution}
        times = race({name: both_ways(f, x, weight) for name, f in ways.items()}, rounds)
        table(f"[B, T, D] = {list(shape)}", times)


def linear(shapes, rounds):
    print("\nLinear attention, forward and backward")
    for shape in shapes:
        arms = {name: both_ways(f, *inputs) for name, (f, inputs) in cores(*shape).items()}
        softmax, *others = arms
        bound = "≤ 2.0" if shape[1] == 128 else "≤ 1.0" if shape[1] >= 2048 else None
        times = race({softmax: arms[softmax], "placebo: softmax again": arms[softmax]} | arms, rounds)
        table("B {}, T {}, {} heads of {}".format(*shape), times, dict.fromkeys(others, bound))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that all of it runs")
    options = parser.parse_args()
    if options.quick:
        tiny = Size(16, 1, 2, batch=2, length=8)
        rounds = 2
        decoders([tiny], rounds, bounded=False)
        canon([(tiny, None)], rounds)
        operators([(2, 8, 16)], rounds)
        linear([(1, 24, 2, 8)], rounds)
        return
    small, middle, large = Size(64, 2, 2, batch=32), Size(128, 4, 4, batch=16), Size(256, 4, 4, batch=8)
    decoders([Size(32, 1, 2, batch=n, length=49) for n in (8, 32)] + [small, middle, large], options.rounds)
    canon([(small, "≤ 1.5"), (middle, None), (large, "≤ 1.25")], options.rounds)
    operators([(32, 64, 64), (32, 64, 192), (32, 64, 336)], options.rounds)
    linear([(B, T, 2, K) for K in (32, 64) for B, T in ((16, 128), (4, 512), (1, 2048), (1, 4096))], options.rounds)


if __name__ == "__main__":
    main()
