"""The report in a browser that has no network: it is drawn, and it fits a telephone."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from airtrack import report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]
OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no chromium on PATH; install chromium to look at the page in a browser"
    ),
]


def chromium(folder: Path, url: str, *flags: str) -> str:
    command = [str(CHROMIUM), *FLAGS, OFFLINE, f"--user-data-dir={folder / 'profile'}", *flags, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = Path(__file__).parent.parent / "unit" / "report" / "conftest.py"
    source = importlib.util.spec_from_file_location("report_cases", path)
    assert source is not None
    assert source.loader is not None
    cases = importlib.util.module_from_spec(source)
    sys.modules["report_cases"] = cases
    source.loader.exec_module(cases)
    return report.write(cases.cases()["three comparisons"], tmp_path_factory.mktemp("report") / "r.html", command="x")


def test_page_is_drawn_without_network(page):
    seen = chromium(page.parent, page.as_uri(), "--dump-dom")
    assert seen.count("<svg") == 8
    assert "is better than" in seen


@pytest.mark.parametrize("width", [400, 1280])
def test_page_is_no_wider_than_the_window(page, width):
    probe = page.parent / f"probe-{width}.html"
    script = (
        "const d = document.getElementById('f').contentDocument.documentElement; document.title = 'w=' + d.scrollWidth"
    )
    frame = (
        f'<iframe id="f" src="{page.name}" style="width:{width}px;height:900px;border:0" onload="{script}"></iframe>'
    )
    probe.write_text(f"<!DOCTYPE html><title>none</title>{frame}")
    seen = chromium(
        page.parent, probe.as_uri(), "--dump-dom", "--allow-file-access-from-files", "--window-size=1400,1000"
    )
    found = re.search(r"<title>w=(\d+)</title>", seen)
    assert found is not None
    assert int(found[1]) <= width


def test_page_prints(page):
    target = page.parent / "r.pdf"
    chromium(page.parent, page.as_uri(), f"--print-to-pdf={target}", "--no-pdf-header-footer")
    pages = len(re.findall(rb"/Type\s*/Page\b", target.read_bytes()))
    assert 1 < pages < 15
