"""What is seen while a study runs: a live table in a terminal or a notebook, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from airtrack.study.ledger import Ledger
from airtrack.study.result import Result
from airtrack.study.run import run
from airtrack.study.spec import Study
from airtrack.study.trial import Trial
from airtrack.study.tune import TUNE_SEEDS, trials


class Board:
    """Counts what happens to a study's trials, and draws it: one row an arm."""

    def __init__(self, study: Study, console: Console) -> None:
        self.study, self.console = study, console
        self.began = time.monotonic()
        self.phase = ""
        self.arms: dict[str, str] = {}  # trial key → arm
        self.choices: dict[str, str] = {}  # trial key → the setting that it tries
        self.total: dict[str, int] = {}
        self.done: dict[str, int] = {}
        self.latest: dict[str, float] = {}
        self.running: dict[str, float] = {}  # trial key → share of its budget
        self.best: dict[str, str] = {}
        self.plain = not (console.is_terminal or console.is_jupyter)

    def round(self, result: Result) -> None:
        """A batch of trials begins."""
        self.phase = {"tune": "tuning", "confirm": "confirming"}[result.phase]
        self.total, self.done, self.running = {}, {}, {}
        self.arms, self.choices = _owners(result)
        for key in {trial.key for trial in result.missing}:
            arm = self.arms[key]
            self.total[arm] = self.total.get(arm, 0) + 1
        self.best = {arm: _told(t.chosen.choice) for arm, t in result.tunings.items()}
        self._say(f"{self.phase}: {sum(self.total.values())} trials")

    def event(self, trial: Trial, event: dict[str, Any]) -> None:
        """Something happened to a trial."""
        arm = self.arms.get(trial.key, "")
        if event["event"] == "started":
            self.running[trial.key] = 0.0
        elif event["event"] == "progress":
            self.running[trial.key] = event["spent"] / trial.budget
            self.latest[arm] = event["metrics"][self.study.metric]
        else:
            self.running.pop(trial.key, None)
            self.done[arm] = self.done.get(arm, 0) + 1
            self.latest[arm] = event["metrics"][self.study.metric]
            role = "tune" if trial.seed >= TUNE_SEEDS else "confirm"
            which = ", ".join(filter(None, (arm, self.choices.get(trial.key), f"seed {trial.seed % TUNE_SEEDS}")))
            reading = f"{self.study.metric} {_short(self.latest[arm])}" if event["state"] == "done" else event["state"]
            seconds = event["cost"].get("seconds")
            self._say(f"  {role} {which}: {reading}" + (f", {seconds:.1f} s" if seconds else ""))

    def _say(self, line: str) -> None:
        if self.plain:
            self.console.print(line, markup=False, highlight=False)

    def __rich__(self) -> Table:
        total, done = sum(self.total.values()), sum(self.done.values())
        elapsed = time.monotonic() - self.began
        title = f"{self.study.name}: {self.phase}, {done} of {total} trials, {elapsed:.0f} s"
        table = Table(title=Text(title), title_justify="left")
        table.add_column("arm")
        table.add_column("trials", justify="right")
        table.add_column("", width=20)
        table.add_column(f"last {self.study.metric}", justify="right")
        if self.best:
            table.add_column("tuned to")
        for arm in self.study.arms:
            n, of = self.done.get(arm, 0), self.total.get(arm, 0)
            partial = sum(share for key, share in self.running.items() if self.arms.get(key) == arm)
            filled = round(20 * min(1, (n + partial) / of)) if of else 20
            bar = f"[green]{'━' * filled}[/][dim]{'·' * (20 - filled)}[/]"
            cells = [Text(arm), f"{n}/{of}", bar, _short(self.latest[arm]) if arm in self.latest else ""]
            table.add_row(*cells, *([self.best.get(arm, "")] if self.best else []))
        return table


def shown(
    study: Study, ledger: Ledger | str | Path = "ledger", *, console: Console | None = None, **options: Any
) -> Result:
    """`run`, with its progress shown."""
    board = Board(study, console or Console())
    if board.plain:
        return run(study, ledger, on_round=board.round, on_event=board.event, **options)
    live = Live(board, console=board.console, refresh_per_second=4, transient=True)

    def begin(result: Result) -> None:
        board.round(result)
        live.start()

    try:
        return run(study, ledger, on_round=begin, on_event=board.event, **options)
    finally:
        live.stop()


def _owners(result: Result) -> tuple[dict[str, str], dict[str, str]]:
    """Trial key → the arm that it belongs to, and the setting that it tries."""
    study = result.study
    owner: dict[str, str] = {}
    choices: dict[str, str] = {}
    if result.phase == "tune":
        for arm, recipe in result.arms.items():
            for choice, _, its in trials(study, recipe):
                owner |= {t.key: arm for t in its}
                choices |= {t.key: _told(choice) for t in its}
    else:
        seeds = {t.seed for t in result.missing}
        owner = {study.trial(recipe, seed).key: arm for arm, recipe in result.chosen.items() for seed in seeds}
    return owner, choices


def _told(choice: Mapping[str, Any]) -> str:
    return ", ".join(f"{path.rpartition('.')[2]} {_short(value)}" for path, value in choice.items())


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
