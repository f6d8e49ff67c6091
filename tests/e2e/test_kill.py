"""Whatever is killed, whenever: run again, and the ledger holds the bytes of a run that nobody disturbed."""

import json
import os
import signal
import subprocess
from contextlib import suppress

import pytest

from airtrack.core.streams import Streams

NET = """
task: {name: depo, n: 4, hops: 1, separator: true}
budget: 48_000
baseline: trained
seeds: 6
arms:
  trained: &trained
    name: train
    net: {name: decoder, layers: 1, width: 32, heads: 2, canon: A}
    optim: {name: adamw, lr: 1e-2}
    schedule: {name: linear, warmup: 10}
  3 bits: {name: then, first: *trained, changes: [{name: rtn, bits: 3}]}
"""
EPISODES = """
task: {name: random_mdp, kind: chain, states: 4, horizon: 6}
budget: 30_000
baseline: uniform
seeds: 6
arms:
  uniform: {name: uniform}
  ucb_q: {name: ucb_q}
"""


KILLS = 10


def left_over(ledger):
    """What only a run in progress may have in its ledger."""
    return [str(p.relative_to(ledger)) for kind in ("claims/*", "work/*", "*/*.tmp") for p in ledger.glob(kind)]


def claimed(ledger):
    return lambda: list(ledger.glob("claims/*"))


def holder(ledger, run):
    """The worker of this run that holds a claim now; claims of the killed are there too."""
    for claim in claimed(ledger)():
        with suppress(FileNotFoundError, ValueError):  # let go, or not written yet
            pid = str(json.loads(claim.read_text("utf-8"))["pid"])
            parent = subprocess.run(["ps", "-o", "ppid=", "-p", pid], capture_output=True, text=True).stdout.strip()
            if parent == str(run.pid):
                return int(pid)
    return None


def progress(ledger):
    """Checkpoints and readouts as they are now: another answer is progress."""
    found = set()
    for path in (*ledger.glob("work/*.npz"), *ledger.glob("trials/*.json")):
        with suppress(FileNotFoundError):
            found.add((path.name, path.stat().st_mtime_ns))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("study", "workers"), [(NET, 1), (EPISODES, 2)], ids=["net", "episodes"])
def test_ten_kills_leave_no_trace(study, workers, bench, until, filed):
    path = bench.write("study.yaml", study)
    options = ("--every", "0.01", "--workers", workers)
    code, _, err = bench.run("run", path, *options, "--ledger", "undisturbed")
    assert code == 0, err
    undisturbed = filed(bench.folder / "undisturbed")
    assert len(undisturbed) == 2 * 12

    moments = (Streams(0) / "kill" / str(workers)).rng().integers(0, 12, KILLS)  # in steps of progress
    ledgers, resumable = [bench.folder / "ledger0"], 0
    for moment in moments:
        while True:  # until the kill has met a run in progress
            ledger = ledgers[-1]
            run = bench.start("run", path, *options, "--ledger", ledger)
            until(lambda ledger=ledger, run=run: holder(ledger, run) or run.poll() is not None, every=0.05)
            for _ in range(moment):
                was = progress(ledger)
                until(lambda ledger=ledger, run=run, was=was: progress(ledger) != was or run.poll() is not None)
            if run.poll() is None:
                break
            assert run.returncode == 0, run.communicate()[1]
            ledgers.append(bench.folder / f"ledger{len(ledgers)}")
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
        resumable += bool(list(ledgers[-1].glob("work/*.npz")))
    assert resumable  # some run had something to resume from

    for ledger in ledgers:
        run = bench.start("run", path, *options, "--ledger", ledger)
        until(lambda ledger=ledger, run=run: holder(ledger, run) or run.poll() is not None, every=0.05)
        if victim := holder(ledger, run):
            os.kill(victim, signal.SIGKILL)  # in the end a worker alone: it is replaced
        code, out, err = bench.finish(run)
        assert code == 0, err
        assert "different results" not in out + err
        assert filed(ledger) == undisturbed
        assert left_over(ledger) == []


def test_an_interrupt_says_how_to_go_on(bench, until, filed):
    path = bench.write("study.yaml", EPISODES)
    ledger = bench.folder / "ledger"
    run = bench.start("run", path, "--every", "0.02", "--ledger", ledger)
    until(claimed(ledger))
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does: the workers get it too
    code, _, err = bench.finish(run)
    assert code == 130
    assert err == "airtrack: stopped; what is finished is in the ledger, run the same command to go on\n"
    code, _, err = bench.run("run", path, "--ledger", ledger)
    assert code == 0, err
    assert len(filed(ledger)) == 2 * 12
    assert left_over(ledger) == []


def test_workers_end_with_their_parent(bench, until):
    path = bench.write("study.yaml", EPISODES)
    ledger = bench.folder / "ledger"
    run = bench.start("run", path, "--ledger", ledger)
    until(claimed(ledger))
    os.kill(run.pid, signal.SIGKILL)
    out, err = run.communicate(timeout=60)  # ends when the last process that can write to these pipes has ended
    assert "Traceback" not in out + err


COUNTING = '''
"""A solver that notes every call, and begins when workers of two runs are there."""

import os
import time
from pathlib import Path
from typing import ClassVar

import numpy as np

from airtrack.core.given import FiniteSum
from airtrack.core.part import part


@part("solver")
class Counting:
    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    step: float = 1.0
    notes: str = "notes"

    def answer(self, given, meter, streams):
        notes = Path(self.notes)
        (notes / f"worker{os.getpid()}").touch()
        while len(list(notes.glob("worker*"))) < 3:  # two workers a run
            time.sleep(0.01)
        with (notes / "calls").open("a") as file:
            file.write(f"{self.step} {streams.seed}\\n")
        x = np.zeros(given.d)
        while meter.live(given.n):
            x = x - self.step * given.gradient(x)[0]
            meter.offer(x)
            time.sleep(0.005)
        return x
'''


def test_two_runs_of_one_ledger_run_every_trial_once(bench):
    bench.write("block.py", COUNTING)
    notes = bench.folder / "notes"
    notes.mkdir()
    arms = "".join(f"  {s}: {{name: 'block.py:Counting', step: {s}, notes: {notes}}}\n" for s in (0.1, 1.0, 2.0))
    path = bench.write(
        "study.yaml",
        f"task: {{name: logistic, n: 50, d: 4}}\nbudget: 500\nbaseline: '0.1'\nseeds: 10\narms:\n{arms}",
    )
    runs = [bench.start("run", path, "--workers", "2", "--ledger", "ledger") for _ in range(2)]
    endings = [bench.finish(run) for run in runs]
    assert [code for code, _, _ in endings] == [0, 0], endings
    verdicts = ["\n".join(line for line in out.splitlines() if "confirm" not in line) for _, out, _ in endings]
    assert verdicts[0] == verdicts[1]
    assert "0.1" in verdicts[0]
    calls = (notes / "calls").read_text().split("\n")[:-1]
    assert sorted(calls) == sorted(f"{step} {seed}" for step in (0.1, 1.0, 2.0) for seed in range(10))
    assert left_over(bench.folder / "ledger") == []
