"""The data of a task without the bench: numpy batches, and torch's loader with any number of workers."""

from itertools import islice

import pytest
import torch
from torch.utils.data import DataLoader

import airtrack as at
from airtrack.core.given import IGNORE

TASK = {"name": "depo", "n": 5, "hops": 2}


def shown(count=7, **options):
    workers = options.pop("workers", 0)
    # a spawned worker, let go while its sender thread holds a tensor, may abort as its interpreter ends
    context = {"multiprocessing_context": "forkserver"} if workers else {}
    loader = DataLoader(at.train.TokenDataset(TASK, size=4, **options), batch_size=None, num_workers=workers, **context)
    return list(islice(loader, count))


def test_numpy_batches_are_those_of_the_problem():
    x, y = next(at.batches(TASK, 4, seed=3, first=2))
    given = at.tasks.Depo(n=5, hops=2).pose(at.Streams(3) / "task").given
    assert (x == given.batch(2, 4).x).all()
    assert (y == given.batch(2, 4).y).all()


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more than there are cores
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_make_the_same_bytes_in_the_same_order(workers):
    alone, together = shown(), shown(workers=workers)
    for a, b, (x, y) in zip(alone, together, at.batches(TASK, 4)):
        assert (a["input_ids"] == b["input_ids"]).all()
        assert (a["labels"] == b["labels"]).all()
        assert (a["input_ids"].numpy() == x).all()
        assert (a["labels"].numpy() == y).all()


def test_it_goes_on_where_it_stopped_and_seeds_differ():
    assert all((a["input_ids"] == b["input_ids"]).all() for a, b in zip(shown()[3:], shown(4, first=3)))
    assert not any((a["input_ids"] == b["input_ids"]).all() for a, b in zip(shown(), shown(seed=1)))


def test_labels_for_models_that_shift_them_themselves():
    for plain, shifted in zip(shown(), shown(shifted=True)):
        y = shifted["labels"]
        assert (y[:, 0] == IGNORE).all()
        assert torch.equal(y[:, 1:], plain["labels"][:, :-1])
        assert ((y == IGNORE) | (y == shifted["input_ids"])).all()


def test_what_has_no_tokens_is_refused():
    with pytest.raises(at.SpecError, match="Logistic gives a FiniteSum, and only a Corpus has batches of tokens"):
        at.batches({"name": "logistic", "n": 10, "d": 2, "kappa": 10.0}, 4)
    with pytest.raises(at.SpecError, match="no task is named 'depot'; did you mean 'depo'"):
        at.train.TokenDataset("depot", size=4)
