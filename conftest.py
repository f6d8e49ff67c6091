"""One thread a process, before anything imports numpy or torch: threads that outnumber the cores spin."""

import os

for library in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
    os.environ[f"{library}_NUM_THREADS"] = "1"
