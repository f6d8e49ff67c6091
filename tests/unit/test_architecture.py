"""The house: arrows point down, importing airtrack is light, files are short, no part touches a global generator."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "airtrack"
FILES = sorted(p for folder in ("src", "tests", "benchmarks", "docs") for p in (ROOT / folder).rglob("*.py"))
PARTS = sorted(
    p
    for folder in ("tasks", "nets", "optim", "train", "solvers", "adapt", "compress", "probes")
    for p in (SOURCE / folder).rglob("*.py")
)


def run(*command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")


def test_arrows_point_down():
    found = run(sys.executable, "-c", "from importlinter.cli import lint_imports_command as l; l()", "--no-cache")
    assert found.returncode == 0, found.stdout
    assert "4 kept, 0 broken" in found.stdout


@pytest.mark.parametrize("module", ["airtrack", "airtrack.cli", "airtrack.core.part", "airtrack.nets"])
def test_import_is_light(module):
    heavy = ["torch", "numba", "scipy", "pandas", "matplotlib", "sklearn"]
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    assert run(sys.executable, "-c", code).stdout.strip() == "[]"


def test_listing_parts_and_loading_a_study_of_solvers_imports_no_torch():
    code = """
import sys
from airtrack import catalogue
from airtrack.study.spec import Study
list(catalogue.show(None, None))
Study.load("katyusha-svrg").to_yaml()
print("torch" in sys.modules)
"""
    assert run(sys.executable, "-c", code).stdout.strip() == "False"


def test_files_are_found():
    assert len(PARTS) > 20
    assert Path(__file__) in FILES


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_passes_600_lines(path):
    assert len(path.read_text("utf-8").splitlines()) <= 600


# ------------------------------------------------------------------------------------------------ global generators

NUMPY = {"Generator", "Philox"}  # what may be called below np.random: everything else has a hidden or a system seed
TORCH = re.compile("(manual_)?seed|rand(n|int|perm)?(_like)?|normal|bernoulli|multinomial|poisson")
FILLS = re.compile(
    "((trunc|log|xavier|kaiming)_)?(normal|uniform)_|(bernoulli|exponential|random|geometric|cauchy|orthogonal|sparse)_"
    "|multinomial"
)


def offences(text):
    """Calls that draw from, or seed, a generator that the whole process shares: [(line, what)]."""
    tree = ast.parse(text)
    aliases = {"numpy": "np"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {a.asname or a.name: {"numpy": "np"}.get(a.name, a.name) for a in node.names}
        if isinstance(node, ast.ImportFrom):
            aliases |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    shielded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.With) and any("fork_rng" in ast.unparse(item.context_expr) for item in node.items)
        for inner in ast.walk(node)
    }
    found = []
    for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call)):
        head, _, rest = ast.unparse(call.func).partition(".")
        name = ".".join(filter(None, (aliases.get(head, head), rest))).replace("numpy.random", "np.random")
        last = name.rpartition(".")[2]
        passed = any(k.arg == "generator" for k in call.keywords)
        bad = (
            (name.startswith("np.random.") and last not in NUMPY)
            or (name.startswith("random.") and aliases.get("random") == "random")
            or name.startswith(("secrets.", "uuid.uuid"))
            or (name.startswith("torch.") and TORCH.fullmatch(last) and name.count(".") == 1 and not passed)
            or (isinstance(call.func, ast.Attribute) and FILLS.fullmatch(last) and not passed)
            or ("default_generator" in name and id(call) not in shielded)
        )
        if bad:
            found.append((call.lineno, name))
    return found


@pytest.mark.parametrize("path", PARTS, ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_part_touches_a_global_generator(path):
    assert offences(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "import numpy as np; np.random.normal()",
        "import numpy as np; np.random.seed(0)",
        "import numpy; numpy.random.default_rng(0)",
        "from numpy.random import default_rng; default_rng()",
        "from numpy import random; random.rand()",
        "import random; random.random()",
        "import torch; torch.randn(3)",
        "import torch; torch.manual_seed(0)",
        "import torch; torch.empty(3).normal_()",
        "from torch import nn; nn.init.xavier_uniform_(w)",
        "import torch; torch.default_generator.manual_seed(0)",
        "probabilities.multinomial(1)",
    ],
)
def test_a_global_generator_would_be_seen(line):
    assert len(offences(line)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "import torch; torch.randn(3, generator=g)",
        "import torch; torch.empty(3).normal_(0, 1, generator=g)",
        "import numpy as np; np.random.Generator(np.random.Philox(key=1))",
        "streams.rng(0).normal(3)",
        "import torch\nwith torch.random.fork_rng(devices=[]):\n    torch.default_generator.manual_seed(1)",
        "import random",
    ],
)
def test_a_named_generator_is_no_offence(line):
    assert offences(line) == []
