"""One thread a process, before anything imports numpy or torch: threads that outnumber the cores spin."""

import os
from importlib.util import find_spec

for library in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

# Kernels for GPUs: doctests import every module, and this one needs triton.
collect_ignore = [] if find_spec("triton") else ["src/airtrack/nets/canon_triton.py"]
