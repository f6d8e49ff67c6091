"""The ledger: one file a trial, one holder a claim, an index that may be deleted, contradictions kept side by side."""

import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from airtrack.core.part import SpecError
from airtrack.core.then import Then
from airtrack.study import ledger as module
from airtrack.study.ledger import Busy, Ledger, LedgerError, run_in
from airtrack.study.trial import Trial, perform


@pytest.fixture
def book(tmp_path):
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def one(toys):
    return Trial(toys.Toy(), toys.Dial(), 0, 20)


def names(ledger, kind):
    return sorted(p.name for p in (ledger.folder / kind).glob("*"))


# ---------------------------------------------------------------------------------------------------------- readouts


def test_a_readout_comes_back_as_it_was(book, one):
    readout, _ = perform(one)
    assert book.get(one.key) is None
    book.put(readout)
    assert book.get(one.key) == readout
    assert names(book, "trials") == [f"{one.key}{end}" for end in (".cost.json", ".json", ".npz")]


def test_the_file_holds_nothing_that_differs_between_runs(book, one):
    data = json.loads(json.dumps(vars(perform(one)[0])))
    book.put(perform(one)[0])
    text = book.path("trials", f"{one.key}.json").read_text()
    assert set(json.loads(text)) == set(data) - {"cost", "curve"}
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n"


def test_filing_twice_changes_nothing(book, one):
    book.put(perform(one)[0])
    path = book.path("trials", f"{one.key}.json")
    before = path.stat().st_mtime_ns, names(book, "trials")
    book.put(perform(one)[0])
    assert (path.stat().st_mtime_ns, names(book, "trials")) == before
    assert book.contradictions() == []


def test_a_contradiction_is_kept_beside_the_first_and_said(book, one):
    first, _ = perform(one)
    other = replace(first, metrics=dict(first.metrics) | {"score": 0.123})
    book.put(first)
    for _ in range(2):
        book.put(other)
    assert book.get(one.key) == first
    assert book.contradictions() == [one.key]
    beside = [name for name in names(book, "trials") if ".differs-" in name]
    assert len(beside) == 1
    assert json.loads(book.path("trials", beside[0]).read_text())["metrics"]["score"] == 0.123


def test_another_version_of_a_library_is_no_contradiction(book, one):
    first, _ = perform(one)
    book.put(first)
    book.put(replace(first, environment=dict(first.environment) | {"numpy": "9.9"}))
    assert book.contradictions() == []


def test_a_ledger_without_cost_files_is_whole(book, one):
    book.put(perform(one)[0])
    book.path("trials", f"{one.key}.cost.json").unlink()
    assert book.get(one.key).cost == {}


# --------------------------------------------------------------------------------------------------------------- index


def test_index_is_a_summary(book, toys):
    trials = [Trial(toys.Toy(), toys.Dial(), seed, 20) for seed in range(3)]
    for trial in trials:
        book.put(perform(trial)[0])
    index = book.index()
    assert set(index) == {t.key for t in trials}
    assert index[trials[1].key]["seed"] == 1
    assert index[trials[1].key]["metrics"] == book.get(trials[1].key).metrics


@pytest.mark.parametrize("text", [None, "", "{", "[]", "3", '{"x": 1}', '{"KEY": {"stamp": 0}}', '{"KEY": {}}'])
def test_index_is_made_again(text, book, one):
    book.put(perform(one)[0])
    whole = book.index()
    path = book.folder / "index.json"
    path.unlink() if text is None else path.write_text(text.replace("KEY", one.key))
    assert book.index() == whole
    assert json.loads(path.read_text()) == whole


def test_index_sees_what_was_added_and_taken_away(book, toys):
    trials = [Trial(toys.Toy(), toys.Dial(), seed, 20) for seed in range(2)]
    book.put(perform(trials[0])[0])
    book.index()
    book.put(perform(trials[1])[0])
    assert len(book.index()) == 2
    book.path("trials", f"{trials[0].key}.json").unlink()
    assert set(book.index()) == {trials[1].key}


def test_index_of_nothing_writes_nothing(book):
    assert book.index() == {}
    assert not book.folder.exists()


def test_index_leaves_contradictions_out(book, one):
    first, _ = perform(one)
    book.put(first)
    book.put(replace(first, spent=3))
    assert set(book.index()) == {one.key}


# -------------------------------------------------------------------------------------------------------------- claims


def test_a_claim_is_there_while_it_is_held(book):
    with book.claim("k"):
        assert json.loads(book.path("claims", "k").read_text())["pid"] == os.getpid()
        with pytest.raises(Busy), Ledger(book.folder).claim("k"):
            pass
        with book.claim("other"):
            pass
    assert names(book, "claims") == []


def test_a_claim_ends_with_an_error(book):
    with pytest.raises(ZeroDivisionError), book.claim("k"):
        1 // 0  # noqa: B018
    assert names(book, "claims") == []


def dead():
    """The claim of a process that has ended."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    born = module._born(gone.pid)
    gone.wait()
    return json.dumps({"host": platform.node(), "pid": gone.pid, "born": born})


def claimed(book, text, name="k"):
    path = book.path("claims", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_dead_processs_claim_is_taken_over_at_once(book):
    path = claimed(book, dead())
    with book.claim("k"):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert names(book, "claims") == []


def test_a_later_process_of_the_same_number_is_not_the_holder(book):
    dead = {"host": platform.node(), "pid": os.getpid(), "born": "1"}
    path = claimed(book, json.dumps(dead))
    with book.claim("k"):
        assert json.loads(path.read_text()) == dead | {"born": module._born(os.getpid())}


def test_a_living_processs_claim_is_never_taken_over(book):
    path = claimed(book, json.dumps({"host": platform.node(), "pid": os.getpid(), "born": module._born(os.getpid())}))
    os.utime(path, (0, 0))  # silent since 1970, and yet alive
    with pytest.raises(Busy), book.claim("k"):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", json.dumps({"host": "elsewhere", "pid": 1, "born": "1"})])
def test_a_claim_from_elsewhere_is_void_after_three_silent_heartbeats(text, book, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    path = claimed(book, text)
    os.utime(path, (5, 5))  # its clock may be years behind

    def refused():
        try:
            with book.claim("k"):
                return False
        except Busy:
            return True

    assert refused()
    now += 2.9 * module.HEARTBEAT
    assert refused()
    os.utime(path, (6, 6))  # a sign of life
    assert refused()
    now += 2.9 * module.HEARTBEAT
    assert refused()
    now += 0.2 * module.HEARTBEAT
    assert not refused()


def test_a_holder_shows_signs_of_life(book, monkeypatch):
    monkeypatch.setattr(module, "HEARTBEAT", 0.01)
    with book.claim("k"):
        path = book.path("claims", "k")
        os.utime(path, (0, 0))
        end = time.monotonic() + 30
        while path.stat().st_mtime == 0:
            assert time.monotonic() < end
            time.sleep(0.005)


def test_whoever_lost_its_claim_leaves_the_new_holders_alone(book):
    with book.claim("k"):
        claimed(book, "another's")
    assert names(book, "claims") == ["k"]


@pytest.mark.parametrize("marker", ["dead", "foreign"])
def test_a_takeover_that_died_midway_does_not_lock_the_trial(marker, book, monkeypatch):
    claimed(book, dead())
    text = dead() if marker == "dead" else json.dumps({"host": "elsewhere", "pid": 1, "born": "1"})
    claimed(book, text, "k.takeover")
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    for _ in range(3):
        try:
            with book.claim("k"):
                break
        except Busy:
            now += 4 * module.HEARTBEAT
    else:
        pytest.fail("locked")
    assert names(book, "claims") == []


RACER = """
import sys, os, time
from pathlib import Path
from airtrack.study.ledger import Ledger, Busy
folder, start = Path(sys.argv[1]), Path(sys.argv[2])
book = Ledger(folder)
print("ready", flush=True)
while not start.exists():
    pass
end = time.monotonic() + 60

def tried(key):
    assert time.monotonic() < end, "two hold one claim"
    path = folder / f"tried{key}"
    return path.stat().st_size if path.exists() else 0

for key in range(60):
    try:
        with book.claim(str(key)):
            with (folder / f"won{key}").open("a") as file:
                file.write(f"{os.getpid()}\\n")
            while tried(key) < 5:  # held until all have tried
                time.sleep(0.0005)
    except Busy:
        with (folder / f"tried{key}").open("a") as file:
            file.write("x")
    while tried(key) < 5:
        time.sleep(0.0005)
"""


@pytest.mark.parametrize("stale", [False, True], ids=["free", "dead"])
def test_of_six_processes_exactly_one_gets_each_claim(stale, book, tmp_path):
    book.folder.mkdir()
    if stale:
        text = dead()
        for key in range(60):
            claimed(book, text, str(key))
    command = [sys.executable, "-c", RACER, str(book.folder), str(tmp_path / "start")]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    (tmp_path / "start").touch()
    for racer in racers:
        racer.communicate(timeout=120)
        assert racer.returncode == 0
    winners = [(book.folder / f"won{key}").read_text().split() for key in range(60)]
    assert [len(w) for w in winners] == [1] * 60
    assert names(book, "claims") == []


# --------------------------------------------------------------------------------------------------------- sweeping up


def test_sweep_removes_what_the_dead_left_and_nothing_else(book, one):
    book.put(perform(one)[0])
    gone = json.loads(dead())["pid"]
    here = platform.node()
    claimed(book, dead(), one.key)
    claimed(book, json.dumps({"host": "elsewhere", "pid": 1, "born": "1"}), "foreign")
    book.path("work", "").mkdir()
    litter = [
        book.path("trials", f"{one.key}.json.{gone}@{here}.tmp"),
        book.path("work", f"unfinished.npz.{gone}@{here}.tmp"),
        book.path("work", f"{one.key}.npz"),
    ]
    others = [
        book.path("trials", f"x.json.{os.getpid()}@{here}.tmp"),
        book.path("trials", f"x.json.{gone}@elsewhere.tmp"),
        book.path("work", "unfinished.npz"),
    ]
    for path in litter + others:
        path.write_bytes(b"x")
    with book.claim("mine"):
        book.sweep()
        assert names(book, "claims") == ["foreign", "mine"]
    assert not [p for p in litter if p.exists()]
    assert not [p for p in others if not p.exists()]
    assert book.get(one.key)


def test_sweep_of_nothing(book):
    book.sweep()
    assert not book.folder.exists()


# -------------------------------------------------------------------------------------------------------------- run_in


def test_a_trial_is_run_once(book, one, toys, tmp_path):
    noted = replace(one, recipe=toys.Dial(notes=str(tmp_path)))
    first, second = run_in(book, noted), run_in(book, noted)
    assert first.metrics == second.metrics
    assert len((tmp_path / "calls").read_text().splitlines()) == 1
    assert names(book, "work") == names(book, "claims") == []


def test_a_trial_that_another_runs_is_busy(book, one):
    with book.claim(one.key), pytest.raises(Busy):
        run_in(Ledger(book.folder), one)


def test_a_trial_that_fails_files_nothing_and_lets_go(book, one, toys):
    with pytest.raises(RuntimeError):
        run_in(book, replace(one, recipe=toys.Dial(fate="bug")))
    assert not (book.folder / "trials").exists()
    assert names(book, "claims") == []


def test_a_prefix_is_run_once_for_all_that_begin_with_it(book, one, toys, tmp_path):
    first = toys.Dial(notes=str(tmp_path))
    arms = [Then(first=first, changes=changes) for changes in ([toys.Half()], [toys.Half(), toys.Half()], [])]
    losses = [run_in(book, replace(one, recipe=arm)).metrics["loss"] for arm in arms]
    assert losses == pytest.approx([0.75, 0.875, 0.5], abs=1e-3)
    assert len((tmp_path / "calls").read_text().splitlines()) == 1
    assert book.get(replace(one, recipe=first).key)


def test_a_prefix_whose_answer_is_gone_is_run_again(book, one, toys, tmp_path):
    first = toys.Dial(notes=str(tmp_path))
    base = replace(one, recipe=first)
    run_in(book, base)  # nobody asked for the answer
    run_in(book, replace(one, recipe=Then(first=first, changes=[toys.Half()])))
    assert len((tmp_path / "calls").read_text().splitlines()) == 2
    assert book.contradictions() == []
    assert book.answer(base.key)["spent"] == 20


def test_a_prefix_that_diverges_ends_all_that_begin_with_it(book, one, toys):
    arm = Then(first=toys.Dial(fate="diverges"), changes=[toys.Half()])
    assert run_in(book, replace(one, recipe=arm)).state == "diverged"


# ------------------------------------------------------------------------------------------------ where nothing is kept


def test_a_place_that_can_be_written_is_left_as_it_was(book):
    book.folder.mkdir()
    (book.folder / "mine").write_text("x")
    book.check_writable()
    assert [p.name for p in book.folder.rglob("*") if p.is_file()] == ["mine"]


def test_a_place_that_cannot_be_written_is_refused_and_left_alone(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match=r"cannot write to .*file/a/b: Not a directory; choose another folder"):
        Ledger(tmp_path / "file" / "a" / "b").check_writable()
    with pytest.raises(SpecError), Ledger(tmp_path / "file" / "a").claim("k"):
        pass
    assert [p.name for p in tmp_path.rglob("*")] == ["file"]
