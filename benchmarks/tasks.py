"""What data cost: generators of the language tasks and exact grammars, against what their reference generators took.

The reference was timed elsewhere, beside a plain Python loop, ten million times `s += i * i % 7` at the top of a
module; here the same loop is timed in every round, and the ratio is our rate · our loop / (its rate · its loop).
Arms alternate within one process, in a new order every round, by the CPU time of one thread; medians over rounds. The
placebo is the first generator once more. At least 50 is asked of every ratio, and at most 3 % of a training step of a
decoder with 2 layers of width 64 may go into its data.

    python benchmarks/tasks.py [--rounds 9] [--only memory speed share grammars]
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: spinning threads on a shared machine spoil every time

import argparse
import random
import resource
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

import airtrack as at
from airtrack.core.given import IGNORE
from airtrack.core.streams import Streams
from airtrack.tasks.language.grammar import Grammar

torch.set_num_threads(1)
RATIO, SHARE = 50, 0.03  # what is asked for
LOOP = compile("s = 0\nfor i in range(1_000_000):\n    s += i * i % 7", "loop", "exec")  # a tenth of the reference's
UNKNOWN = 1.5  # seconds of the reference's loop where its row does not note them: the middle of 1.3 … 1.7

CFG = Path(__file__).parent.parent / "tests" / "data" / "cfg"


def generators():
    """Name → (task, windows a batch, reference tokens a second, seconds of its loop)."""
    depo, mano, brevo, bios, lano = at.tasks.Depo, at.tasks.Mano, at.tasks.Brevo, at.tasks.Bios, at.tasks.Lano
    found = {}
    for n, rate in {225: 478e3, 300: 369e3, 375: 309e3}.items():
        found[f"depo1 N={n}"] = depo.preset("depo1", n=n, hops=8), 128, rate, 1.31
    for n, rate in {75: 1.93e6, 100: 1.95e6, 125: 1.39e6}.items():
        found[f"depo2 N={n}"] = depo.preset("depo2", n=n, hops=16), 128, rate, UNKNOWN
    for n, rate in {70: 459e3, 90: 433e3, 110: 478e3}.items():
        found[f"brevo1 N={n}"] = brevo.preset("brevo1", n=n), 256, rate, UNKNOWN
    for n, rate in {30: 944e3, 40: 801e3, 50: 1.12e6}.items():
        found[f"brevo2 N={n}"] = brevo.preset("brevo2", n=n), 192, rate, UNKNOWN
    for l, rate in {10: 642e3, 13: 702e3, 16: 673e3}.items():
        found[f"mano L={l}"] = mano.preset("mano", length=l), 64, rate, UNKNOWN
    for name, rate, context in (("cfg3b", 407e3, 512), ("cfg3f", 626e3, 512), ("cfg3k", 649e3, 1536)):
        found[f"lano {name}"] = lano(grammar=str(CFG / f"{name}.json"), context=context), 96, rate, 1.49
    for name, people_a_second in {"single": 107.8e3, "permute1": 27.3e3}.items():
        task = bios.preset(name, people=100_000)
        words = task.tokens_per_exposure / task.people  # ours a biography; the reference writes 72.9 of GPT-2's, and
        seconds = 1 / people_a_second + 72.9 / 386e3  # spells them at 386 thousand a second
        found[f"bios {name}"] = task, 96, words / seconds, UNKNOWN
        found[f"bios {name}, unspelt"] = task, 96, words * people_a_second, UNKNOWN
    found["copy (no reference)"] = at.tasks.Copy.preset("copy"), 32, None, UNKNOWN
    found["2-hop (no reference)"] = at.tasks.Multihop.preset("2-hop", length=1024), 32, None, UNKNOWN
    return found


def seconds_of(run):
    start = time.thread_time()
    run()
    return time.thread_time() - start


def race(arms, rounds):
    """Arm → seconds, one a round; the first round warms up and is dropped."""
    times, names, order = {name: [] for name in arms}, list(arms), random.Random(0)
    for number in range(rounds + 1):
        order.shuffle(names)
        for name in names:
            seconds = seconds_of(arms[name])
            if number:
                times[name].append(seconds)
    return times


def step(given, rows):
    """A training step as the recipe makes it, on a batch that is there already."""
    net = at.nets.Decoder(layers=2, width=64, heads=2)
    module = net.build(given.vocab, Streams(0), length=given.length, start=given.start)
    optimizer = at.optim.AdamW(lr=1e-3).build(module)
    x, y = given.batch(0, rows)
    where = np.nonzero(y != IGNORE)
    x, at_, labels = torch.from_numpy(x), tuple(map(torch.from_numpy, where)), torch.from_numpy(y[where])

    def run():
        loss = cross_entropy(module(x, at_), labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()

    return run


class Generator:
    """Fresh batches, one after the other."""

    def __init__(self, given, rows):
        self.given, self.rows, self.i = given, rows, 0

    def __call__(self):
        self.given.batch(self.i, self.rows)
        self.i += 1


def speed(found, rounds):
    streams = Streams(0) / "task"
    runs = {name: Generator(task.pose(streams).given, rows) for name, (task, rows, *_) in found.items()}
    first = next(iter(found))
    arms = {"loop": lambda: exec(LOOP, {}), **runs, f"placebo: {first}": runs[first]}
    times = race(arms, rounds)
    loops = [10 * s for s in times["loop"]]
    print(f"\nthe loop takes {statistics.median(loops):.2f} s here\n")
    print(f"{'generator':<26}{'million tokens / s':>19}{'to the reference':>18}   asked: {RATIO}")
    for name, seconds in times.items():
        if name == "loop":
            continue
        _, rows, rate, loop = found[name.removeprefix("placebo: ")]
        tokens = rows * runs[name.removeprefix("placebo: ")].given.length
        ours = tokens / statistics.median(seconds) / 1e6
        if rate is None:
            print(f"{name:<26}{ours:>19.1f}{'':>18}")
            continue
        ratio = statistics.median([tokens / s * own / rate / loop for s, own in zip(seconds, loops)])
        note = "the reference's text alone: no token ids" if name.endswith("unspelt") else "BELOW" * (ratio < RATIO)
        print(f"{name:<26}{ours:>19.1f}{ratio:>18.1f}   {note}")


def share(found, rounds):
    print(
        f"\n{'of a training step':<26}{'windows':>8}{'step, ms':>10}{'data, ms':>10}{'share':>9}   asked: {SHARE:.0%}"
    )
    for name, (task, *_) in found.items():
        if name.endswith("unspelt"):
            continue
        given = task.pose(Streams(0) / "task").given
        rows = max(1, 4096 // given.length)
        data = Generator(given, rows)
        times = race({"step": step(given, rows), "data": lambda data=data: [data() for _ in range(10)]}, rounds)
        ms = {arm: 1e3 * statistics.median(seconds) for arm, seconds in times.items()}
        part = ms["data"] / 10 / ms["step"]
        verdict = "" if part <= SHARE else "ABOVE"
        print(f"{name:<26}{rows:>8}{ms['step']:>10.1f}{ms['data'] / 10:>10.3f}{part:>9.2%}   {verdict}")


def resident():
    """Megabytes of memory in use now, or the most so far where the system does not tell."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text("ascii").split()[1]) * resource.getpagesize() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def memory(found):
    print(f"\n{'memory':<26}{'MB after 20 batches':>20}{'after 220':>12}")
    for name, (task, rows, *_) in found.items():
        if name.endswith("unspelt"):
            continue
        run = Generator(task.pose(Streams(0) / "task").given, rows // 4)
        before = after = 0.0
        for i in range(220):
            run()
            before, after = (resident() if i == 19 else before), resident()
        print(f"{name:<26}{before:>20.1f}{after:>12.1f}")


def grammars(rounds):
    """The reference: seconds a string of its membership test (the least seen) and of its probabilities."""
    reference = {"cfg3b": (4.0, 2.9), "cfg3f": (4.0, 10.1), "cfg3k": (36.5, None)}
    print(f"\n{'grammar, a string':<26}{'ms':>9}{'to the reference':>18}")
    for name, (member, probability) in reference.items():
        grammar = Grammar.load(CFG / f"{name}.json")
        strings = grammar.sample(Streams(0), 100)
        spoilt = [np.where(np.arange(len(s)) == len(s) // 2, s % grammar.terminals + 1, s) for s in strings]
        arms = {
            "loop": lambda: exec(LOOP, {}),
            "accepts": lambda g=grammar, s=strings: g.accepts(s),
            "accepts, one by one": lambda g=grammar, s=strings: [g.accepts(x) for x in s],
            "accepts, spoilt": lambda g=grammar, s=spoilt: g.accepts(s),
            "log_prob": lambda g=grammar, s=strings: g.log_prob(s),
            "next_token_probs": lambda g=grammar, s=strings: g.next_token_probs(s),
            "sample": lambda g=grammar: g.sample(Streams(1), 100),
        }
        times = race(arms, rounds)
        loop = 10 * statistics.median(times.pop("loop"))
        for arm, seconds in times.items():
            own = statistics.median(seconds) / len(strings)
            theirs = {"accepts": member, "accepts, one by one": member, "next_token_probs": probability}.get(arm)
            ratio = "" if theirs is None else f"{theirs / 1.49 / own * loop:,.0f}"
            print(f"{f'{name} {arm}':<26}{1e3 * own:>9.3f}{ratio:>18}")
    grammar = Grammar.load(CFG / "cfg3f.json")
    strings = grammar.sample(Streams(2), 20_000)
    print(f"\n20,000 completions of cfg3f are scored in {seconds_of(lambda: grammar.accepts(strings)):.1f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", nargs="*", choices=("memory", "speed", "share", "grammars"))
    chosen = parser.parse_args()
    sections = chosen.only or ("memory", "speed", "share", "grammars")
    found = generators()
    if "memory" in sections:  # first, while no freed memory could hide a growth
        memory(found)
    if "speed" in sections:
        speed(found, chosen.rounds)
    if "share" in sections:
        share(found, chosen.rounds)
    if "grammars" in sections:
        grammars(chosen.rounds)


if __name__ == "__main__":
    main()
