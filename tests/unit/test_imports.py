"""`import airtrack as at`: everything public is there at first use, and nothing before."""

import importlib.metadata
import inspect
import subprocess
import sys

import pytest

import airtrack as at

FOLDERS = ["tasks", "nets", "optim", "train", "solvers", "adapt", "compress", "claims", "sklearn"]


@pytest.mark.parametrize("name", at.__all__)
def test_public_names_are_there(name):
    assert inspect.getdoc(getattr(at, name))
    assert name in dir(at)


@pytest.mark.parametrize("folder", FOLDERS)
def test_folders_give_the_classes_of_their_files(folder):
    package = getattr(at, folder)
    for name in dir(package):
        found = getattr(package, name)
        assert found.__name__ == name
        assert found.__module__.startswith(f"airtrack.{folder}.")


@pytest.mark.parametrize("place", ["", "tasks", "nets"])
def test_a_name_that_is_not_there_is_said(place):
    package = getattr(at, place) if place else at
    with pytest.raises(AttributeError, match=r"has no attribute 'Nonesuch'"):
        package.Nonesuch  # noqa: B018


def test_version_is_the_distributions():
    assert at.__version__ == importlib.metadata.version("airtrack")


def test_a_solver_task_needs_no_torch():
    code = "import sys, airtrack as at; at.tasks.Logistic(n=20, d=3); at.Grid(1, 2); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
