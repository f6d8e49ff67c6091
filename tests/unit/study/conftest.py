"""Toy parts, and readouts that no trial gave."""

from pathlib import Path

import pytest

from airtrack.core.part import load_object
from airtrack.study.spec import Study
from airtrack.study.trial import Readout

FILE = Path(__file__).parent / "toy.py"


class Toys:
    """The parts of toy.py, and studies of them."""

    file = FILE

    def __init__(self):
        self.Toy, self.Dial, self.Half = (load_object(f"{FILE}:{name}") for name in ("Toy", "Dial", "Half"))

    def study(self, arms=None, **fields):
        arms = arms or {"low": self.Dial(aim=0.2), "high": self.Dial(aim=0.8)}
        if "comparisons" not in fields:
            fields = {"baseline": next(iter(arms))} | fields
        return Study(**{"task": self.Toy(), "arms": arms, "budget": 20, "seeds": 6} | fields)


@pytest.fixture(scope="session")
def toys():
    return Toys()


@pytest.fixture(scope="session")
def pretend():
    """A ledger in the head: `read(recipe, seed)` → a number, or a dict with metrics, state, spent, reached."""

    def make(study, read, there=lambda trial: True):
        asked = []

        def look_up(trial):
            asked.append(trial)
            if not there(trial):
                return None
            found = read(trial.recipe, trial.seed)
            found = found if isinstance(found, dict) else {"metrics": {study.metric: found}}
            fields = {"state": "done", "metrics": {}, "spent": study.budget, "curve": {}} | found
            return Readout(key=trial.key, trial=trial.to_spec(), **fields)

        look_up.asked = asked
        return look_up

    return make
