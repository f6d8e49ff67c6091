"""The benchmarks run; what they measure at such sizes says nothing."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


def printed(script: str, *options: str) -> str:
    command = [sys.executable, "-W", "error", str(FOLDER / script), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def tables(text: str) -> dict[str, list[str]]:
    """What stands above a table → the names of its arms."""
    found: dict[str, list[str]] = {}
    for block in text.split("\n\n"):
        title, *lines = block.strip().split("\n")
        if arms := [line[:26].strip() for line in lines if re.search(r" \d+\.\d{3} +\d+\.\d\d +\(", line)]:
            found[title] = arms
    return found


def test_nets() -> None:
    found = tables(printed("nets.py", "--quick"))
    assert len(found) == 4
    assert all(arms[1].startswith("placebo") for arms in found.values())
    decoders, canon, _, linear = found.values()
    assert {"decoder", "by hand", "transformers"} <= set(decoders)
    assert {"plain", "canon AC", "canon ABCD"} <= set(canon)
    assert {"GLA", "Mamba2 (SSD)", "gated DeltaNet"} <= set(linear)


def test_gpu_on_the_cpu() -> None:
    found = tables(printed("gpu.py", "--quick", "--device", "cpu"))
    assert len(found) == 6
    assert all(arms[1].startswith("placebo") for arms in found.values())
    ways = [title for title in found if title.startswith("Canon,")]
    assert [re.split("[,:] ?", title)[1] for title in ways] == ["forward", "backward", "generation"]


def test_gpu_without_one() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU, where the script measures for minutes")
    assert printed("gpu.py") == "there is no GPU that this torch could use: nothing is measured\n"


def test_svd() -> None:
    text = printed("svd.py", "--quick")
    (arms,) = tables(text).values()
    assert arms[1].startswith("placebo")
    assert {
        "svds arpack, tol .1",
        "solve, tol 1e-3",
        "randomized_svd, 4",
        "block_krylov, 8",
        "lazy_svd, cg, .1",
    } <= set(arms)
    assert re.search(r"lazy_svd, cg, .1 takes \d+\.\d times the products of svds arpack", text)


def test_streaming() -> None:
    lines = printed("streaming.py", "--quick").splitlines()
    arms = [line[:30].strip() for line in lines if re.search(r" \d+\.\d\d \(.*\) +\d\.\d\de", line)]
    assert arms[1].startswith("placebo")
    assert {"oja, told the gap", "IncrementalPCA, 5d = default", "covariance and eigh"} <= set(arms)
    assert re.search(r"takes ≥ 10 times as long \(\d+\.\d\), at no less error \(\d+\.\d\d of it\)", lines[-2])


def test_solvers() -> None:
    """Peers of scikit-learn warn that they have not converged, which the script ignores, and nobody else may."""
    text = printed("solvers.py", "ridge", "inner", "--quick")
    arms = {line[:28].strip() for line in text.splitlines()}
    assert {"auto", "placebo: auto again", "SciPy CG, Jacobi", "sklearn sparse_cg"} <= arms
    assert re.search(r"liblinear, dual +1\.00\n", text)


def test_memory() -> None:
    lines = printed("memory.py", "--quick").splitlines()
    assert re.match(r"numpy.load of 0\.\d\d GB under a limit of .* GB: MemoryError", lines[0])
    assert re.search(r"proved to be within \d\.\de-\d\d of the optimum", lines[1])
