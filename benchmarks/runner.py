"""What the bench costs: a trial's training loop against a bare PyTorch loop on the same model and data.

Interleaved in one process, one thread, process CPU time, medians over rounds. The placebo is the bare loop against
itself. The bare loop gets its batches made beforehand; the trial makes its own, counts its work, offers its answer
and looks after checkpoints. The judge's looks are timed apart: how many there are is the user's choice.

    python benchmarks/runner.py [rounds]
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import statistics
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

import airtrack as at
from airtrack.core.given import IGNORE
from airtrack.core.meter import Meter
from airtrack.core.streams import Streams

torch.set_num_threads(1)
BATCH = 32


def bare(module, optim, batches):
    """Seconds of CPU for plain steps on batches that are there already."""
    optimizer = optim.build(module)
    parameters = list(module.parameters())
    started = time.process_time()
    for x, at_, labels in batches:
        loss = F.cross_entropy(module(x, at_), labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    return time.process_time() - started


def trial(task, recipe, steps):
    """Seconds of CPU of the recipe's own loop, without the judge, and of one look of the judge."""
    given, judge = task.pose(Streams(0) / "task")
    looks = []

    def look(answer):
        before = time.process_time()
        readings = judge(answer)
        looks.append(time.process_time() - before)
        return readings

    budget = steps * recipe.step_cost(given)
    meter = Meter(budget, look=look, schedule=list(np.geomspace(budget / 100, budget, 17)[:-1]))
    given.metered(meter)
    build = Streams(0) / "recipe"
    started = time.process_time()
    recipe.answer(given, meter, build)
    return time.process_time() - started - sum(looks), statistics.median(looks)


def measured(net, steps, rounds):
    """Medians over rounds of: placebo, trial against bare, one look in steps."""
    task = at.tasks.Depo(n=16, hops=1, separator=True)
    recipe = at.train.Train(net=net, optim=at.optim.AdamW(lr=1e-3), batch=BATCH)
    given = task.pose(Streams(0) / "task").given
    batches = []
    for i in range(steps):
        x, y = given.batch(i, BATCH)
        where = np.nonzero(y != IGNORE)
        batches.append((torch.from_numpy(x), tuple(map(torch.from_numpy, where)), torch.from_numpy(y[where])))

    def plain():
        module = net.build(given.vocab, Streams(0) / "recipe" / "init", length=given.length, start=given.start)
        return bare(module, recipe.optim, batches)

    arms = {"bare": plain, "again": plain, "trial": lambda: trial(task, recipe, steps)}
    order = np.random.Generator(np.random.Philox(key=steps))
    rows = []
    for _ in range(rounds + 1):
        seconds = {name: arms[name]() for name in order.permutation(list(arms))}
        mine, look = seconds["trial"]
        rows.append((seconds["again"] / seconds["bare"], mine / seconds["bare"], look / (seconds["bare"] / steps)))
    return [statistics.median(column) for column in zip(*rows[1:])]  # the first round warms up


def main(rounds: int) -> None:
    print(f"{'model':<32}{'placebo':>9}{'trial / bare':>14}{'throughput':>12}{'one look, in steps':>20}")
    for width, heads, layers, mlp, steps in (
        (32, 2, 1, "none", 120),
        (32, 2, 1, "gated", 120),
        (128, 4, 2, "gated", 30),
    ):
        net = at.nets.Decoder(layers=layers, width=width, heads=heads, positions="none", mlp=mlp, canon="A")
        placebo, ratio, look = measured(net, steps, rounds)
        name = f"width {width}, {layers} layer{'s' * (layers > 1)}, mlp {mlp}"
        print(f"{name:<32}{placebo:>9.3f}{ratio:>14.3f}{1 / ratio:>12.3f}{look:>20.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
