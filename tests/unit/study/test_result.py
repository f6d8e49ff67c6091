"""From readouts to a verdict, as a function of what a ledger holds: phases, looks, and when arms are not comparable."""

import itertools
import json
import math

import pytest

from airtrack.core.part import Grid, to_spec
from airtrack.core.streams import Streams
from airtrack.study.looks import planned
from airtrack.study.result import Verdicts, from_ledger, resolve
from airtrack.study.spec import TUNE_SEEDS, axes


def noise(seed, name="noise"):
    return 0.01 * (Streams(seed) / name).rng().normal()


def aims(recipe, seed):
    """Arms differ by what they aim at, and pairs share their noise."""
    return recipe.aim + noise(seed) + 0.1 * noise(seed, str(recipe.aim))


def peak(at):
    return lambda recipe, seed: 0.9 - 0.1 * abs(math.log10(recipe.rate / at)) + 0.1 * noise(seed)


def tuned(toys, *rates, **fields):
    grid = toys.Dial(rate=Grid(*(rates or (0.1, 1.0, 10.0))))
    other = toys.Dial(rate=Grid(*(rates or (0.1, 1.0, 10.0))), mode="two")
    return toys.study({"one": grid, "two": other}, **fields)


# -------------------------------------------------------------------------------------------------------------- phases


def test_without_grids_it_begins_with_confirmation(toys, pretend):
    study = toys.study(seeds=6)
    result = resolve(study, pretend(study, aims, there=lambda trial: False))
    assert (result.phase, result.tunings, result.verdicts) == ("confirm", {}, ())
    assert sorted((t.recipe.aim, t.seed) for t in result.missing) == [(aim, s) for aim in (0.2, 0.8) for s in range(6)]


def test_only_what_is_missing_is_wanted(toys, pretend):
    study = toys.study(seeds=6)
    there = lambda trial: trial.seed < 4 or trial.recipe.aim == 0.2  # noqa: E731
    result = resolve(study, pretend(study, aims, there))
    assert [(t.recipe.aim, t.seed) for t in result.missing] == [(0.8, 4), (0.8, 5)]
    assert [len(r) for r in result.readouts.values()] == [6, 4]


def test_the_end_is_a_verdict(toys, pretend):
    study = toys.study(seeds=6)
    result = resolve(study, pretend(study, aims))
    assert (result.phase, result.missing) == ("done", ())
    assert result.verdict.names == ("high", "low")
    assert result.verdict.outcome == "a better"
    assert result.verdict.effect == pytest.approx(0.6, abs=0.01)
    assert str(result.verdict) == str(result.verdicts[0])


def test_one_seed_gives_no_verdict(toys, pretend):
    study = toys.study(seeds=1)
    assert resolve(study, pretend(study, aims)).verdict.outcome == "no verdict yet"


def test_tuning_comes_first_and_on_seeds_of_its_own(toys, pretend):
    study = tuned(toys)
    result = resolve(study, pretend(study, peak(1.0), there=lambda trial: False))
    assert result.phase == "tune"
    assert len(result.missing) == 2 * 3 * 2
    assert {t.seed for t in result.missing} == {TUNE_SEEDS, TUNE_SEEDS + 1}


def test_confirmation_runs_what_tuning_chose_on_other_seeds(toys, pretend):
    study = tuned(toys)
    result = resolve(study, pretend(study, peak(1.0), there=lambda trial: trial.seed >= TUNE_SEEDS))
    assert result.phase == "confirm"
    assert {recipe.rate for recipe in result.chosen.values()} == {1.0}
    assert {t.seed for t in result.missing} == set(range(6))
    assert {t.recipe for t in result.missing} == set(result.chosen.values())


def test_an_untuned_arm_waits_for_the_others(toys, pretend):
    arms = {
        "tuned": toys.Dial(rate=Grid(0.1, 1.0)),
        "same": toys.Dial(rate=Grid(0.1, 1.0)),
        "plain": toys.Dial(aim=0.9),
    }
    study = toys.study(arms, comparisons=[["tuned", "same"]])
    result = resolve(study, pretend(study, peak(1.0), there=lambda trial: False))
    assert result.phase == "tune"
    assert toys.Dial(aim=0.9) not in {t.recipe for t in result.missing}


# --------------------------------------------------------------------------------------------------- grids that grow


def test_all_arms_grow_until_the_optimum_is_inside(toys, pretend):
    """One arm's best is beyond its grid; the other's is inside. Both get the same number of trials."""
    study = tuned(toys)
    read = lambda recipe, seed: peak(100.0 if recipe.mode == "one" else 1.0)(recipe, seed)  # noqa: E731
    result = resolve(study, pretend(study, read))
    assert result.phase == "done"
    grids = {arm: axes(to_spec(recipe))["rate"] for arm, recipe in result.arms.items()}
    assert grids["one"] == [0.1, 1.0, 10.0, 100.0, 1000.0]
    assert len(grids["two"]) == 5
    assert result.chosen["one"].rate == 100.0
    assert {t.optimum for t in result.tunings.values()} == {"interior"}
    assert result.verdict.outcome != "not comparable"


def test_growth_asks_only_for_the_new_trials(toys, pretend):
    study = tuned(toys)
    there = lambda trial: 0.1 <= trial.recipe.rate <= 10  # noqa: E731
    result = resolve(study, pretend(study, peak(10.0), there))
    assert result.phase == "tune"
    assert {t.recipe.rate for t in result.missing} == {100.0}
    assert len(result.missing) == 2 * 2


def test_an_optimum_that_stays_at_the_edge_is_said(toys, pretend):
    study = tuned(toys, tune={"extend": 1})
    result = resolve(study, pretend(study, peak(1e9)))
    assert result.phase == "done"
    assert result.verdict.outcome == "not comparable"
    assert "at the edge of its grid (rate = 100); widen the grid" in str(result.verdict)


def test_no_growth_is_allowed(toys, pretend):
    study = tuned(toys, tune={"extend": 0})
    result = resolve(study, pretend(study, peak(10.0)))
    assert result.verdict.outcome == "not comparable"
    assert len(result.tunings["one"].responses) == 3


def test_where_one_arm_cannot_grow_none_does(toys, pretend):
    arms = {"number": toys.Dial(rate=Grid(0.1, 1.0)), "name": toys.Dial(mode=Grid("one", "two"))}
    study = toys.study(arms)
    read = lambda recipe, seed: 0.5 + recipe.rate / 10 + 0.1 * noise(seed)  # noqa: E731
    result = resolve(study, pretend(study, read))
    assert [len(t.responses) for t in result.tunings.values()] == [2, 2]
    assert result.verdict.outcome == "not comparable"


def test_arms_of_two_grids_grow_along_the_same_one(toys, pretend):
    """So that they keep the same number of settings, whatever their better side."""
    grids = {"rate": Grid(0.1, 1.0, 10.0), "count": Grid(1, 2)}
    study = toys.study({"one": toys.Dial(**grids), "two": toys.Dial(mode="two", **grids)})
    read = lambda recipe, seed: peak(10.0 if recipe.mode == "one" else 1.0)(recipe, seed) - recipe.count / 100  # noqa: E731
    result = resolve(study, pretend(study, read, there=lambda trial: 0.1 <= trial.recipe.rate <= 10))
    assert result.phase == "tune"
    assert [axes(to_spec(recipe))["count"] for recipe in result.arms.values()] == [[1, 2], [1, 2]]
    assert [len(axes(to_spec(recipe))["rate"]) for recipe in result.arms.values()] == [4, 4]


def test_an_arm_whose_every_setting_diverges_is_not_comparable(toys, pretend):
    study = tuned(toys)
    read = lambda recipe, seed: {"state": "diverged"} if recipe.mode == "two" else peak(1.0)(recipe, seed)  # noqa: E731
    verdict = resolve(study, pretend(study, read)).verdict
    assert verdict.outcome == "not comparable"
    assert "every setting of two diverged" in str(verdict)


def test_a_flat_response_is_accepted_and_not_chased(toys, pretend):
    study = tuned(toys, tune={"seeds": 6})
    read = lambda recipe, seed: 0.5 + noise(seed, f"{recipe.rate}")  # noqa: E731
    result = resolve(study, pretend(study, read))
    assert result.phase == "done"
    assert len(result.tunings["one"].responses) == 3
    assert result.verdict.outcome != "not comparable"


# ------------------------------------------------------------------------------------------------------------ fairness


@pytest.mark.parametrize(("ratio", "comparable"), [(1.005, True), (1.02, False), (0.5, False)])
def test_arms_that_spent_differently_are_not_compared(ratio, comparable, toys, pretend):
    study = toys.study(budget=1000)

    def read(recipe, seed):
        spent = 1000 * (ratio if recipe.aim == 0.8 else 1)
        return {"metrics": {"score": aims(recipe, seed)}, "spent": spent}

    verdict = resolve(study, pretend(study, read)).verdict
    assert (verdict.outcome != "not comparable") == comparable
    if not comparable:
        assert f"high spent {1000 * ratio:g} steps a trial and low 1000; give them the same" in str(verdict)


def test_work_of_diverged_trials_does_not_count_as_unequal(toys, pretend):
    study = toys.study(seeds=8)

    def read(recipe, seed):
        if recipe.aim == 0.2 and seed < 2:
            return {"state": "diverged", "metrics": {"score": 0.0}, "spent": 3}
        return aims(recipe, seed)

    verdict = resolve(study, pretend(study, read)).verdict
    assert verdict.outcome == "a better"


def test_divergence_ranks_worst(toys, pretend):
    """low reads higher on every seed where it lives, and it mostly does not."""
    study = toys.study(seeds=10)

    def read(recipe, seed):
        if recipe.aim == 0.2:
            return 0.99 if seed == 0 else {"state": "diverged", "metrics": {"score": 0.0}}
        return aims(recipe, seed)

    assert resolve(study, pretend(study, read)).verdict.outcome in ("a better", "no verdict yet")
    assert resolve(study, pretend(study, read)).verdict.outcome != "b better"


# ----------------------------------------------------------------------------------------------------------- thresholds


def test_time_to_a_threshold_is_compared(toys, pretend):
    study = toys.study(stop_at={"score": 0.5}, budget=1000, seeds=8)

    def read(recipe, seed):
        when = (100 if recipe.aim == 0.8 else 300) * (1 + noise(seed))
        return {"metrics": {"score": 0.5}, "spent": when, "reached": when}

    verdict = resolve(study, pretend(study, read)).verdict
    assert verdict.outcome == "a better"  # sooner is better
    assert verdict.metric == "time to score 0.5"


def test_who_never_gets_there_is_censored_and_not_average(toys, pretend):
    study = toys.study(stop_at={"score": 0.5}, budget=1000, seeds=10)

    def read(recipe, seed):
        if recipe.aim == 0.2:
            return {"metrics": {"score": 0.1}, "spent": 1000, "reached": None}
        return {"metrics": {"score": 0.5}, "spent": 900, "reached": 900 + seed}

    verdict = resolve(study, pretend(study, read)).verdict
    assert verdict.outcome == "a better"
    assert "high 10, low 0" in str(verdict)


def test_grids_under_a_threshold_look_for_the_shortest_time(toys, pretend):
    study = tuned(toys, stop_at={"score": 0.5}, budget=1000)

    def read(recipe, seed):
        when = 100 * (1 + abs(math.log10(recipe.rate))) * (1 + noise(seed))
        return {"metrics": {"score": 0.5}, "spent": when, "reached": when}

    result = resolve(study, pretend(study, read))
    assert {recipe.rate for recipe in result.chosen.values()} == {1.0}


# ---------------------------------------------------------------------------------------------------------------- looks


def test_auto_looks_at_planned_sizes_and_stops_when_it_knows(toys, pretend):
    study = toys.study(seeds="auto")
    sizes = planned(1, study.alpha).sizes
    first = resolve(study, pretend(study, aims, there=lambda trial: False))
    assert {t.seed for t in first.missing} == set(range(sizes[0]))
    clear = resolve(study, pretend(study, aims))
    assert clear.phase == "done"
    assert {len(r) for r in clear.readouts.values()} == {sizes[0]}
    assert clear.verdict.outcome == "a better"


def test_auto_goes_on_while_it_does_not_know_and_ends(toys, pretend):
    study = toys.study(seeds="auto")
    sizes = planned(1, study.alpha).sizes
    same = lambda recipe, seed: 0.5 + noise(seed, str(recipe.aim))  # noqa: E731
    for have, want in itertools.pairwise(sizes):
        result = resolve(study, pretend(study, same, there=lambda trial, have=have: trial.seed < have))
        assert result.phase == "confirm"
        assert {t.seed for t in result.missing} == set(range(have, want))
    result = resolve(study, pretend(study, same))
    assert result.phase == "done"
    assert {len(r) for r in result.readouts.values()} == {sizes[-1]}
    assert result.verdict.outcome == "no verdict yet"


def test_a_comparison_that_is_decided_stays_decided(toys, pretend):
    """a against b is clear at the first look; c against b is not, and takes the study on."""
    arms = {"b": toys.Dial(aim=0.2), "a": toys.Dial(aim=0.8), "c": toys.Dial(aim=0.2, mode="two")}
    study = toys.study(arms, seeds="auto")
    sizes = planned(2, study.alpha).sizes

    def read(recipe, seed):
        if recipe.mode == "two":
            return 0.2 + noise(seed, "two")
        if recipe.aim == 0.8 and seed >= sizes[0]:
            return 0.0  # what comes after the first look would turn it round
        return aims(recipe, seed)

    verdicts = {v.names: v for v in resolve(study, pretend(study, read)).verdicts}
    assert verdicts["a", "b"].outcome == "a better"
    assert verdicts["c", "b"].outcome == "no verdict yet"
    assert {len(r) for r in resolve(study, pretend(study, read)).readouts.values()} == {sizes[-1]}


# ------------------------------------------------------------------------------------------------------ as plain data


def test_several_comparisons_print_a_line_each(toys, pretend):
    arms = {name: toys.Dial(aim=aim) for name, aim in (("b", 0.2), ("a", 0.8), ("c", 0.5))}
    study = toys.study(arms, seeds=8)
    result = resolve(study, pretend(study, aims))
    assert isinstance(result.verdict, Verdicts)
    assert len(str(result.verdict).splitlines()) == 2
    assert {v.comparisons for v in result.verdicts} == {2}
    assert result.verdict._repr_html_().count("<p>") == 2


def test_frame_has_a_row_a_trial(toys, pretend):
    study = tuned(toys, seeds=3)
    rows = resolve(study, pretend(study, peak(1.0))).frame()
    assert len(rows) == 2 * 3 * 2 + 2 * 3
    assert {row["role"] for row in rows} == {"tune", "confirm"}
    assert {row["rate"] for row in rows if row["role"] == "confirm"} == {1.0}
    assert all(row["score"] > 0 for row in rows)
    assert sorted({row["seed"] for row in rows}) == [0, 1, 2, TUNE_SEEDS, TUNE_SEEDS + 1]


def test_plain_data_are_json(toys, pretend):
    study = tuned(toys, seeds=8)
    for read in (peak(1.0), lambda recipe, seed: {"state": "diverged", "metrics": {"score": 0.0}}):
        data = json.loads(json.dumps(resolve(study, pretend(study, read)).to_dict(), allow_nan=False))
        assert data["phase"] == "done"
        assert len(data["verdicts"]) == 1
        assert set(data["tuning"]) == {"one", "two"}


def test_each_trial_is_looked_up_once_in_a_ledger(toys, pretend):
    study = tuned(toys, seeds=8)
    look_up = pretend(study, peak(1.0))
    keys, asked = {}, []
    resolve(study, lambda trial: keys.setdefault(trial.key, look_up(trial)))

    def get(key):
        asked.append(key)
        return keys[key]

    assert from_ledger(study, get).phase == "done"
    assert len(asked) == len(set(asked))
