"""What Canon costs: a training step of the decoder with it and without, and the operator against its alternatives.

Arms alternate within one process, in a new order every round, and are timed by the CPU time of the thread, so that what
else the machine does falls on all alike. Ratios are medians over rounds of the ratio within a round. The placebo is the
reference once more: how far its ratio lies from 1 is how far any ratio here can be trusted.

    python benchmarks/canon.py [--rounds 60] [--width 64 --layers 2 --heads 2 --time 64 --batch 32]
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: spinning threads on a shared machine spoil every time

import argparse
import random
import statistics
import time

import torch
from torch.nn.functional import conv1d, cross_entropy

from airtrack.core.streams import Streams
from airtrack.nets.canon import Canon, shifted_sum
from airtrack.nets.decoder import Decoder
from airtrack.optim.adamw import AdamW

torch.set_num_threads(1)
VOCAB = 64


def step(size, **fields):
    """One training step, forward, backward and fused AdamW, as a function without arguments; and its parameters."""
    spec = Decoder(layers=size.layers, width=size.width, heads=size.heads, **fields)
    model = spec.build(VOCAB, Streams(0), length=size.time)
    optimizer = AdamW(lr=1e-3).build(model)
    ids = torch.randint(VOCAB, (size.batch, size.time + 1), generator=torch.Generator().manual_seed(0))
    x, y = ids[:, :-1].contiguous(), ids[:, 1:].flatten()

    def run():
        loss = cross_entropy(model(x).flatten(0, 1), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return run


def operator(f, batch, length, width):
    """Forward and backward of y = f(x, weight)."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(batch, length, width, generator=g, requires_grad=True)
    weight = torch.randn(4, width, generator=g, requires_grad=True)
    out = torch.randn(batch, length, width, generator=g)

    def run():
        x.grad = weight.grad = None
        f(x, weight).backward(out)

    return run


def convolution(x, weight):
    kernel = weight.flip(0).T.unsqueeze(1)
    return x + conv1d(x.transpose(1, 2), kernel, padding=3, groups=x.shape[2])[..., : x.shape[1]].transpose(1, 2)


def custom(x, weight):
    return torch.func.functional_call(Canon(x.shape[2]), {"weight": weight}, x)


def race(arms, rounds):
    """Arm → times in milliseconds, one a round; a few rounds of warming up are dropped."""
    times, names, order = {name: [] for name in arms}, list(arms), random.Random(0)
    for number in range(rounds + 5):
        order.shuffle(names)  # a fixed order would always give the same arm the cache that the same other one left
        for name in names:
            start = time.thread_time_ns()
            arms[name]()
            if number >= 5:
                times[name].append((time.thread_time_ns() - start) / 1e6)
    return times


def table(title, times):
    print(f"\n{title}\n{'':24}  median ms   ratio to the first (quartiles)")
    reference = next(iter(times.values()))
    for name, own in times.items():
        low, middle, high = statistics.quantiles([a / b for a, b in zip(own, reference)], n=4)
        print(f"{name:24}  {statistics.median(own):9.3f}   {middle:.2f}  ({low:.2f} … {high:.2f})")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in {"rounds": 60, "width": 64, "layers": 2, "heads": 2, "time": 64, "batch": 32}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    size = parser.parse_args()
    arms = {"plain": step(size), "placebo: plain again": step(size)}
    arms |= {f"canon {places}": step(size, canon=places) for places in ("A", "AC", "ABCD")}
    title = f"decoder, width {size.width}, {size.layers} layers, {size.batch} × {size.time} tokens: a training step"
    table(title, race(arms, size.rounds))
    for width in (size.width, 3 * size.width, 16 * size.width // 3 // 16 * 16):
        shape = (size.batch, size.time, width)
        ways = {"custom function": custom, "placebo: custom again": custom}
        ways |= {"shifted sum": lambda x, weight: x + shifted_sum(x, weight), "conv1d, groups": convolution}
        times = race({name: operator(f, *shape) for name, f in ways.items()}, size.rounds)
        table(f"the operator on {shape}, forward and backward", times)


if __name__ == "__main__":
    main()
