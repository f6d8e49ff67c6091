"""The verdicts of a study in a terminal: the sentences, then one row a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from airtrack.report.numbers import count, percent
from airtrack.report.statistics import effect, p_value

if TYPE_CHECKING:
    from airtrack.study.result import Result
    from airtrack.study.statement import Verdict

STYLES = {
    "a better": "bold green",
    "b better": "bold magenta",
    "equivalent": "bold cyan",
    "not comparable": "bold yellow",
}


def terminal(result: Result) -> Group:
    """What `airtrack run` ends with and `airtrack verdict` prints; for `rich.console.Console.print`."""
    if result.phase != "done":
        return Group(Text(unfinished(result), style="bold yellow"))
    sentences = [Text(str(v), style="bold") for v in result.verdicts]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("comparison", "outcome", "effect", "p", "seeds"):
        table.add_column(column, justify="right" if column in ("p", "seeds") else "left", overflow="fold")
    if result.verdicts:
        table.columns[2].header = f"effect [{percent(result.verdicts[0].alpha)}]"
    if any(v.p_adjusted is not None for v in result.verdicts):
        table.columns[3].header = "p (Holm)"
    for v in result.verdicts:
        cells = (
            f"{v.names[0]} against {v.names[1]}",
            outcome(v),
            effect(v).replace("−", "-"),
            p_value(claimed_p(v)),
            str(v.n or "–"),
        )
        table.add_row(*(Text(c, style=STYLES.get(v.outcome, "") if i == 1 else "") for i, c in enumerate(cells)))
    return Group(*sentences, table)


def outcome(v: Verdict) -> str:
    """The outcome in the arms' own names.

    >>> from airtrack.study.statement import Verdict
    >>> outcome(Verdict(outcome="b better", reason="", names=("svrg", "katyusha")))
    'katyusha better'
    """
    return f"{v.winner} better" if v.winner is not None else v.outcome


def claimed_p(v: Verdict) -> float | None:
    """The p of the claim that the outcome makes: of equivalence where it says so, of the difference otherwise."""
    if v.outcome == "not comparable":
        return None
    if v.p_adjusted is not None:
        return v.p_adjusted
    return v.p_equivalence if v.outcome == "equivalent" else v.p


def unfinished(result: Result) -> str:
    """How far a study is that has no verdict yet."""
    doing = {"tune": "tuning", "confirm": "confirmation"}.get(result.phase, result.phase)
    return f"not finished: {count(len(result.missing), 'trial')} of the {doing} missing"
