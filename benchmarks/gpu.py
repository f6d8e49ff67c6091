"""What the nets cost on a GPU: throughput, Canon layers and their kernel, linear mixers with and without fla's kernels.

Arms alternate within one process, in a new order every round, and are timed by CUDA events. Ratios are medians over
rounds of the ratio within a round. The placebo is the reference once more: how far its ratio lies from 1 is how far any
ratio here can be trusted. Models are in bfloat16 by autocast; "compiled" is torch.compile of each of their blocks.

    python benchmarks/gpu.py [--rounds 20] [--batch 16] [--quick] [--device cpu]

`--quick` takes tiny sizes, to see that all of it runs; with `--device cpu` it does so without a GPU, and says nothing
about speed. Without a GPU the script otherwise says so and ends.
"""

from nets import ByHand, Size, batch, cores, ours  # isort: skip (it sets the number of threads before torch is imported)

import argparse
import random
import statistics
import time
from functools import partial
from importlib.util import find_spec
from unittest.mock import patch

import torch
from torch.nn.functional import cross_entropy

from airtrack.nets.canon import Canon, shifted_sum
from airtrack.nets.decoder import Decoder
from airtrack.nets.mixers import deltanet, gla, mamba2
from airtrack.optim.adamw import AdamW

WARM = 5  # rounds that are dropped, in which kernels are compiled and chosen
PEAKS = {  # dense bfloat16 products with sums in single precision, in 1e12 operations a second: the makers' data sheets
    "H200": 989,
    "H100 PCIe": 756,
    "H100 NVL": 835,
    "H100": 989,
    "A100": 312,
    "L40S": 362,
    "L4": 121,
    "RTX 4090": 165,
    "RTX 3090": 71,
}
PUBLISHED = {  # Physics of Language Models 4.1, footnote 11: H100, a naive implementation
    "forward": {"ABCD": 12.4, "AC": 5.8},
    "backward": {"ABCD": 14.1, "AC": 5.8},
    "generation": {"ABCD": 20.8, "AC": 7.0},
}


def nothing():
    return None


def race(arms, rounds, device, warm=WARM):
    """Arm → times in milliseconds. An arm is (prepare, go): only go(prepare()) is timed."""
    times, names, order = {name: [] for name in arms}, list(arms), random.Random(0)
    for number in range(rounds + warm):
        order.shuffle(names)
        for name in names:
            prepare, go = arms[name]
            made = () if (state := prepare()) is None else (state,)
            spent = clocked(partial(go, *made), device)
            if number >= warm:
                times[name].append(spent)
    return times


def clocked(f, device):
    if device == "cpu":
        start = time.thread_time_ns()
        f()
        return (time.thread_time_ns() - start) / 1e6
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    f()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end)


def table(title, times, head="", extra=lambda name, milliseconds, ratio: ""):
    """`extra` makes what else there is to say in the row of an arm, `head` is what stands above it."""
    print(f"\n{title}\n{'':30}  median ms   ratio to the first (quartiles)   {head}")
    reference = next(iter(times.values()))
    for name, own in times.items():
        low, middle, high = statistics.quantiles([a / b for a, b in zip(own, reference)], n=4)
        row = f"{name:30}  {statistics.median(own):9.3f}   {middle:5.2f}  ({low:.2f} … {high:.2f})"
        print(f"{row:66}  {extra(name, statistics.median(own), middle)}".rstrip(), flush=True)


def peak(device, side=8192):
    """Operations a second, and where the number comes from."""
    if device == "cuda":
        words = f" {torch.cuda.get_device_name()} ".replace("-", " ")
        for part, value in PEAKS.items():
            if f" {part} " in words:
                return value * 1e12, f"{value} TFLOP/s of the data sheet of {part}"
    a = torch.ones(side, side, device=device, dtype=torch.bfloat16)
    spent = min(race({"": (nothing, lambda: a @ a)}, 10, device)[""])
    return 2 * side**3 / spent * 1e3, f"{2e-9 * side**3 / spent:.3g} TFLOP/s, measured: products of {side} × {side}"


# --------------------------------------------------------------------------------------------------------- training


def forward(size, model, device):
    """The loss, as a function without arguments."""
    x, y = (part.to(device) for part in batch(size))

    def run():
        with torch.autocast(device, torch.bfloat16):
            return cross_entropy(model(x).flatten(0, 1), y)

    return run


def step(size, model, device):
    loss, optimizer = forward(size, model, device), AdamW(lr=1e-3).build(model)

    def run():
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return nothing, run


def built(size, device, fast=False, **fields):
    """The bench's decoder, its blocks compiled if asked for."""
    model = ours(size, **fields).to(device)
    if fast:
        for block in model.blocks:
            block.compile(dynamic=False)
    return model


def training(size, device, rounds, fast):
    arms = {"decoder": step(size, built(size, device), device)}
    arms["placebo: decoder again"] = step(size, built(size, device), device)
    arms["by hand"] = step(size, ByHand(size).to(device), device)
    arms["canon ABCD"] = step(size, built(size, device, canon="ABCD"), device)
    if fast:
        hand = ByHand(size).to(device)
        for layer in hand.layers:
            layer.compile(dynamic=False)
        arms["compiled: decoder"] = step(size, built(size, device, fast=True), device)
        arms["compiled: by hand"] = step(size, hand, device)
        arms["compiled: canon ABCD"] = step(size, built(size, device, fast=True, canon="ABCD"), device)
    (most, source), plain = (
        peak(device, 8192 if device == "cuda" else 256),
        {"layers": size.layers, "heads": size.heads},
    )
    work = {
        canon: Decoder(width=size.width, canon=canon, **plain).flops(size.vocab, size.length) for canon in ("", "ABCD")
    }

    def extra(name, milliseconds, ratio):
        rows = size.batch / milliseconds * 1e3
        used = rows * work["ABCD" if name.endswith("ABCD") else ""] / most
        return f"{rows * size.length:11,.0f}  {used:6.1%}"

    title = f"A training step, {size}, vocabulary {size.vocab:,}\nMFU: attention in full, of {source}"
    table(title, race(arms, rounds, device), "tokens/s     MFU", extra)


def overhead(size, device, rounds, fast):
    """Of Canon layers in the whole model, beside the published."""
    for compiles in (False, True)[: 1 + fast]:
        models = {"plain": "", "placebo: plain again": "", "canon AC": "AC", "canon ABCD": "ABCD"}
        models = {name: built(size, device, compiles, canon=canon) for name, canon in models.items()}
        losses = {name: forward(size, model, device) for name, model in models.items()}
        ways = {
            "forward": {name: (nothing, loss) for name, loss in losses.items()},
            "backward": {name: (loss, lambda made: made.backward()) for name, loss in losses.items()},
        }
        if not compiles:
            ids, new = batch(size)[0][:, : size.length // 2].to(device), min(64, size.length // 2)
            ways["generation"] = {
                name: (nothing, partial(generate, model, ids, new, device)) for name, model in models.items()
            }
        for way, arms in ways.items():

            def extra(name, milliseconds, ratio, way=way):
                said = PUBLISHED[way].get(name.removeprefix("canon "))
                return f"{ratio - 1:+7.1%}" + (f"   {said / 100:+.1%}" if said else "")

            title = f"Canon, {way}{', compiled' if compiles else ''}: {size}"
            table(title, race(arms, rounds, device), "overhead  published (H100)", extra)


def generate(model, ids, new, device):
    with torch.autocast(device, torch.bfloat16):
        model.generate(ids, new)


# ------------------------------------------------------------------------------------------------------- operators


def both_ways(f, inputs, device, dtype, repeats):
    """Forward and backward of f(*inputs), several times over: a single one is launched too slowly to be timed."""
    inputs = [x.to(device, dtype).requires_grad_() for x in inputs]
    out = torch.ones_like(f(*inputs))

    def run():
        for _ in range(repeats):
            torch.autograd.grad(f(*inputs), inputs, out)

    return nothing, run


def operator(shapes, device, rounds, fast):
    kernel = find_spec("triton") is not None and device == "cuda"
    print(f"\nThe Canon operator: Triton {'is' if kernel else 'is not'} used")
    for shape in shapes:
        generator, layer = torch.Generator().manual_seed(0), Canon(shape[2]).to(device)
        inputs = torch.randn(shape, generator=generator), torch.randn(4, shape[2], generator=generator)

        def plain(x, weight):
            return x + shifted_sum(x, weight)

        def own(x, weight, layer=layer):
            return torch.func.functional_call(layer, {"weight": weight}, x)

        ways = {"Canon": own, "placebo: Canon again": own, "shifted sum": plain}
        if fast:
            ways["shifted sum, compiled"] = torch.compile(plain, dynamic=False)
        if device == "cuda" and find_spec("causal_conv1d"):
            ways["causal-conv1d"] = fused_convolution
        arms = {name: both_ways(f, inputs, device, torch.bfloat16, 10) for name, f in ways.items()}
        table(f"[B, T, D] = {list(shape)}, forward and backward, 10 times", race(arms, rounds, device))


def fused_convolution(x, weight):
    from causal_conv1d import causal_conv1d_fn

    return x + causal_conv1d_fn(x.transpose(1, 2), weight.flip(0).T.contiguous()).transpose(1, 2)


def mixers(shapes, device, rounds):
    fla = device == "cuda" and find_spec("fla") is not None
    print(f"\nLinear mixers: fla {'is' if fla else 'is not'} used")
    for shape in shapes:
        arms = {}
        for name, (f, inputs) in cores(*shape).items():
            if not arms:
                arms = {name: both_ways(f, inputs, device, torch.bfloat16, 1)}
                arms["placebo: softmax again"] = arms[name]
                continue
            arms[f"{name}, plain"] = both_ways(partial(without_fla, f), inputs, device, torch.bfloat16, 1)
            if fla:
                arms[f"{name}, fla"] = both_ways(f, inputs, device, torch.bfloat16, 1)
        table("B {}, T {}, {} heads of {}, forward and backward".format(*shape), race(arms, rounds, device))


def without_fla(f, *inputs):
    def none(*_):
        return None

    with (
        patch.object(gla, "kernel", none),
        patch.object(mamba2, "kernel", none),
        patch.object(deltanet, "kernel", none),
    ):
        return f(*inputs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that all of it runs")
    options = parser.parse_args()
    device, rounds = options.device, 2 if options.quick else options.rounds
    if device == "cuda" and not torch.cuda.is_available():
        print("there is no GPU that this torch could use: nothing is measured")
        return
    if device == "cuda":
        print(torch.cuda.get_device_name(), "torch", torch.__version__)
    fast = device == "cuda"
    if options.quick:
        tiny = Size(16, 1, 2, batch=2, length=8)
        sizes, operators, cored = [tiny], [(2, 8, 16)], [(1, 24, 2, 16)]
    else:  # of the paper's synthetic tasks (12L768D), and one that a GPU is hardly busy with
        sizes = [Size(768, 12, 12, options.batch, 1024, 50_304), Size(256, 4, 4, 64, 256, 512)]
        operators = [(options.batch, 1024, width) for width in (768, 2304, 4096)]
        cored = [(4, T, 12, 64) for T in (512, 2048, 8192)]
    for size in sizes:
        training(size, device, rounds, fast)
        overhead(size, device, rounds, fast)
    operator(operators, device, rounds, fast)
    mixers(cored, device, rounds)


if __name__ == "__main__":
    main()
