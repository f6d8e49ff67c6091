"""What every solver promises, on every task that it accepts. It finds both by itself."""

from dataclasses import fields

import numpy as np
import pytest

from airtrack.core.meter import BudgetSpent, Meter
from airtrack.core.part import SpecError, build, key, lookup, shipped, to_spec
from airtrack.core.streams import Streams

BUDGETS = {"gradients": 1500, "samples": 700, "episodes": 150}


def example(family, name):
    """A small instance; `name` may say which set of parameters: "svrg practical"."""
    name, _, params = name.partition(" ")
    cls = lookup(family, name)
    return cls(**cls.example, **({"params": params} if params else {}))


def solvers():
    """Every solver, in each of its two named parameter sets where it has them."""
    for name in sorted(shipped("solver")):
        sets = "params" in {field.name for field in fields(lookup("solver", name))}
        yield from (f"{name} theory", f"{name} practical") if sets else (name,)


def pairs():
    """Every solver with every task whose problems it accepts; `refuse(given)` says which of them it does not."""
    recipes = {solver: example("solver", solver) for solver in solvers()}
    for task in sorted(shipped("task")):
        able = {name: r for name, r in recipes.items() if issubclass(lookup("task", task).gives, r.accepts)}
        given = example("task", task).pose(Streams(0) / "task").given if able else None
        for solver, recipe in able.items():
            try:
                recipe.refuse(given) if hasattr(recipe, "refuse") else None
            except SpecError:
                continue
            yield solver, task


def spread(pairs):
    """At most two tasks for every solver, taken in turn, so that every task has its share of solvers."""
    accepted = {solver: [task for other, task in pairs if other == solver] for solver, _ in pairs}
    for turn, (solver, tasks) in enumerate(accepted.items()):
        for place in sorted({turn % len(tasks), (turn + len(tasks) // 2) % len(tasks)}):
            yield solver, tasks[place]


PAIRS = list(pairs())
FEW = list(spread(PAIRS))  # for what hardly depends on the task


class Killed(Exception):
    pass


class Mortal(Meter):
    """A meter that dies at one of its saves."""

    saves, last = 0, None

    def save(self, state):
        super().save(state)
        self.saves += 1
        if self.saves == self.last:
            raise Killed


def run(solver, task, budget, seed=0, meter=Meter, last=None, **options):
    """(answer, meter, oracle's memory)"""
    given, judge = example("task", task).pose(Streams(seed) / "task")
    clock = meter(budget, look=judge, schedule=list(np.geomspace(budget / 50, budget, 12)), **options)
    clock.last = last
    given.metered(clock)
    try:
        answer = example("solver", solver).answer(given, clock, Streams(seed) / "recipe")
    except BudgetSpent:
        answer = clock.latest
    memory = given.state() if hasattr(given, "state") else None
    return answer, clock, memory, judge


def budget_of(task):
    return BUDGETS.get(lookup("task", task).unit, 500)


def flat(memory):
    if isinstance(memory, dict):
        return {name: flat(value) for name, value in memory.items()}
    return memory.tolist() if isinstance(memory, np.ndarray) else memory


def test_every_solver_has_a_task():
    assert {solver for solver, _ in PAIRS} == set(solvers())


@pytest.mark.parametrize("solver", list(solvers()))
def test_a_solver_is_its_specification(solver):
    recipe = example("solver", solver)
    assert key(build("recipe", to_spec(recipe))) == key(recipe)
    assert recipe.accepts
    assert recipe.returns


@pytest.mark.parametrize(("solver", "task"), PAIRS)
def test_spends_no_more_than_the_budget_and_nearly_all_of_it(solver, task):
    for budget in (budget_of(task), budget_of(task) + 17):
        answer, meter, _, judge = run(solver, task, budget)
        assert 0.9 * budget <= meter.spent <= budget
        assert judge.read(answer)[1] is None
        assert [work for work, _ in meter.curve] == sorted({work for work, _ in meter.curve})


@pytest.mark.parametrize(("solver", "task"), FEW)
def test_is_deterministic_and_depends_on_the_seed(solver, task):
    first, again, other = (run(solver, task, budget_of(task), seed) for seed in (0, 0, 1))
    assert first[0].tobytes() == again[0].tobytes()
    assert first[1].curve == again[1].curve
    assert flat(first[2]) == flat(again[2])
    assert first[1].curve != other[1].curve


@pytest.mark.parametrize(("solver", "task"), FEW)
def test_resumes_to_the_same_bytes(solver, task, tmp_path):
    budget = budget_of(task)
    whole, meter, memory, _ = run(solver, task, budget)
    count = run(solver, task, budget, meter=Mortal, checkpoint=tmp_path / "count.npz", every=0)[1].saves
    assert count > 1
    moments = Streams(0).rng().choice(np.arange(1, count + 1), min(count, 4), replace=False)
    for last in moments:
        file = tmp_path / f"{last}.npz"
        with pytest.raises(Killed):
            run(solver, task, budget, meter=Mortal, last=last, checkpoint=file, every=0)
        with pytest.raises(Killed):  # and a second time, at once
            run(solver, task, budget, meter=Mortal, last=1, checkpoint=file, every=0) if last < count else killed()
        answer, resumed, later, _ = run(solver, task, budget, checkpoint=file, every=0)
        assert answer.tobytes() == whole.tobytes()
        assert resumed.curve == meter.curve
        assert resumed.spent == meter.spent
        assert flat(later) == flat(memory)


def killed():
    raise Killed


@pytest.mark.parametrize(("solver", "task"), FEW)
def test_a_tiny_budget_is_no_crash(solver, task):
    for budget in (1, 2, 50):
        answer, meter, _, judge = run(solver, task, budget)
        assert meter.spent <= budget
        if answer is not None:
            judge(answer)


@pytest.mark.parametrize(("solver", "task"), FEW)
def test_does_not_touch_an_offered_answer_again(solver, task):
    given, _ = example("task", task).pose(Streams(0) / "task")
    offered = []
    meter = Meter(budget_of(task), look=lambda a: offered.append((a, a.tobytes())) or {}, schedule=[1, 2, 3, 100, 400])
    given.metered(meter)
    example("solver", solver).answer(given, meter, Streams(0) / "recipe")
    assert offered
    assert all(answer.tobytes() == then for answer, then in offered)


@pytest.mark.parametrize(("solver", "task"), FEW)
def test_no_global_randomness(solver, task):
    before = np.random.get_state()  # noqa: NPY002
    run(solver, task, budget_of(task))
    assert all(np.array_equal(a, b) for a, b in zip(before, np.random.get_state(), strict=True))  # noqa: NPY002
