"""The one HTML file: what the template needs, in plain data, and the writing of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from airtrack.core.part import SpecError, to_spec
from airtrack.report import statistics
from airtrack.report.curves import OPTIMUM
from airtrack.report.drawing import draw
from airtrack.report.numbers import count, duration, number
from airtrack.report.style import svg
from airtrack.report.table import claimed_p, outcome, unfinished
from airtrack.report.view import BADGES, Arm, View, view
from airtrack.study.result import Result
from airtrack.study.spec import TUNE_SEEDS, Study


def write(result: Result, path: Path, *, command: str, contradictions: Sequence[str]) -> Path:
    """See `airtrack.report.write`."""
    text = page(result, command=command, contradictions=contradictions)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, "utf-8")
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise SpecError(f"cannot write the report {path}: {error.strerror}; give another place with --output") from None
    return path


def page(result: Result, *, command: str = "", contradictions: Sequence[str] = ()) -> str:
    """The report as text."""
    study, seen, drawn = result.study, view(result), draw(result)
    environment = Environment(
        loader=PackageLoader("airtrack.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    figure = {name: {"svg": Markup(svg(d, name)), "caption": d.caption} for name, d in drawn.items()}
    return environment.get_template("page.html.j2").render(
        study=study,
        question=study.question or f"Which arm is better on {plain_name(to_spec(study.task)['name'])}?",
        done=result.phase == "done",
        unfinished=unfinished(result),
        answers=[
            {"verdict": v, "word": outcome(v), "kind": BADGES[v.outcome][0], "sign": BADGES[v.outcome][1]}
            for v in result.verdicts
        ],
        what_was_done=what_was_done(result, seen),
        figure=figure,
        pairings=[_pairing(result, p, figure) for p in seen.pairings],
        statistics=statistics.rows(result.verdicts),
        adjusted=any(v.p_adjusted is not None for v in result.verdicts),
        headline=[_headline(v) for v in result.verdicts],
        tunings=_tunings(result, figure),
        cost=_cost(result, seen),
        environment=_environment(seen),
        hosts=", ".join(
            sorted({str(r.cost["host"]) for a in seen.arms.values() for r in a.readouts if r.cost.get("host")})
        ),
        yaml=study.to_yaml(),
        command=command,
        seeds=_seeds(study, seen),
        readings=_readings(seen),
        arms=list(seen.arms.values()),
        trials=_trials(result, seen),
        contradictions=list(contradictions),
        metric=seen.ruler,
        unit=study.task.unit,
    )


def what_was_done(result: Result, seen: View) -> str:
    """One line: seeds, tuning, budget, task."""
    study = result.study
    n = max((len(arm.values) for arm in seen.arms.values()), default=0)
    planned = (
        "seeds until the answer is clear, at planned looks" if study.seeds == "auto" else f"{study.seeds} paired seeds"
    )
    parts = [f"{count(n, 'paired seed')}" if result.phase == "done" else f"{planned} planned"]
    settings = {arm: len(t.responses) for arm, t in result.tunings.items()}
    if settings:
        tried = " or ".join(map(str, sorted(set(settings.values()))))
        who = "every arm" if len(settings) == len(study.arms) else ", ".join(settings)
        parts.append(
            f"{who} tuned over {tried} settings × {count(study.tune.seeds, 'seed')} that the verdict never uses"
        )
    elif not study.tuned:
        parts.append("no arm tuned")
    until = " or until " + ", ".join(f"{m} {t:g}" for m, t in study.stop_at.items()) if study.stop_at else ""
    parts.append(f"{number(study.budget)} {study.task.unit} a trial{until}")
    spec = {k: v for k, v in to_spec(study.task).items() if v is not None}
    fields = ", ".join(f"{k} = {number(v)}" for k, v in spec.items() if k != "name")
    parts.append(f"task {plain_name(spec['name'])}" + (f" ({fields})" if fields else ""))
    return "; ".join(parts) + "."


def plain_name(name: str) -> str:
    """A part's name without the file that it comes from.

    >>> plain_name("folder/block.py:Block"), plain_name("depo")
    ('Block', 'depo')
    """
    return name.rpartition(":")[2]


def _pairing(result: Result, p: Any, figure: Mapping[str, Any]) -> dict[str, Any]:
    names = f"{p.a.name}, {p.b.name}"
    shown = [figure[f"{kind}: {names}"] for kind in ("readings", "differences")]
    v = p.verdict
    badge = None if v is None else {"word": outcome(v), "kind": BADGES[v.outcome][0], "sign": BADGES[v.outcome][1]}
    return {"a": p.a.name, "b": p.b.name, "figures": shown, "badge": badge}


def _headline(v: Any) -> dict[str, str]:
    return {
        "names": f"{v.names[0]} against {v.names[1]}",
        "kind": BADGES[v.outcome][0],
        "sign": BADGES[v.outcome][1],
        "word": outcome(v),
        "effect": statistics.effect(v),
        "p": statistics.p_value(claimed_p(v)),
        "seeds": str(v.n or "–"),
    }


def _tunings(result: Result, figure: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "arm": arm,
            "chosen": ", ".join(f"{path} = {number(v)}" for path, v in t.chosen.choice.items()),
            "optimum": t.optimum,
            "meaning": OPTIMUM.get(t.optimum, t.optimum),
            "trials": sum(len(r.readings) for r in t.responses),
            "settings": len(t.responses),
            "flat": statistics.p_value(t.flat_p),
            "figure": figure[f"tuning: {arm}"],
        }
        for arm, t in result.tunings.items()
    ]


def _cost(result: Result, seen: View) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for arm in seen.arms.values():
        seconds = [float(r.cost["seconds"]) for r in arm.readouts if r.cost.get("seconds") is not None]
        tuning = result.tunings.get(arm.name)
        rows.append(
            {
                "arm": arm.name,
                "tuning": str(sum(len(r.readings) for r in tuning.responses)) if tuning else "0",
                "trials": str(len(arm.readouts)),
                "work": number(sum(r.spent for r in arm.readouts)),
                "each": duration(median(seconds)) if seconds else "–",
                "total": duration(sum(seconds)) if seconds else "–",
            }
        )
    return rows


def _environment(seen: View) -> list[tuple[str, str]]:
    """What the confirmation trials ran with; several values where trials differ."""
    found: dict[str, set[str]] = {}
    for arm in seen.arms.values():
        for r in arm.readouts:
            for name, value in r.environment.items():
                found.setdefault(name, set()).add(str(value))
    return [(name, " and ".join(sorted(values))) for name, values in sorted(found.items())]


def _seeds(study: Study, seen: View) -> list[tuple[str, str]]:
    used = sorted({s for arm in seen.arms.values() for s in arm.values})
    rows = [("verdict", f"{used[0]} … {used[-1]}" if used else "none yet")]
    if study.tuned:
        rows.append(("tuning", f"{TUNE_SEEDS} … {TUNE_SEEDS + study.tune.seeds - 1}"))
    return rows


def _readings(seen: View) -> list[tuple[int, list[str]]]:
    seeds = sorted({s for arm in seen.arms.values() for s in arm.values})
    return [(seed, [_reading(arm, seed) for arm in seen.arms.values()]) for seed in seeds]


def _reading(arm: Arm, seed: int) -> str:
    if seed not in arm.values:
        return "missing"
    if seed in arm.failed:
        return "failed"
    return number(arm.values[seed], 4) + (" (not reached)" if seed in arm.censored else "")


def _trials(result: Result, seen: View) -> list[dict[str, str]]:
    """Every trial with its key in the ledger."""
    study, rows = result.study, []
    for arm, tuning in result.tunings.items():
        for response in tuning.responses:
            setting = ", ".join(f"{p.rpartition('.')[2]} = {number(v)}" for p, v in response.choice.items())
            for i, value in enumerate(response.readings):
                key = study.trial(response.recipe, TUNE_SEEDS + i).key
                rows.append(
                    {
                        "arm": arm,
                        "role": f"tune {setting}",
                        "seed": str(TUNE_SEEDS + i),
                        "reading": number(value, 4),
                        "key": key,
                    }
                )
    for arm in seen.arms.values():
        for r in arm.readouts:
            seed = int(r.trial["seed"])
            note = f" ({r.reason})" if r.reason else ""
            rows.append(
                {
                    "arm": arm.name,
                    "role": "verdict",
                    "seed": str(seed),
                    "reading": _reading(arm, seed) + note,
                    "key": r.key,
                }
            )
    return rows
