"""A bench in a temporary folder, driven by its command line as a user drives it."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "100", "PYTHONDONTWRITEBYTECODE": "1"}
PATIENCE = 120.0  # seconds after which a process that should have ended hangs


class Bench:
    """A folder with studies, and `airtrack` as a process of its own process group."""

    def __init__(self, folder):
        self.folder = folder
        self._started = []

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    def start(self, *words, **environment):
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell leaves it to what it starts with &
            signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(
            [sys.executable, "-m", "airtrack.cli", *map(str, words)],
            cwd=self.folder,
            env=ENVIRONMENT | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def finish(self, process):
        """(exit code, stdout, stderr)"""
        out, err = process.communicate(timeout=PATIENCE)
        return process.returncode, out, err

    def run(self, *words, **environment):
        return self.finish(self.start(*words, **environment))

    def close(self):
        for process in self._started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def until():
    """Wait for a condition, and return its value once that is true."""

    def wait(condition, every=0.005):
        end = time.monotonic() + PATIENCE
        while not (value := condition()):
            assert time.monotonic() < end, "waited in vain"
            time.sleep(every)
        return value

    return wait


@pytest.fixture(scope="session")
def filed():
    """Name → bytes of all that a ledger keeps of its trials, without what no repetition gives again."""

    def read(ledger):
        files = (p for p in (Path(ledger) / "trials").iterdir() if not p.name.endswith(".cost.json"))
        return {p.name: p.read_bytes() for p in files}

    return read
