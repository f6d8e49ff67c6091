"""The page: whole, self-contained, escaped, the same every time, for every odd result."""

from __future__ import annotations

import html
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from airtrack import report
from airtrack.core.part import SpecError
from airtrack.report.page import page

VOID = {"meta", "link", "br", "img", "hr", "input"}
CASES = [
    "better",
    "worse",
    "open",
    "equivalent",
    "equal",
    "far apart",
    "one seed",
    "two seeds",
    "forty seeds",
    "failures",
    "all failed",
    "bimodal",
    "three comparisons",
    "tuned",
    "two fields",
    "not comparable",
    "times",
    "tuning",
    "confirming",
    "nothing yet",
    "nasty names",
    "looks",
]


class Reader(HTMLParser):
    """Checks that elements nest, and keeps the text, the tags and the attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(k, v or "") for k, v in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(k, v or "") for k, v in attrs]

    def handle_endtag(self, tag):
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def test_every_case_is_looked_at(results):
    assert sorted(results) == sorted(CASES)


@pytest.mark.parametrize("name", CASES)
def test_page_is_whole_and_stands_alone(results, name):
    result = results[name]
    text = page(result, command="airtrack run quiz.yaml")
    reader = read(text)
    assert len(text.encode()) < 1_000_000
    assert "script" not in reader.tags
    assert not {"link", "img", "iframe", "object", "image"} & set(reader.tags)
    for key, value in reader.attributes:
        if key in ("src", "href", "xlink:href", "srcset", "data"):
            assert value.startswith("#"), (key, value)
        assert not key.startswith("on")
    assert not re.search(r"url\((?!#)", text)
    assert "@import" not in text
    assert "@font-face" not in text
    ids = [v for k, v in reader.attributes if k == "id"]
    assert len(ids) == len(set(ids))
    shown = " ".join("".join(reader.text).split())
    for verdict in result.verdicts:
        assert str(verdict) in shown
    for arm in result.study.arms:
        assert arm in shown
    if result.phase != "done":
        assert f"not finished: {len(result.missing)} trial" in shown
        assert not re.search(r'class="badge (win|loss|same|stop)', text)
    assert "airtrack run quiz.yaml" in shown
    assert not re.search(r"\b(nan|None|inf)\b", re.sub(r'<pre class="yaml">.*?</pre>', "", text, flags=re.S))


def test_every_figure_says_what_it_shows(results):
    reader = read(page(results["three comparisons"]))
    labels = [v for k, v in reader.attributes if k == "aria-label"]
    assert reader.tags.count("svg") == len(labels) == 8
    assert all(len(label) > 20 for label in labels)


def test_names_are_text_and_nothing_else(results):
    text = page(results["nasty names"], command="airtrack run '<i>.yaml' & echo \"x\"")
    read(text)
    assert '<b>&"x"$y$' not in text
    assert "<script" not in text.lower()
    assert html.escape('<b>&"x"$y$') in text or "&lt;b&gt;&amp;&#34;x&#34;$y$" in text
    assert "{{ 7 * 7 }}" in text


def test_same_result_same_bytes(results, tmp_path):
    for name in ("tuned", "three comparisons"):
        first = report.write(results[name], tmp_path / "a.html", command="x").read_bytes()
        assert report.write(results[name], tmp_path / "b.html", command="x").read_bytes() == first


def test_contradictions_are_a_banner(results):
    text = page(results["better"], contradictions=["b2b65de3677d7239"])
    assert "Not deterministic here" in text
    assert "b2b65de3677d7239" in text
    assert "Not deterministic here" not in page(results["better"])


def test_failed_and_late_seeds_are_told(results):
    failed, late = page(results["failures"]), page(results["times"])
    assert failed.count(">failed</td>") == 2
    assert "iterates grew beyond 1e30" in failed
    assert late.count("(not reached)") >= 3
    assert "not reached" in late


def test_write_makes_folders_and_leaves_nothing_half_done(results, tmp_path):
    path = report.write(results["better"], tmp_path / "deep" / "er" / "r.html")
    assert [p.name for p in path.parent.iterdir()] == ["r.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecError, match="cannot write the report"):
        report.write(results["better"], tmp_path / "file" / "r.html")


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_missing_package_is_one_clear_line(results, monkeypatch, package):
    for name in [m for m in sys.modules if m.startswith("airtrack.report.") or m.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SpecError, match=rf"needs {package}; install it with: pip install 'airtrack\[report\]'"):
        report.write(results["better"], Path("never.html"))
    assert not Path("never.html").exists()
