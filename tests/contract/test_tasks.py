"""What every task promises. It finds the tasks by itself; a new one needs nothing here."""

import itertools
import random
import types

import numpy as np
import pytest

from airtrack.core.batches import batches
from airtrack.core.given import (
    IGNORE,
    Corpus,
    Entries,
    Env,
    FiniteSum,
    Kernel,
    Matrix,
    Pieces,
    Regression,
    Rounds,
    Stream,
    Views,
)
from airtrack.core.meter import Meter
from airtrack.core.part import build, key, lookup, shipped, to_spec
from airtrack.core.problem import Judge
from airtrack.core.streams import Streams
from airtrack.train.dataset import TokenDataset

TASKS = sorted(shipped("task"))
CORPORA = [name for name in TASKS if issubclass(lookup("task", name).gives, Corpus)]
ABSURD = (np.nan, np.inf, -np.inf, 1e30, -1e30, 1e300, 0.0, 1.0, -1.0)


def example(name):
    cls = lookup("task", name)
    return cls(**cls.example)


def pose(name, seed=0):
    return example(name).pose(Streams(seed) / "task")


def seen(given):
    """Bytes of what a learner sees first."""
    if isinstance(given, Corpus):
        return b"".join(a.tobytes() for i in (0, 1, 7) for a in given.batch(i, 4))
    if isinstance(given, FiniteSum):
        rows, labels = given.rows, given.labels
        return rows.tobytes() + labels.tobytes()
    if isinstance(given, Entries):
        return given.dense(given.residual(np.zeros(given.observed))).tobytes()
    if isinstance(given, Matrix):
        return given.apply(np.eye(given.d)).tobytes()
    if isinstance(given, Views):
        return b"".join(a.tobytes() for a in given.forward(np.ones((given.p + given.q, 1))))
    if isinstance(given, Pieces):
        return b"".join(part.tobytes() for part in given.look(np.full(given.d, 0.3), np.arange(given.n)))
    if isinstance(given, Regression):
        return given.ridge(given.correlation()).tobytes()
    if isinstance(given, Rounds):
        return b"".join(given.play(np.ones(given.d)).tobytes() for _ in range(300))
    if isinstance(given, Kernel):
        return given.rows(np.arange(5), np.arange(given.n)).tobytes()
    if isinstance(given, Stream):
        return given.draw(5).tobytes() + given.draw(2000).tobytes()
    if isinstance(given, Env):
        told = []
        for episode in range(50):
            told.append((0.0, given.reset()))
            told += [given.step((episode + h) % given.actions) for h in range(given.horizon)]
        return np.array(told).tobytes()
    raise AssertionError(f"say here how to look at a {type(given).__name__}")


def reachable(root):
    """Every object that can be got at from `root`, through attributes, containers, closures and caches."""
    found, queue = {}, [root]
    while queue:
        thing = queue.pop()
        if id(thing) in found or isinstance(thing, (types.ModuleType, type, str, bytes, int, float)):
            continue
        found[id(thing)] = thing
        queue += list(getattr(thing, "__dict__", {}).values())
        queue += [getattr(thing, name) for name in getattr(type(thing), "__slots__", ()) if hasattr(thing, name)]
        if isinstance(thing, dict):
            queue += [*thing.keys(), *thing.values()]
        if isinstance(thing, (list, tuple, set, frozenset)):
            queue += list(thing)
        for cell in getattr(thing, "__closure__", None) or ():
            queue.append(cell.cell_contents)
        for name in ("__wrapped__", "__self__", "__func__", "__defaults__", "__kwdefaults__", "base", "func", "args"):
            if hasattr(thing, name) and not isinstance(thing, Meter):
                queue.append(getattr(thing, name))
    return list(found.values())


def numbers(thing):
    if isinstance(thing, (np.ndarray, list, tuple)):
        try:
            return np.asarray(thing, np.float64)
        except (TypeError, ValueError):
            return None
    return None


def lines(table):
    """The rows and columns of a table of real numbers, up to sign: a truth may hide as part of a larger array."""
    if table is None or table.ndim != 2 or min(table.shape) < 1 or max(table.shape) > 1000:
        return set()
    found = [line for line in (*table, *table.T) if len(line) > 3 and np.isfinite(line).all() and (line % 1 != 0).any()]
    return {tuple(np.round(line / np.linalg.norm(line) * (1 if line[0] > 0 else -1), 6)) for line in found}


def junk(problem):
    """Answers that nobody should give."""
    yield from (
        None,
        "policy",
        b"x",
        object(),
        {},
        [],
        (),
        {"a": 1},
        True,
        7,
        -1e30,
        float("nan"),
        [[1], [2, 3]],
    )
    shapes = {np.shape(t) for t in problem.judge.truth.values()} | {(), (1,), (3,), (0,), (2, 2), (1, 2, 3), (4, 0)}
    for shape in sorted(shapes, key=str):
        for value in ABSURD:
            yield np.full(shape, value)
    for truth in problem.judge.truth.values():
        truth = np.asarray(truth, float)
        for value in ABSURD:
            with np.errstate(over="ignore", invalid="ignore"):
                yield truth * value
        yield from (truth[None], truth.astype(str), truth.astype(object), truth.T, truth.ravel()[:-1], -truth)
        spoilt = truth.copy()
        spoilt.flat[0] = np.nan
        yield spoilt
    if isinstance(problem.given, Corpus):
        vocab = problem.given.vocab
        for value in ABSURD:
            yield lambda ids, value=value: np.full((*ids.shape, vocab), value)
            yield lambda ids, value=value: np.full(ids.shape, value)
            yield types.SimpleNamespace(log_probs=lambda ids, at=None, value=value: np.full((len(at[0]), vocab), value))
            yield types.SimpleNamespace(log_probs=lambda ids, at=None, value=value: np.full((len(at[0]), 1), value))
        for answer in (None, "no", [[1], [2, 3]], np.zeros((2, 2))):
            yield types.SimpleNamespace(log_probs=lambda ids, at=None, answer=answer: answer)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_says_what_it_is(name):
    task = example(name)
    problem = task.pose(Streams(0) / "task")
    assert isinstance(task.unit, str)
    assert isinstance(problem.given, task.gives)
    assert isinstance(problem.judge, Judge)
    assert problem.judge.metrics == task.metrics
    assert problem.judge.truth
    assert all(m.bounds[0] < m.bounds[1] for m in task.metrics.values())
    assert all(m.bounds[0] > 0 for m in task.metrics.values() if m.scale == "log" and m.better == "low")
    assert "Source" in type(task).__doc__ or "    " in type(task).__doc__
    assert key(build("task", to_spec(task))) == key(task)


@pytest.mark.parametrize("name", TASKS)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(name):
    first, again, other = seen(pose(name).given), seen(pose(name).given), seen(pose(name, 1).given)
    assert first == again
    assert first != other


@pytest.mark.parametrize("name", TASKS)
def test_hidden_truth_is_a_function_of_the_seed(name):
    first, again = (pose(name).judge.truth for _ in range(2))
    assert all(np.asarray(first[t]).tobytes() == np.asarray(again[t]).tobytes() for t in first)


@pytest.mark.parametrize("name", CORPORA)
def test_training_never_shows_an_evaluation_example(name):
    given, judge = pose(name)
    held_out = {row.tobytes() for row in judge.truth["x"]}
    shown = [row.tobytes() for i in range(20) for row in given.batch(i, 32).x]
    assert held_out.isdisjoint(shown)
    assert len(set(shown)) == len(shown)


@pytest.mark.parametrize("name", CORPORA)
def test_batches_are_functions_of_their_number(name):
    given = pose(name).given
    later = given.batch(5, 3)
    given.batch(0, 9)
    assert all((a == b).all() for a, b in zip(later, given.batch(5, 3), strict=True))


@pytest.mark.parametrize("name", CORPORA)
def test_tokens_are_within_the_vocabulary_and_can_be_read(name):
    given, judge = pose(name)
    x, y = given.batch(0, 4)
    assert x.shape == y.shape == (4, given.length)
    assert x.dtype == y.dtype == np.int64
    assert x.min() >= 0
    assert x.max() < given.vocab
    assert (((y >= 0) & (y < given.vocab)) | (y == IGNORE)).all()
    assert (y != IGNORE).any(1).all()
    assert ((y[:, :-1] == x[:, 1:]) | (y[:, :-1] == IGNORE)).all()
    assert all(
        isinstance(example(name).text(ids), str) and example(name).text(ids) for ids in (x[0], judge.truth["x"][0])
    )


@pytest.mark.parametrize("name", CORPORA)
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_of_a_loader_share_the_batches_out(name, workers, monkeypatch):
    shares = []
    for number in range(workers):
        told = types.SimpleNamespace(id=number, num_workers=workers)
        monkeypatch.setattr("airtrack.train.dataset.get_worker_info", lambda told=told: told)
        shares.append(list(itertools.islice(iter(TokenDataset(example(name), size=3)), 4)))
    together = [batch for turn in zip(*shares) for batch in turn]
    for mine, (x, y) in zip(together, batches(example(name), 3)):
        assert (mine["input_ids"].numpy() == x).all()
        assert (mine["labels"].numpy() == y).all()


@pytest.mark.parametrize("name", TASKS)
def test_junk_never_leaves_the_bounds(name):
    problem = pose(name)
    for answer in junk(problem):
        readings, _ = problem.judge.read(answer)
        assert readings.keys() == problem.judge.metrics.keys()
        for metric, reading in readings.items():
            low, high = problem.judge.metrics[metric].bounds
            assert low <= reading <= high, (metric, reading, answer)


@pytest.mark.parametrize("name", TASKS)
def test_what_cannot_be_scored_scores_worst_and_says_why(name):
    judge = pose(name).judge
    for answer in (None, "policy", object(), np.full(3, np.nan), np.zeros((9, 9, 9, 9))):
        readings, reason = judge.read(answer)
        assert readings == {metric: m.worst for metric, m in judge.metrics.items()}
        assert reason


@pytest.mark.parametrize("name", TASKS)
def test_the_learner_holds_no_truth(name):
    given, judge = pose(name)
    seen(given)  # fill the caches too
    things = reachable(given)
    assert len(things) > 3
    assert not any(isinstance(thing, Judge) for thing in things)
    truths = {what: np.asarray(truth, np.float64) for what, truth in judge.truth.items()}
    for thing in things:
        held = numbers(thing)
        for what, truth in truths.items():
            same = held is not None and held.shape == truth.shape and np.allclose(held, truth, rtol=1e-6, atol=1e-9)
            assert not same, what
            assert not (lines(truth) & lines(held)), what


def test_the_walk_finds_a_truth_that_is_there():
    truth = np.arange(4.0)

    class Holder:
        def __init__(self):
            self.make = lambda i: (lambda j: truth[j])(i)

    assert any(thing is truth for thing in reachable(Holder()))


@pytest.mark.parametrize("name", TASKS)
def test_no_global_randomness(name):
    before, generic = random.getstate(), np.random.get_state()  # noqa: NPY002
    given, judge = pose(name)
    seen(given)
    judge(None)
    after = np.random.get_state()  # noqa: NPY002
    assert random.getstate() == before
    assert all(np.array_equal(a, b) for a, b in zip(generic, after, strict=True))


@pytest.mark.parametrize("name", TASKS)
def test_an_estimate_comes_with_its_standard_error(name):
    metrics = dict(example(name).metrics)
    first = next(iter(metrics))
    assert metrics[first].exact or f"{first}_se" in metrics
