"""Figures for papers, the ruler, and the table that ends a run."""

from __future__ import annotations

import dataclasses
import io
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console

from airtrack import report
from airtrack.report.numbers import number, with_interval
from airtrack.report.ruler import Ruler
from airtrack.report.statistics import rows
from airtrack.report.view import view


def test_figures_have_names_and_save(results, tmp_path):
    figures = report.figures(results["tuned"])
    assert list(figures) == ["readings: new, old", "differences: new, old", "curves", "tuning: old", "tuning: new"]
    assert next(iter(report.figures(results["three comparisons"]))) == "overview"
    assert report.figures(results["nothing yet"]) == {}
    for i, figure in enumerate(figures.values()):
        assert figure.get_figwidth() == 3.5
        figure.savefig(tmp_path / f"{i}.pdf")


def test_figures_leave_the_users_settings_alone(results):
    import matplotlib as mpl

    mpl.rcParams["font.size"] = 17.0
    try:
        report.figures(results["better"])
        assert mpl.rcParams["font.size"] == 17.0
    finally:
        mpl.rcdefaults()


def test_an_arm_has_one_colour_everywhere(results):
    seen = view(results["three comparisons"])
    assert len({arm.colour for arm in seen.arms.values()}) == 4
    assert all(p.a is seen.arms[p.a.name] and p.b is seen.arms[p.b.name] for p in seen.pairings)


@pytest.mark.parametrize("ruler", [Ruler("m", s) for s in ("lin", "log", "logit")])
def test_ticks_are_round_readings_in_order(ruler):
    rng = np.random.default_rng(0)
    for _ in range(300):
        ends = rng.random(2) if ruler.scale == "logit" else 10.0 ** rng.uniform(-9, 3, 2)
        low, high = ruler.limits(ruler.place(ends))
        at, labels = ruler.ticks(low, high)
        assert 1 <= len(at) <= 12
        assert len(set(labels)) == len(labels) == len(at)
        assert all(low - 1e-9 <= p <= high + 1e-9 for p in at)
        assert at == sorted(at)


def test_limits_hold_equal_readings_and_none():
    ruler = Ruler("m", "logit")
    low, high = ruler.limits(ruler.place([1.0, 1.0]))
    assert low < ruler.place([1.0])[0] < high
    assert ruler.limits(np.array([np.nan])) == (0.0, 1.0)


def test_differences_are_those_of_the_verdict(results):
    for name in ("better", "tuned", "forty seeds", "times"):
        for p in view(results[name]).pairings:
            assert p.verdict is not None
            known = [d for d in p.verdict.differences if d is not None]
            np.testing.assert_allclose(p.shown[np.isfinite(p.shown)], known)


def test_statistics_show_what_there_is(results):
    table = {row.label: row.cells for _, its in rows(results["tuned"].verdicts) for row in its}
    assert table["p, sign-flip"] == (".0078",)
    assert table["Effect [interval]"][0].startswith("× ")
    assert "Successes" not in table
    bimodal = {row.label: row.cells for _, its in rows(results["bimodal"].verdicts) for row in its}
    assert bimodal["Successes"] == ("new 12, old 3",)


def test_numbers_agree_with_the_sentence(results):
    for result in results.values():
        for v in result.verdicts:
            if v.outcome == "a better" and v.effect is not None and v.method != "success probability":
                assert with_interval(v.effect, *v.effect_interval).replace("−", "-") in str(v)


def test_zero_and_negative_numbers():
    assert [number(x) for x in (0, 0.0, -0.25, -3e-7, 1e-300, 999999)] == [
        "0", "0", "−0.25", "−3 × 10⁻⁷", "10⁻³⁰⁰", "999\u202f999",
    ]  # fmt: skip


def printed(result) -> str:
    console = Console(width=100, file=io.StringIO(), force_terminal=False)
    console.print(report.terminal(result))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_terminal_says_sentences_then_the_table(results):
    text = printed(results["three comparisons"])
    assert text.startswith("nope+canon A is better than rope")
    assert "p (Holm)" in text
    assert "equivalent" in text
    assert "not finished: 10 trials of the confirmation missing" in printed(results["confirming"])
    assert '<b>&"x"$y$' in printed(results["nasty names"])


def test_terminal_needs_no_matplotlib():
    code = "import sys, airtrack.report; assert not {'matplotlib', 'jinja2', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_ratio_without_bound_leaves_the_others_room(results):
    whole = results["three comparisons"]
    told = [(0.8, (0.7, 0.9)), (0.5, (0.0, 0.6)), (0.0, (0.0, 0.4))]
    verdicts = tuple(
        dataclasses.replace(v, effect_kind="ratio", effect=effect, effect_interval=ends, smallest_effect=None)
        for v, (effect, ends) in zip(whole.verdicts, told)
    )
    figure = report.figures(dataclasses.replace(whole, verdicts=verdicts))["overview"]
    low, high = figure.axes[0].get_xlim()
    assert -0.6 < low < np.log10(0.4)
    assert 0 < high < 0.1
