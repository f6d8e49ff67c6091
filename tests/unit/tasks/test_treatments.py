"""Other training data about the same problem: asked for by a recipe, refused where there are none, judged alike."""

import numpy as np
import pytest

import airtrack as at
from airtrack.core.meter import Meter
from airtrack.core.part import build, key

PEOPLE = {"people": 12, "names": (5, 4, 7), "context": 40}
BIOD = at.tasks.Biod(attributes=1, chunks=2, diversity=4, length=1, alphabet=4, domain_token=True, **PEOPLE)
BIOS = at.tasks.Bios(values=(5, 5, 5, 8), domain_token=True, **PEOPLE)
TREATED = {"junk": 0.5, "junk_people": 3, "domain_token": False}
TRAIN = {
    "name": "train",
    "net": {"name": "decoder", "layers": 1, "width": 8, "heads": 2},
    "optim": {"name": "adamw", "lr": 0.01},
    "batch": 4,
}


@pytest.mark.parametrize("task", [BIOD, BIOS])
def test_treated_data_are_those_of_the_task_with_these_fields(task):
    streams = at.Streams(3) / "task"
    given, judge = task.pose(streams)
    fields = {"people": task.people, "names": task.names, "context": task.context} | TREATED
    more = {"values": task.values} if task is BIOS else {"attributes": 1, "chunks": 2, "diversity": 4, "length": 1}
    other = type(task)(**fields, **more, **({} if task is BIOS else {"alphabet": 4})).pose(streams)
    x, y = given.treated(TREATED).batch(3, 8)
    assert (x == other.given.batch(3, 8).x).all()
    assert (y == other.given.batch(3, 8).y).all()
    assert not (x == given.batch(3, 8).x).all()
    without = judge.truth["x"][0]  # the judge's first way carries the token, the other task's has none to carry
    assert np.array_equal(np.delete(without, 1), other.judge.truth["x"][0])


@pytest.mark.parametrize("task", [BIOD, BIOS])
def test_treated_data_charge_the_same_meter_and_change_the_key(task):
    given, _ = task.pose(at.Streams(0) / "task")
    meter = Meter(10_000)
    given.metered(meter)
    given.treated(TREATED).batch(0, 5)
    assert meter.spent == 5 * task.context
    plain, other = build("recipe", TRAIN), build("recipe", TRAIN | {"data": TREATED})
    assert key(plain) != key(other)
    meter = Meter(4 * task.context * 2)
    given.metered(meter)
    seen = []
    given.treated = lambda fields: seen.append(fields) or given
    other.answer(given, meter, at.Streams(0) / "recipe")
    assert seen == [TREATED]


@pytest.mark.parametrize(
    ("task", "data", "words"),
    [
        (BIOD, {"junks": 0.5}, "arms.b: data: Biod cannot be shown with another 'junks'; did you mean 'junk'"),
        (BIOD, {"people": 5}, "arms.b: data: Biod cannot be shown with another 'people'"),
        (BIOD, {"junk": 1.5}, "arms.b: data.junk: .*1.5"),
        (BIOD, {"junk_people": 5}, "arms.b: data: junk_people: there is no junk"),
        (
            {"name": "depo", "n": 4},
            {"junk": 0.5},
            "arms.b: data: Depo cannot be shown with another 'junk'",
        ),
    ],
)
def test_impossible_data_are_refused_with_the_study(task, data, words):
    arms = {"a": TRAIN, "b": TRAIN | {"data": data}}
    with pytest.raises(at.SpecError, match=words) as refusal:
        at.Study(task=task, arms=arms, budget=1000, baseline="a")
    assert "\n" not in str(refusal.value)


def test_data_may_be_tuned_over():
    arms = {"a": TRAIN, "b": TRAIN | {"data": {"junk": 0.5}}}
    assert at.Study(task=BIOD, arms=arms, budget=1000, baseline="a").pairs == (("b", "a"),)


@pytest.mark.parametrize("task", [BIOD, BIOS])
@pytest.mark.parametrize("marked", [True, False])
def test_the_judge_asks_with_the_domain_token_and_without(task, marked):
    """A model that knows everything, as long as it is asked in its own way."""
    judge = task.pose(at.Streams(0) / "task").judge
    rows = [list(row) for row in judge.truth["x"]]
    rows = rows if marked else [row[:1] + row[2:] for row in rows]

    def model(ids):
        scores = np.zeros((*ids.shape, 4000))
        for i, row in enumerate(ids):
            for t in range(len(row)):
                for known in rows:
                    if len(known) == len(row) and known[: t + 1] == list(row[: t + 1]) and t + 1 < len(known):
                        scores[i, t, known[t + 1]] += 1
        return np.log(scores + 1e-30)

    assert judge(model)["share"] == pytest.approx(1)
