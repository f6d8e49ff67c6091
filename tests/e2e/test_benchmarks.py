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


def verdicts(text: str) -> list[str]:
    """What is said to be met or not, whichever it is."""
    return re.findall(r"^(?:met    |NOT MET)  (.*)$", text, re.MULTILINE)


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
    by_solve, by_peer = (
        text.split(title)[1].split("\n\n")[0] for title in ("\nsolve, and the fast", "\na peer, and the fast")
    )
    assert len(verdicts(by_solve)) == len([arm for arm in arms if arm.startswith("solve")])
    assert len(verdicts(by_peer)) == len([arm for arm in arms if arm.startswith(("svds", "randomized"))])


def test_streaming() -> None:
    lines = printed("streaming.py", "--quick").splitlines()
    arms = [line[:30].strip() for line in lines if re.search(r" \d+\.\d\d \(.*\) +\d\.\d\de", line)]
    assert arms[1].startswith("placebo")
    assert {"oja, told the gap", "IncrementalPCA, 5d = default", "covariance and eigh"} <= set(arms)
    method, estimator = verdicts("\n".join(lines))
    assert method.startswith("history_pca: IncrementalPCA")
    assert estimator.startswith("StreamingPCA, the estimator: IncrementalPCA")


def test_solvers() -> None:
    """Peers of scikit-learn warn that they have not converged, which the script ignores, and nobody else may."""
    text = printed("solvers.py", "ridge", "inner", "--quick")
    arms = {line[:28].strip() for line in text.splitlines()}
    assert {"auto", "placebo: auto again", "solve, proof included", "SciPy CG, Jacobi", "sklearn sparse_cg"} <= arms
    assert re.search(r"liblinear, dual +1\.00 +1\.00\n", text)
    said, summary = text.split("\nWhat is asked: ")
    assert verdicts(said) == verdicts(summary)
    asked = [re.findall(r"^(.*?): .*, asked (.*)$", line)[0] for line in verdicts(summary)]
    rows = [f"ridge, sparse (300, 200), rows exp({spread} N(0, 1)), κ/n = 100" for spread in ("0", "1", "1.5", "2")]
    for row, heavy in zip(rows, (False, False, True, True)):
        assert [limit for title, limit in asked if title == row] == ["≤ 1.3", *["≥ 1.3"] * heavy, "≥ 5", "≥ 5"]
    assert [title for title, limit in asked if limit == "≤ 1.3"][:4] == [
        f"inner loop of {name}" for name in ("sdca", "saga", "svrg", "katyusha")
    ]


def test_solvers_beside_liblinear_and_in_memory() -> None:
    lines = verdicts(printed("solvers.py", "sparse", "memory", "--quick").split("\nWhat is asked: ")[1])
    assert len([line for line in lines if "asked ≤ 1.2" in line]) == 3
    assert len([line for line in lines if line.endswith("of 6 d + 2 n, asked ≤ 1")]) == 18


def test_memory() -> None:
    lines = printed("memory.py", "--quick").splitlines()
    assert re.match(r"numpy.load of 0\.\d\d GB under a limit of .* GB: MemoryError", lines[0])
    assert re.search(r"proved to be within \d\.\de-\d\d of the optimum", lines[1])
