"""Then: the first recipe once, its changes after it."""

from typing import ClassVar

import numpy as np
import pytest

from airtrack.core.given import FiniteSum, Oracle
from airtrack.core.meter import Meter
from airtrack.core.part import SpecError, build, key, part, to_spec
from airtrack.core.streams import Streams
from airtrack.core.then import Then


class Sparse(np.ndarray):
    """A narrower kind of answer."""


@part("solver")
class Ones:
    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray

    def answer(self, given, meter, streams):
        meter.charge(3)
        return np.ones(2)


@part("compress")
class Add:
    accepts: ClassVar[type] = np.ndarray
    what: float = 1.0

    def change(self, answer, given, meter, streams):
        meter.charge(1)
        return answer * 2 + self.what


@part("compress")
class Noise:
    accepts: ClassVar[type] = np.ndarray

    def change(self, answer, given, meter, streams):
        return answer + streams.rng().random(len(answer))


@part("compress")
class Narrow:
    accepts: ClassVar[type] = Sparse

    def change(self, answer, given, meter, streams):
        return answer


def test_changes_come_in_their_order():
    meter = Meter(10)
    then = Then(first=Ones(), changes=[Add(what=1.0), Add(what=5.0)])
    assert then.answer(Oracle(), meter, Streams(0)).tolist() == [11, 11]
    assert meter.spent == 5


def test_changes_have_randomness_of_their_own():
    then = Then(first=Ones(), changes=[Noise(), Noise()])
    answer = then.answer(Oracle(), Meter(10), Streams(0) / "recipe")
    draws = [(Streams(0) / "recipe" / f"change{i}").rng().random(2) for i in range(2)]
    assert answer.tolist() == (np.ones(2) + draws[0] + draws[1]).tolist()


def test_a_prefix_that_is_there_is_not_made_again():
    meter = Meter(10, prefix=lambda recipe: np.full(2, 7.0) if recipe == Ones() else None)
    assert Then(first=Ones(), changes=[Add()]).answer(Oracle(), meter, Streams(0)).tolist() == [15, 15]
    assert meter.spent == 1


def test_a_change_that_does_not_fit_is_refused():
    with pytest.raises(SpecError, match="Narrow changes a Sparse, Ones returns a ndarray"):
        Then(first=Ones(), changes=[Narrow()])


def test_no_change_at_all_is_the_first():
    then = Then(first=Ones(), changes=[])
    assert then.answer(Oracle(), Meter(10), Streams(0)).tolist() == [1, 1]
    assert (then.accepts, then.returns) == (FiniteSum, np.ndarray)


def test_composition_is_a_specification_like_any_other():
    spec = {"name": "then", "first": {"name": "train", "net": {"name": "decoder", "layers": 1, "width": 8, "heads": 2}}}
    spec["first"]["optim"] = {"name": "adamw", "lr": {"grid": [0.1, 0.2]}}
    spec["changes"] = [{"name": "rtn", "bits": 4}]
    made = build("recipe", spec)
    assert build("recipe", to_spec(made)) == made
    assert key(made) != key(made.first)
    with pytest.raises(SpecError, match=r"^first: no recipe is named 'rtn'"):
        build("recipe", {"name": "then", "first": "rtn", "changes": []})
    with pytest.raises(SpecError, match=r"^changes\.0: no change is named 'svrg'"):
        build("recipe", spec | {"changes": ["svrg"]})
