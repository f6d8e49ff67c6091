"""The ledger: a folder of trials, one file each, that many processes and machines may share without a server."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from airtrack.core.meter import State, read_arrays, read_state, replacing, write_state
from airtrack.core.part import SpecError, digest
from airtrack.study.trial import Readout, Trial, first_of, pack, perform

HEARTBEAT = 5.0  # seconds between two signs of life of a claim; three missed ones and it is void


class LedgerError(SpecError):
    """A ledger that cannot be read or written."""


class Busy(Exception):
    """Another process is running this trial."""


class Ledger:
    """Trials on disk.

    trials/KEY.json       trial, metrics, state: the same bytes whoever ran it, and however often it was interrupted
    trials/KEY.npz        its curve
    trials/KEY.cost.json  seconds, host: what no repetition gives again
    claims/KEY            who is running it now
    work/KEY.npz          its last checkpoint
    answers/KEY.npz       its answer, if another trial goes on from there
    index.json            a summary of trials/, made again whenever it is missing or old
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._seen: dict[str, tuple[float, float]] = {}  # claim → (its mtime, when this process first saw it)

    def path(self, kind: str, name: str) -> Path:
        return self.folder / kind / name

    def check_writable(self) -> None:
        """Refuse, before any work, a place that cannot be written to."""
        probe = self.path("work", f"probe.{os.getpid()}")
        made = [p for p in (self.folder, *self.folder.parents) if not p.exists()]
        try:
            probe.parent.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"\0" * 4096)
            probe.unlink()
        except OSError as error:
            for left in (probe, probe.parent, *made):
                with contextlib.suppress(OSError):
                    left.unlink() if left == probe else left.rmdir()
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> LedgerError:
        return LedgerError(f"cannot write to {self.folder}: {error.strerror}; choose another folder with --ledger DIR")

    # ------------------------------------------------------------------------------------------------- readouts

    def get(self, key: str) -> Readout | None:
        """The readout of a trial, or None if it has not been run."""
        path = self.path("trials", f"{key}.json")
        try:
            data = json.loads(path.read_text("utf-8"))
            cost = self.path("trials", f"{key}.cost.json")
            data["cost"] = json.loads(cost.read_text("utf-8")) if cost.exists() else {}
            data["curve"] = {}
            readout = Readout(**data)
            if readout.key != key or readout.state not in ("done", "diverged") or not isinstance(readout.metrics, dict):
                raise ValueError
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, OSError) as error:
            why = "truncated, or no trial" if not isinstance(error, OSError) else error.strerror
            raise LedgerError(f"{path} is damaged ({why}); delete it, and the trial is run again") from error
        try:
            curve = read_arrays(path.with_suffix(".npz"))
        except (SpecError, OSError) as error:
            fact = f"the curve beside {path} is damaged or gone"
            raise LedgerError(f"{fact}; delete {path}, and the trial is run again") from error
        return replace(readout, curve={name: values.tolist() for name, values in curve.items()})

    def put(self, readout: Readout) -> None:
        """File a readout. A different one under the same key is kept beside the first, never over it."""
        data = asdict(readout)
        curve, cost = data.pop("curve"), data.pop("cost")
        path = self.path("trials", f"{readout.key}.json")
        if path.exists():
            there = json.loads(path.read_text("utf-8")) | {"environment": data["environment"]}
            if _text(there) != _text(data):
                self._write(self.path("trials", f"{readout.key}.differs-{digest(data)}.json"), data)
            return
        with replacing(path.with_suffix(".npz")) as file:
            np.savez(file, allow_pickle=False, **{k: np.asarray(v, np.float64) for k, v in curve.items()})
        self._write(self.path("trials", f"{readout.key}.cost.json"), cost)
        self._write(path, data)  # last: a trial is done when this file is there

    def contradictions(self) -> list[str]:
        """Keys under which two different results have been found: trials that are not deterministic here."""
        return sorted({p.name.partition(".")[0] for p in (self.folder / "trials").glob("*.differs-*.json")})

    @staticmethod
    def _write(path: Path, data: Any) -> None:
        with replacing(path) as file:
            file.write(_text(data).encode())

    # -------------------------------------------------------------------------------------------------- answers

    def answer(self, key: str) -> State | None:
        return read_state(self.path("answers", f"{key}.npz"))

    def keep_answer(self, key: str, state: State) -> None:
        write_state(self.path("answers", f"{key}.npz"), state)

    def checkpoint(self, key: str) -> Path:
        return self.path("work", f"{key}.npz")

    # --------------------------------------------------------------------------------------------------- claims

    @contextlib.contextmanager
    def claim(self, key: str) -> Iterator[None]:
        """Hold a trial while running it; raises `Busy` if a living process holds it."""
        path = self.path("claims", key)
        mine = json.dumps({"host": platform.node(), "pid": os.getpid(), "born": _born(os.getpid())})
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._take(path, mine)
        except OSError as error:
            raise self._unwritable(error) from error
        done = threading.Event()

        def beat() -> None:
            while not done.wait(HEARTBEAT):
                with contextlib.suppress(OSError):
                    os.utime(path)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            with contextlib.suppress(OSError):
                if path.read_text("utf-8") == mine:
                    path.unlink()

    def _take(self, path: Path, mine: str) -> None:
        with contextlib.suppress(FileExistsError):
            return _create(path, mine)
        stale = self._void(path)
        if stale is None:
            raise Busy
        # Of all who see that the holder is dead, the one that makes this marker may put it in the claim's place, and
        # only while the claim is still the dead one's.
        marker = path.with_name(f"{path.name}.takeover")
        try:
            _create(marker, mine)
        except FileExistsError:
            if self._void(marker) is not None:  # its maker died in between
                marker.unlink(missing_ok=True)
            raise Busy from None
        try:
            if path.read_text("utf-8") != stale:
                raise Busy
            marker.replace(path)
        except (Busy, FileNotFoundError):
            marker.unlink(missing_ok=True)
            raise Busy from None

    def _void(self, path: Path) -> str | None:
        """The claim's text if its holder is dead: gone from this machine, or silent for three heartbeats."""
        try:
            mtime, text = path.stat().st_mtime, path.read_text("utf-8")
        except FileNotFoundError:  # let go just now
            return None
        try:
            holder = json.loads(text)
            host, pid, born = holder["host"], holder["pid"], holder["born"]
        except (ValueError, KeyError, TypeError):  # being written just now, or by somebody who died doing it
            host = pid = born = None
        if host == platform.node() and pid is not None:
            return text if _born(pid) != born else None
        seen, since = self._seen.setdefault(str(path), (mtime, time.monotonic()))
        if seen != mtime:  # clocks of two machines may differ; that a file changes, both see
            self._seen[str(path)] = (mtime, time.monotonic())
            return None
        return text if time.monotonic() - since > 3 * HEARTBEAT else None

    def sweep(self) -> None:
        """Remove what killed processes left: half-written files, claims, checkpoints of finished trials."""
        for path in self.folder.glob("*/*.tmp"):
            owner = re.search(r"\.(\d+)@(.*)\.tmp$", path.name)
            if owner and owner[2] == platform.node() and _born(int(owner[1])) is None:
                path.unlink(missing_ok=True)
        for path in self.folder.glob("claims/*"):
            with contextlib.suppress(Busy), self.claim(path.name.partition(".")[0]):
                pass  # what can be taken is let go
        for path in self.folder.glob("work/*.npz"):
            if self.path("trials", f"{path.stem}.json").exists():
                path.unlink(missing_ok=True)

    # ---------------------------------------------------------------------------------------------------- index

    def index(self) -> dict[str, dict[str, Any]]:
        """Key → task, recipe, seed, budget, state and metrics of every trial, from `index.json` where it is fresh."""
        path = self.folder / "index.json"
        try:
            known = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            known = None
        old = known if isinstance(known, dict) else {}
        fresh: dict[str, dict[str, Any]] = {}
        for file in sorted((self.folder / "trials").glob("*.json")):
            if file.name.count(".") > 1:
                continue
            stamp = file.stat().st_mtime_ns
            fresh[file.stem] = old.get(file.stem, {})
            if fresh[file.stem].get("stamp") != stamp:
                readout = self.get(file.stem)
                assert readout is not None
                row = {"stamp": stamp, "state": readout.state, "metrics": readout.metrics, "spent": readout.spent}
                fresh[file.stem] = row | {name: readout.trial[name] for name in ("task", "recipe", "seed", "budget")}
        if fresh != known and fresh:
            with contextlib.suppress(SpecError):  # a ledger that may only be read has no index
                self._write(path, fresh)
        return fresh


def _text(data: Any) -> str:
    return json.dumps(data, indent=1, sort_keys=True) + "\n"


def _create(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as file:
        file.write(text)


def _born(pid: int) -> str | None:
    """When a process of this machine started, or None if there is none: tells it from a later one of that number."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[19]
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return None
    except OSError:
        pass
    try:  # no /proc (macOS): all that can be told is whether it lives
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "alive"


def run_in(ledger: Ledger, trial: Trial, *, keep: bool = False, **options: Any) -> Readout:
    """Run a trial unless the ledger has it, and file it; raises `Busy` if another process is at it.

    keep     file the answer too, because another trial goes on from it
    options  of `perform`
    """

    def finished() -> Readout | None:
        done = ledger.get(trial.key)
        kept = not keep or done is None or done.state == "diverged" or ledger.answer(trial.key) is not None
        return done if kept else None

    if done := finished():
        return done
    first = first_of(trial.recipe)
    base = None if first is None else trial.with_recipe(first)
    if base is not None:
        run_in(ledger, base, keep=True, **options)
    with ledger.claim(trial.key):
        if done := finished():  # between the look and the claim
            return done
        checkpoint = ledger.checkpoint(trial.key)
        prefix = (lambda recipe: ledger.answer(base.key) if recipe == first else None) if base else None
        readout, answer = perform(trial, checkpoint=checkpoint, prefix=prefix, **options)
        if keep and readout.state == "done":
            ledger.keep_answer(trial.key, {"answer": pack(trial.recipe, answer), "spent": readout.spent})
        ledger.put(readout)
        checkpoint.unlink(missing_ok=True)
        return readout
