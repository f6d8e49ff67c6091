"""One thread a process, before anything imports numpy or torch: threads of two processes on one core wait for each other."""

import os

for library in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
    os.environ[f"{library}_NUM_THREADS"] = "1"
