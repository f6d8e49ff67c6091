"""What is seen while a study runs."""

import io

import pytest
from rich.console import Console

from airtrack.core.part import Grid
from airtrack.study.live import Board, shown
from airtrack.study.result import resolve


def console(width=100, terminal=False):
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)


def tuned(toys, **fields):
    arms = {mode: toys.Dial(mode=mode, rate=Grid(0.5, 1.0, 2.0)) for mode in ("one", "two")}
    return toys.study(arms, **fields)


def read(recipe, seed):
    return 0.5 if recipe.rate == 1.0 else 0.25 + (seed % 7) / 1000


def done(value, seconds=1.25):
    return {
        "event": "done",
        "state": "done",
        "metrics": {"score": value, "loss": 1 - value},
        "cost": {"seconds": seconds},
    }


def test_plain_lines_where_there_is_no_terminal(toys, pretend):
    study, out = toys.study(seeds=2), console()
    board = Board(study, out)
    board.round(resolve(study, pretend(study, read, there=lambda trial: False)))
    trial = study.trial(study.arms["high"], 1)
    board.event(trial, {"event": "started"})
    board.event(trial, {"event": "progress", "spent": 10, "metrics": {"score": 0.1, "loss": 0.9}})
    board.event(trial, done(0.81234567))
    assert out.file.getvalue() == "confirming: 4 trials\n  confirm high, seed 1: score 0.8123, 1.2 s\n"


def test_a_trial_that_diverged_is_said_in_its_line(toys, pretend):
    study, out = toys.study(seeds=2), console()
    board = Board(study, out)
    board.round(resolve(study, pretend(study, read, there=lambda trial: False)))
    board.event(study.trial(study.arms["high"], 1), done(0.0) | {"state": "diverged"})
    assert "seed 1: diverged" in out.file.getvalue()


def test_tuning_says_what_it_tries(toys, pretend):
    study, out = tuned(toys), console()
    board = Board(study, out)
    result = resolve(study, pretend(study, read, there=lambda trial: False))
    board.round(result)
    board.event(result.missing[0], done(0.5))
    first, second = out.file.getvalue().splitlines()
    assert first == "tuning: 12 trials"
    assert second == "  tune one, rate 0.5, seed 0: score 0.5, 1.2 s"


def drawn(board, width):
    out = console(width)
    out.print(board)
    return out.file.getvalue()


@pytest.mark.parametrize("width", [80, 100, 140])
def test_table_counts_by_arm(width, toys, pretend):
    study = toys.study(seeds=4)
    board = Board(study, console(width, terminal=True))
    board.round(resolve(study, pretend(study, read, there=lambda trial: trial.recipe.aim == 0.2 and trial.seed < 3)))
    half = study.trial(study.arms["high"], 0)
    board.event(half, {"event": "started"})
    board.event(half, {"event": "progress", "spent": 10, "metrics": {"score": 0.3, "loss": 0.7}})
    for seed in (1, 2):
        board.event(study.trial(study.arms["high"], seed), {"event": "started"})
        board.event(study.trial(study.arms["high"], seed), done(0.75))
    text = drawn(board, width)
    assert "study: confirming, 2 of 5 trials" in text
    low, high = (next(line for line in text.splitlines() if f" {arm} " in line) for arm in ("low", "high"))
    assert "0/1" in low
    assert "2/4" in high
    assert "0.75" in high
    assert max(map(len, text.splitlines())) <= width


def test_table_says_what_the_arms_were_tuned_to(toys, pretend):
    study = tuned(toys, seeds=3)
    board = Board(study, console(terminal=True))
    board.round(resolve(study, pretend(study, read, there=lambda trial: trial.seed > 1000)))
    text = drawn(board, 100)
    assert "tuned to" in text
    assert "rate 1" in text


def test_a_trial_is_counted_once_however_often_it_starts(toys, pretend):
    study = toys.study(seeds=2)
    board = Board(study, console(terminal=True))
    board.round(resolve(study, pretend(study, read, there=lambda trial: False)))
    trial = study.trial(study.arms["low"], 0)
    for event in ({"event": "started"}, {"event": "started"}, done(0.5)):
        board.event(trial, event)
    assert "1 of 4 trials" in drawn(board, 100)


def test_nothing_to_run_says_nothing(toys, tmp_path):
    shown(toys.study(seeds=2), tmp_path / "ledger", console=console(), workers=1)
    out = console()
    result = shown(toys.study(seeds=2), tmp_path / "ledger", console=out, workers=1)
    assert result.phase == "done"
    assert out.file.getvalue() == ""


@pytest.mark.parametrize("terminal", [False, True])
def test_shown_ends_with_the_result(terminal, toys, tmp_path):
    out = console(terminal=terminal)
    result = shown(toys.study(seeds=6), tmp_path / "ledger", console=out, workers=1)
    assert result.verdict.outcome == "a better"
    assert "confirming" in out.file.getvalue()
    assert ("confirm high, seed 5" in out.file.getvalue()) == (not terminal)
