"""A data set four times larger than memory: written to disk, mapped a window at a time, solved under `ulimit -v`.

Logistic regression on 8 GB of single-precision rows, in a process that may have 2 GB of addresses, its interpreter,
compiler and libraries included. Prints the relative suboptimality that the certificate proves, and the peak.

    python benchmarks/memory.py [--folder /tmp] [--rows 1_000_000] [--method katyusha] [--quick]
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from airtrack.core.given import Blocks, FiniteSum
from airtrack.core.streams import Streams
from airtrack.solvers.solution import solve

D, CHUNK = 2000, 8192  # dimensions; rows that are written at a time
MARGIN = 1 << 27  # bytes that a quick run may have beyond what the interpreter takes by itself


def write(folder, n):
    """rows.npy [n, D] in single precision, rows of about unit length, and labels.npy [n] of a logistic model."""
    rows = np.lib.format.open_memmap(folder / "rows.npy", "w+", np.float32, (n, D))
    hidden, labels = Streams(0).rng().standard_normal(D), np.empty(n)
    for number, first in enumerate(range(0, n, CHUNK)):
        rng = (Streams(0) / "rows").rng(number)
        part = rng.standard_normal((min(CHUNK, n - first), D), np.float32) / np.float32(D**0.5)
        rows[first : first + len(part)] = part
        chance = 1 / (1 + np.exp(-3 * (part @ hidden)))
        labels[first : first + len(part)] = np.where(rng.random(len(part)) < chance, 1.0, -1.0)
    rows.flush()
    np.save(folder / "labels.npy", labels)


def status(name):
    """Bytes that the system says this process has."""
    return 1024 * int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0])


def work(folder, limit, method, tol):
    """Solve under the limit; runs in a process of its own."""
    small = Blocks(lambda i: np.eye(3, dtype=np.float32), (3, 3), 3)
    solve(FiniteSum(small, np.array([1.0, -1.0, 1.0]), l2=0.1), method, tol=0.5)  # its code is compiled and loaded
    limit = limit or status("VmSize") + MARGIN
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    file = folder / "rows.npy"
    size = file.stat().st_size
    try:
        np.load(file)
        raise AssertionError("the data fit: nothing is shown")
    except MemoryError:
        print(f"numpy.load of {size / 1e9:.2f} GB under a limit of {limit / 1e9:.2f} GB: MemoryError")
    rows = Blocks.open(file, room=1 << 24)
    given = FiniteSum(rows, np.load(folder / "labels.npy"), l2=0.25 / (10 * rows.shape[0]))
    start = time.perf_counter()
    found = solve(given, method, passes=60, tol=tol)
    proved = found.gap / (np.log(2) - found.objective)
    print(
        f"{method}: proved to be within {proved:.1e} of the optimum after {found.passes:.0f} passes, "
        f"{time.perf_counter() - start:.0f} s; peak resident {status('VmHWM') / 1e9:.2f} GB, data {size / 1e9:.2f} GB"
    )
    assert found.converged


def main():
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where there is room for the data")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--method", default="katyusha")
    parser.add_argument("--limit", type=int, default=2 << 30)
    parser.add_argument("--quick", action="store_true", help="512 MiB of data, in 128 MiB beyond the interpreter's own")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    tol = 1e-2 if options.quick else 1e-6
    limit = 0 if options.quick else options.limit
    if options.work:
        work(options.work, limit, options.method, tol)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        write(Path(folder), 67_200 if options.quick else options.rows)
        again = [sys.executable, __file__, "--work", folder, "--method", options.method, "--limit", str(options.limit)]
        subprocess.run([*again, *(["--quick"] if options.quick else [])], check=True)


if __name__ == "__main__":
    main()
