"""Tuning: an interior optimum or a longer grid for every arm; seeds of its own; what diverges is never chosen."""

import math

import numpy as np
import pytest

from airtrack.core.part import Grid, to_spec
from airtrack.core.problem import Metric
from airtrack.core.streams import Streams
from airtrack.study import tune
from airtrack.study.spec import TUNE_SEEDS, axes
from airtrack.study.trial import Readout
from airtrack.study.tune import Response, grown, judge, reading, to_scale


def noise(seed):
    return 1e-4 * (Streams(seed) / "noise").rng().normal()


def peak(at, field="rate"):
    """Readings that fall off from a best value, in the logarithm."""
    return lambda recipe, seed: 0.9 - 0.1 * abs(math.log10(getattr(recipe, field) / at)) + noise(seed)


def tuned(toys, pretend, read, grid=(0.1, 1.0, 10.0), **fields):
    arm = toys.Dial(rate=Grid(*grid))
    study = toys.study({"a": arm, "b": arm}, **fields)
    return judge(study, "a", arm, pretend(study, read))


@pytest.mark.parametrize(
    ("best", "optimum", "edges"),
    [(1.0, "interior", {}), (0.1, "edge", {"rate": "low"}), (10.0, "edge", {"rate": "high"})],
)
def test_the_best_setting_is_chosen_and_edges_are_seen(best, optimum, edges, toys, pretend):
    found = tuned(toys, pretend, peak(best))
    assert found.chosen.choice == {"rate": best}
    assert found.chosen.recipe == toys.Dial(rate=best)
    assert (found.optimum, found.edges) == (optimum, edges)
    assert [r.choice["rate"] for r in found.responses] == [0.1, 1.0, 10.0]


def test_order_of_the_grid_does_not_matter(toys, pretend):
    found = tuned(toys, pretend, peak(10.0), grid=(1.0, 10.0, 0.1))
    assert (found.chosen.choice["rate"], found.edges) == (10.0, {"rate": "high"})


def test_a_metric_that_is_better_low_is_minimised(toys, pretend):
    found = tuned(toys, pretend, lambda recipe, seed: 1 - peak(1.0)(recipe, seed), metric="loss")
    assert (found.chosen.choice["rate"], found.optimum) == (1.0, "interior")


def test_what_differs_by_noise_alone_is_flat(toys, pretend):
    def read(recipe, seed):
        draw = (Streams(seed) / str(recipe.rate)).rng().normal()
        return 0.5 + 0.01 * draw + (0.001 if recipe.rate == 10.0 else 0)

    found = tuned(toys, pretend, read, tune={"seeds": 6})
    assert found.chosen.choice["rate"] in (0.1, 10.0)  # what the draw happens to put first
    assert (found.optimum, found.edges) == ("flat", {})
    assert found.flat_p > 0.1


def test_seeds_are_tunings_own(toys, pretend):
    study = toys.study({"a": toys.Dial(rate=Grid(0.1, 1.0)), "b": toys.Dial(rate=Grid(0.1, 1.0))}, tune={"seeds": 3})
    look_up = pretend(study, peak(1.0))
    judge(study, "a", study.arms["a"], look_up)
    assert {trial.seed for trial in look_up.asked} == {TUNE_SEEDS, TUNE_SEEDS + 1, TUNE_SEEDS + 2}


def test_nothing_is_judged_while_a_trial_is_missing(toys, pretend):
    study = toys.study({"a": toys.Dial(rate=Grid(0.1, 1.0)), "b": toys.Dial(rate=Grid(0.1, 1.0))})
    there = lambda trial: trial.seed != TUNE_SEEDS + 1 or trial.recipe.rate != 1.0  # noqa: E731
    assert judge(study, "a", study.arms["a"], pretend(study, peak(1.0), there)) is None


@pytest.mark.parametrize("metric", ["score", "loss"])
@pytest.mark.parametrize("which", [0, 1], ids=["one seed", "the other"])
def test_a_setting_that_diverges_on_any_seed_is_not_chosen(metric, which, toys, pretend):
    def read(recipe, seed):
        state = "diverged" if recipe.rate == 1.0 and seed == TUNE_SEEDS + which else "done"
        good = peak(1.0)(recipe, seed)
        return {"state": state, "metrics": {"score": good, "loss": 1 - good}}

    assert tuned(toys, pretend, read, metric=metric).chosen.choice["rate"] != 1.0


def test_where_all_diverge_there_is_still_an_answer(toys, pretend):
    found = tuned(toys, pretend, lambda recipe, seed: {"state": "diverged"})
    assert found.optimum == "edge"
    assert math.isinf(found.chosen.score(Metric("high", (0, 1))))


def test_names_have_no_edge(toys, pretend):
    arm = toys.Dial(mode=Grid("one", "two"))
    study = toys.study({"a": arm, "b": arm})
    found = judge(
        study, "a", arm, pretend(study, lambda recipe, seed: 0.5 + (recipe.mode == "two") * 0.1 + noise(seed))
    )
    assert (found.chosen.choice, found.optimum) == ({"mode": "two"}, "interior")
    assert grown(found, study.measure, 0) is None


def test_each_axis_of_a_grid_has_its_own_edge(toys, pretend):
    arm = toys.Dial(rate=Grid(0.1, 1.0, 10.0), count=Grid(1, 2, 4))
    study = toys.study({"a": arm, "b": arm})
    read = lambda recipe, seed: peak(1.0)(recipe, seed) + peak(4, "count")(recipe, seed) - 0.9  # noqa: E731
    found = judge(study, "a", arm, pretend(study, read))
    assert found.chosen.choice == {"rate": 1.0, "count": 4}
    assert found.edges == {"count": "high"}
    assert axes(to_spec(grown(found, study.measure, 1))) == {"rate": [0.1, 1.0, 10.0], "count": [1, 2, 4, 8]}


# --------------------------------------------------------------------------------------------------------- longer grids


@pytest.mark.parametrize(
    ("grid", "best", "longer"),
    [
        ((0.1, 1.0, 10.0), 10.0, [0.1, 1.0, 10.0, 100.0]),
        ((0.1, 1.0, 10.0), 0.1, [0.01, 0.1, 1.0, 10.0]),
        ((1e-3, 3e-3, 1e-2), 1e-2, [1e-3, 3e-3, 1e-2, 3.33e-2]),  # the last ratio goes on
        ((0.5, 1.0), 1.0, [0.5, 1.0, 2.0]),
        ((10.0, 0.1, 1.0), 10.0, [0.1, 1.0, 10.0, 100.0]),
    ],
)
def test_a_grid_grows_beyond_its_edge_in_its_own_ratio(grid, best, longer, toys, pretend):
    found = tuned(toys, pretend, peak(best), grid)
    assert axes(to_spec(grown(found, Metric("high", (0, 1)), 0)))["rate"] == pytest.approx(longer)


@pytest.mark.parametrize(("best", "longer"), [(0.9, [0.01, 0.1, 1.0, 10.0]), (1.1, [0.1, 1.0, 10.0, 100.0])])
def test_an_arm_that_needs_none_grows_on_its_better_side(best, longer, toys, pretend):
    """When another arm gets a longer grid, this one gets as many trials."""
    found = tuned(toys, pretend, peak(best))
    assert found.optimum == "interior"
    assert axes(to_spec(grown(found, Metric("high", (0, 1)), 0)))["rate"] == pytest.approx(longer)


@pytest.mark.parametrize(
    ("grid", "best", "longer"),
    [((2, 4, 8), 8, [2, 4, 8, 16]), ((2, 3), 3, [2, 3, 4]), ((2, 4), 2, [1, 2, 4]), ((1, 2), 1, None)],
)
def test_whole_numbers_stay_whole(grid, best, longer, toys, pretend):
    arm = toys.Dial(count=Grid(*grid))
    study = toys.study({"a": arm, "b": arm})
    found = judge(study, "a", arm, pretend(study, peak(best, "count")))
    recipe = grown(found, study.measure, 0)
    assert (recipe if longer is None else axes(to_spec(recipe))["count"]) == longer


def test_a_grid_does_not_grow_out_of_its_fields_range(toys, pretend):
    """aim lies between 0 and 1; a grid up to .9 would go on with 1.62."""
    arm = toys.Dial(aim=Grid(0.5, 0.9))
    study = toys.study({"a": arm, "b": arm})
    found = judge(study, "a", arm, pretend(study, lambda recipe, seed: recipe.aim + noise(seed)))
    assert found.edges == {"aim": "high"}
    assert grown(found, study.measure, 0) is None


@pytest.mark.parametrize("grid", [(0.0, 0.5), (0.5,)])
def test_a_grid_without_ratio_does_not_grow(grid, toys, pretend):
    arm = toys.Dial(aim=Grid(*grid))
    study = toys.study({"a": arm, "b": arm})
    found = judge(study, "a", arm, pretend(study, lambda recipe, seed: 0.5 - recipe.aim / 4 + noise(seed)))
    assert grown(found, study.measure, 0) is None


# -------------------------------------------------------------------------------------------------------------- scales


def test_scales():
    assert to_scale(np.array([0.5, 0.2]), Metric("high", (0, 1))).tolist() == [0.5, 0.2]
    logs = to_scale(np.array([1.0, 0.0]), Metric("low", (1e-8, 1), "log"))
    assert logs.tolist() == [0.0, math.log(1e-8)]
    odds = to_scale(np.array([0.0, 0.25, 1.0]), Metric("high", (0, 1), "logit"))
    assert odds[1] == pytest.approx(math.log(250.5 / 750.5))  # of a thousand answers
    assert (odds[0], -odds[2]) == pytest.approx([math.log(0.5 / 1000.5)] * 2)


def test_a_score_is_a_mean_on_its_scale():
    low = Metric("low", (1e-8, 10.0), "log")
    assert Response({}, None, (0.1, 10.0)).score(low) == pytest.approx(0.0)
    assert Response({}, None, (0.1, math.nan)).score(low) == -math.inf


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        ({"metrics": {"score": 0.3}}, 0.3),
        ({"metrics": {"score": 0.0}, "state": "diverged"}, math.nan),
    ],
)
def test_reading(fields, number, toys):
    readout = Readout(**({"key": "k", "trial": {}, "state": "done", "spent": 1, "curve": {}} | fields))
    assert reading(toys.study(), readout) == pytest.approx(number, nan_ok=True)


@pytest.mark.parametrize(("reached", "number"), [(7, 7), (None, 20)])
def test_reading_of_a_threshold_is_the_work_until_then(reached, number, toys):
    readout = Readout("k", {}, "done", {"score": 0.3}, 1, {}, reached=reached)
    assert reading(toys.study(stop_at={"score": 0.5}), readout) == number


def test_trials_are_the_product_of_settings_and_seeds(toys):
    arm = toys.Dial(rate=Grid(0.1, 1.0), count=Grid(1, 2, 3))
    study = toys.study({"a": arm, "b": arm}, tune={"seeds": 4})
    found = tune.trials(study, arm)
    assert len(found) == 6
    assert len({trial.key for _, _, its in found for trial in its}) == 24
