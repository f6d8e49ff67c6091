"""The pool: every trial done, whatever happens to the workers; what a part does wrong is said."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from airtrack.core.part import SpecError, load_object
from airtrack.core.then import Then
from airtrack.study.ledger import Ledger
from airtrack.study.run import run
from airtrack.study.runner import IN_WORKER, Pool, TrialFailed
from airtrack.study.trial import Trial, perform


@pytest.fixture
def book(tmp_path):
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def trials(toys):
    return [Trial(toys.Toy(), toys.Dial(), seed, 20) for seed in range(5)]


def told(readout):
    return {name: value for name, value in vars(readout).items() if name not in ("cost", "environment")}


def test_workers_give_what_this_process_gives(book, trials):
    events = []
    with Pool(2) as pool:
        done = pool.run(trials, book, lambda trial, event: events.append((trial.seed, event["event"])))
    assert set(done) == {t.key for t in trials}
    found = {t.key: book.get(t.key) for t in trials}
    assert [told(found[t.key]) for t in trials] == [told(perform(t)[0]) for t in trials]
    for seed in range(5):
        mine = [event for s, event in events if s == seed]
        assert mine[0] == "started"
        assert mine[-1] == "done"
        assert set(mine[1:-1]) == {"progress"}
    assert {found[t.key].environment["threads"] for t in trials} == {1}


def test_what_is_there_is_not_run_again(book, toys, tmp_path):
    trials = [Trial(toys.Toy(), toys.Dial(notes=str(tmp_path)), seed, 20) for seed in (0, 0, 1)]
    with Pool(1) as pool:
        for _ in range(2):
            pool.run(trials, book)
    assert len((tmp_path / "calls").read_text().splitlines()) == 2


def test_pilots_leave_nothing(book, trials):
    with Pool(1) as pool:
        done = pool.run(trials[:1], None, cap=5)
    assert done[trials[0].key]["cost"]["rate"] > 0
    assert not book.folder.exists()


def test_prefixes_come_first(book, toys, tmp_path):
    first = toys.Dial(notes=str(tmp_path))
    arms = [Then(first=first, changes=[toys.Half()]), Then(first=first, changes=[toys.Half(), toys.Half()]), first]
    with Pool(2) as pool:
        pool.run([Trial(toys.Toy(), arm, 0, 20) for arm in arms], book)
    assert len((tmp_path / "calls").read_text().splitlines()) == 1


def test_a_bug_in_a_part_is_shown_and_ends_the_run(book, toys, trials):
    bad = replace(trials[0], recipe=toys.Dial(fate="bug"))
    with Pool(2) as pool, pytest.raises(TrialFailed, match="RuntimeError: a fault in the part") as failed:
        pool.run([bad, *trials[1:]], book)
    assert 'raise RuntimeError("a fault in the part")' in failed.value.traceback
    assert book.get(bad.key) is None


def test_an_operating_systems_error_in_a_part_is_a_bug_like_any_other(book, toys, trials):
    with Pool(1) as pool, pytest.raises(TrialFailed, match="No space left on device") as failed:
        pool.run([replace(trials[0], recipe=toys.Dial(fate="refuses"))], book)
    assert "toy.py" in failed.value.traceback


def test_a_pool_goes_on_after_a_failure(book, toys, trials):
    with Pool(1) as pool:
        with pytest.raises(TrialFailed):
            pool.run([replace(trials[0], recipe=toys.Dial(fate="bug"))], book)
        assert len(pool.run(trials, book)) == 5


def test_a_worker_that_dies_is_replaced_and_its_trial_run_again(book, toys, trials, tmp_path):
    fragile = replace(trials[0], recipe=toys.Dial(fate="dies once", notes=str(tmp_path)))
    with Pool(1) as pool:
        assert set(pool.run([fragile, *trials[1:]], book)) == {t.key for t in (fragile, *trials[1:])}
    assert len((tmp_path / "calls").read_text().splitlines()) == 2


def test_a_trial_that_always_kills_its_worker_is_given_up(book, toys, trials, tmp_path):
    with Pool(1) as pool, pytest.raises(TrialFailed, match=r"died 3 times \(exit code -9\); is there enough memory\?"):
        pool.run([replace(trials[0], recipe=toys.Dial(fate="dies", notes=str(tmp_path)))], book)
    assert not list(book.folder.glob("claims/*.tmp"))


def test_a_worker_that_dies_while_idle_is_replaced(book, trials):
    with Pool(2) as pool:
        pool.run(trials[:2], book)
        for worker in pool._workers:
            os.kill(worker.process.pid, signal.SIGKILL)
            worker.process.wait()
        assert set(pool.run(trials, book)) == {t.key for t in trials}


def test_a_trial_that_another_process_runs_is_waited_for(book, trials):
    code = """
import sys
from airtrack.study.ledger import Ledger
with Ledger(sys.argv[1]).claim(sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(book.folder), trials[0].key],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "held\n"
    seen = []

    def on_event(trial, event):
        seen.append((trial.seed, event["event"]))
        if [s for s, kind in seen if kind == "started"].count(0) == 2:  # refused once: let go
            other.stdin.close()
            other.wait()

    with Pool(1) as pool:
        done = pool.run(trials[:3], book, on_event)
    other.stdout.close()
    assert set(done) == {t.key for t in trials[:3]}
    assert [seed for seed, event in seen if event == "done"] == [1, 2, 0]  # others meanwhile


def test_a_file_that_changes_under_a_run_is_noticed(book, toys, tmp_path):
    path = tmp_path / "own.py"
    path.write_text(toys.file.read_text())
    parts = [load_object(f"{path}:{name}") for name in ("Toy", "Dial")]
    trial = Trial(parts[0](), parts[1](), 0, 20)
    assert trial.key
    path.write_text(path.read_text() + "\nNUMBER = 4\n")
    with Pool(1) as pool, pytest.raises(SpecError, match="the file of a part has changed since the study began; run"):
        pool.run([trial], book)
    assert not list(book.folder.glob("trials/*"))


def test_workers_are_gone_when_the_pool_is(book, trials):
    with Pool(2) as pool:
        pool.run(trials, book)
        pids = [worker.process.pid for worker in pool._workers]
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_no_more_workers_than_trials(book, trials):
    with Pool(4) as pool:
        pool.run(trials[:1], book)
        assert len(pool._workers) == 1


def test_what_a_part_prints_does_not_disturb(book, toys, tmp_path):
    path = tmp_path / "loud.py"
    path.write_text(toys.file.read_text().replace("state = meter", "print('{loud', flush=True)\n        state = meter"))
    trial = Trial(load_object(f"{path}:Toy")(), load_object(f"{path}:Dial")(), 0, 20)
    with Pool(1) as pool:
        assert set(pool.run([trial], book)) == {trial.key}


def test_checkpoints_are_as_frequent_as_asked(book, toys):
    """With a second between checkpoints and trials of less, none is ever written."""
    trial = Trial(toys.Toy(), toys.Dial(wait=0.01), 0, 20)
    seen = []

    def on_event(trial, event):
        seen.append(bool(list(book.folder.glob("work/*.npz"))))

    with Pool(1, every=0.0) as pool:
        pool.run([trial], book, on_event)
    assert any(seen)


# ----------------------------------------------------------------------------------------------------------- whole runs


def test_a_study_runs_to_its_verdict_and_then_nothing_is_left_to_run(book, toys):
    rounds = []
    result = run(toys.study(), book, workers=1, on_round=lambda r: rounds.append((r.phase, len(r.missing))))
    assert rounds == [("confirm", 12)]
    assert result.verdict.outcome == "a better"
    assert result.verdict.names == ("high", "low")
    again = run(toys.study(), book, workers=1, on_round=lambda r: pytest.fail("ran again"))
    assert str(again.verdict) == str(result.verdict)


def test_more_seeds_run_only_what_is_missing(book, toys):
    run(toys.study(seeds=3), book, workers=1)
    rounds = []
    run(toys.study(seeds=5), book, workers=1, on_round=lambda r: rounds.append(len(r.missing)))
    assert rounds == [4]


def test_nothing_is_run_within_a_worker(book, toys, monkeypatch):
    monkeypatch.setenv(IN_WORKER, "1")
    with pytest.raises(SpecError, match='put the run under `if __name__ == "__main__":`'):
        run(toys.study(), book)
    assert not book.folder.exists()


def test_run_by_the_study_itself(toys, tmp_path, capsys):
    result = toys.study().run(tmp_path / "ledger", workers=1)
    assert result.phase == "done"
    assert "confirming: 12 trials" in capsys.readouterr().out
