"""What the documentation shows runs, and what there is, it names."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from airtrack.core.part import FAMILIES, shipped

TOP = Path(__file__).parents[2]
FENCE = re.compile(r"^```(python|yaml|bash)\n(# ([\w-]+\.(?:py|yaml|sh))\n.*?)^```$", re.MULTILINE | re.DOTALL)
SMALL = 8  # a study's budget is divided by it: enough for a step and a warm-up, too little for an answer

# Runs files with every study cut down to one trial an arm: the code path of the page, not its minutes.
RUNNER = """
import dataclasses, runpy, subprocess, sys
from airtrack.study.spec import Study, settings
whole = Study.run
def small(study, *args, **options):
    arms = {{name: settings(recipe)[0][1] for name, recipe in study.arms.items()}}
    less = dataclasses.replace(study, arms=arms, budget=study.budget // {small}, points=2, seeds=1)
    return whole(less, *args, workers=1)
Study.run = small
for file in sys.argv[1:]:
    print("running", file, flush=True)
    if file.endswith(".py"):
        runpy.run_path(file, run_name="__main__")
    elif file.endswith(".yaml"):
        print(Study.load(file).run().verdict)
    else:
        subprocess.run(["bash", "-e", file], check=True)
"""


def snippets(page: Path) -> list[tuple[str, str]]:
    """(file, text) of every fence whose first line is a comment that names a file; the others are not meant to run."""
    return [(name, text) for _, text, name in FENCE.findall(page.read_text("utf-8"))]


@pytest.mark.parametrize("page", ["README.md", "docs/first-study.md", "docs/own-part.md"])
def test_snippets_run(page: str, tmp_path: Path) -> None:
    found = snippets(TOP / page)
    assert len({name for name, _ in found}) == len(found) > 0
    runner = tmp_path / "runner.py"
    runner.write_text(RUNNER.format(small=SMALL), "utf-8")
    folder = tmp_path / "page"
    folder.mkdir()
    for name, text in found:
        (folder / name).write_text(text, "utf-8")
    environment = os.environ | {"PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))}
    command = [sys.executable, str(runner), *(name for name, _ in found)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{page}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    studies = sum(name.endswith(".yaml") for name, _ in found)
    assert len(re.findall(r"verdict yet|not comparable|equivalent|is better than", done.stdout)) >= studies, done.stdout


PRESENT = [f for f in FAMILIES if (TOP / "src/airtrack" / FAMILIES[f]).is_dir() and shipped(f)]


@pytest.mark.parametrize("family", PRESENT)
def test_every_part_is_on_its_family_page(family: str) -> None:
    page = TOP / "docs" / f"{FAMILIES[family]}.md"
    text = page.read_text("utf-8")
    missing = [name for name in shipped(family) if f"`{name}`" not in text]
    assert not missing, f"{page.name} says nothing of {', '.join(missing)}; one line each is enough"


def test_every_study_has_a_page_in_the_gallery() -> None:
    index = (TOP / "docs/gallery/index.md").read_text("utf-8")
    for study in sorted((TOP / "src/airtrack/studies").glob("*.yaml")):
        assert (TOP / "docs/gallery" / f"{study.stem}.md").is_file(), f"{study.stem} has no page"
        assert f"({study.stem}.md)" in index, f"{study.stem} is not in the gallery's index"


def test_every_verb_is_on_the_page_of_the_command_line() -> None:
    from airtrack.cli import app

    page = (TOP / "docs/cli.md").read_text("utf-8")
    for command in app.registered_commands:
        assert f"airtrack {command.name} --help" in page, f"docs/cli.md says nothing of {command.name}"
