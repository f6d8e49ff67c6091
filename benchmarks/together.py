"""Trainings side by side in one program (`airtrack.train.abreast`) against the same trainings one after the other.

Both do what a study's trials do at a step: data, gradient, clipping, fused AdamW, schedule; no judge looks. They
alternate within one process and are timed by the CPU time of the thread; ratios are medians over rounds of the ratio
within a round. The placebo is the trainings by themselves once more: how far its ratio lies from 1 is how far any
ratio here can be trusted. The last column is what a batched program could reach if calling operations cost nothing:
the time of a step over what is left of it after the time of a step on one row of two tokens.

    python benchmarks/together.py [--rounds 8] [--copies 2 4 8 16]
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: spinning threads on a shared machine spoil every time

import argparse
import random
import statistics
import time

import numpy as np
import torch

from airtrack.core.given import IGNORE, Batch, Corpus
from airtrack.core.meter import Meter
from airtrack.core.part import build
from airtrack.core.streams import Streams
from airtrack.train.abreast import _Copy, _Program

torch.set_num_threads(1)
ENDLESS = 1 << 40
RECALL = {"layers": 1, "width": 32, "heads": 2, "positions": "none", "mlp": "none", "canon": "A"}
ROTARY = {"layers": 1, "width": 32, "heads": 2}
SIZES = [  # what, net, vocabulary, rows × tokens, a loss at every so many tokens
    ("canon-recall, without MLP", RECALL, 35, (32, 97), 6),
    ("canon-recall, rope", ROTARY, 35, (32, 97), 6),
    ("canon-sites, A", {"layers": 2, "width": 32, "heads": 2, "canon": "A"}, 19, (32, 49), 6),
    ("lano-shallow", {"layers": 2, "width": 64, "heads": 4}, 5, (32, 32), 1),
    ("capacity", {"layers": 2, "width": 16, "heads": 2, "tied": True}, 133, (16, 72), 1),
    ("small batch, without MLP", RECALL, 35, (8, 49), 6),
    ("small batch, rope", ROTARY, 35, (8, 49), 6),
    ("smallest batch, without MLP", RECALL, 35, (4, 49), 6),
    ("smallest batch, rope", ROTARY, 35, (4, 49), 6),
]


def corpus(vocab, length, every):
    """Noise: one batch, made once, so that what is timed is the training."""
    kept = {}

    def make(i, n):
        if n not in kept:
            ids = np.random.Generator(np.random.Philox(key=n)).integers(1, vocab, (n, length + 1))
            kept[n] = Batch(ids[:, :-1].copy(), np.where(np.arange(length) % every == every - 1, ids[:, 1:], IGNORE))
        return kept[n]

    return Corpus(make, vocab=vocab, length=length)


def trainings(net, vocab, shape, every, k):
    """k of them, each with its own seed and learning rate."""
    rows, length = shape
    copies = []
    for seed in range(k):
        optim = {"name": "adamw", "lr": 1e-3 * (1 + seed)}
        spec = {"name": "train", "net": {"name": "decoder", **net}, "optim": optim, "batch": rows, "compile": "never"}
        given, meter = corpus(vocab, length, every), Meter(ENDLESS)
        given.metered(meter)
        copies.append(_Copy(build("recipe", spec), given, meter, Streams(seed)))
    return copies


def apart(copies):
    def step():
        for each in copies:
            each.update(each.gradient(*each.batch()))

    return step


def together(copies):
    program = _Program(copies)
    program.checked([each.batch() for each in copies])  # to the bit, or it ends here

    def step():
        for each, loss in zip(copies, program([each.batch() for each in copies])):
            each.update(loss)

    return step


def race(arms, rounds):
    """Arm → times in milliseconds, one a round; a few rounds of warming up are dropped."""
    times, names, order = {name: [] for name in arms}, list(arms), random.Random(0)
    for number in range(rounds + 2):
        order.shuffle(names)
        for name in names:
            start = time.thread_time_ns()
            arms[name]()
            if number >= 2:
                times[name].append((time.thread_time_ns() - start) / 1e6)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--copies", type=int, nargs="+", default=[2, 4, 8, 16])
    options = parser.parse_args()
    heads = "".join(f"{f'k = {k}':>8}" for k in options.copies)
    print(f"one after the other / together{'':15}ms a step{heads}{'placebo':>9}{'limit':>7}")
    for what, net, vocab, shape, every in SIZES:
        ratios, placebo = [], []
        for k in options.copies:
            size = (net, vocab, shape, every, k)
            arms = {"apart": apart(trainings(*size)), "again": apart(trainings(*size))}
            arms["together"] = together(trainings(*size))
            arms["least"] = apart(trainings(net, vocab, (1, 2), 1, 1))
            times = race(arms, options.rounds)
            ratios.append(statistics.median(a / b for a, b in zip(times["apart"], times["together"])))
            placebo += [a / b for a, b in zip(times["apart"], times["again"])]
            one, least = statistics.median(times["apart"]) / k, statistics.median(times["least"])
        label = f"{what}, {shape[0]} × {shape[1]}"
        columns = "".join(f"{ratio:8.2f}" for ratio in ratios)
        limit = one / (one - least) if one > least else float("inf")
        print(f"{label:44} {one:9.2f}{columns}{statistics.median(placebo):9.2f}{limit:7.2f}", flush=True)


if __name__ == "__main__":
    main()
