"""Every solver of finite sums on every kind of sum: it takes it, or names in one line what would."""

import itertools
import re

import numpy as np
import pytest
from scipy.sparse import csr_array

from airtrack.core.given import FiniteSum
from airtrack.core.losses import LOSSES, Softmax
from airtrack.core.meter import Meter
from airtrack.core.part import SpecError, build, known, lookup
from airtrack.core.penalties import L1, Box, NuclearBall, Simplex
from airtrack.core.streams import Streams
from airtrack.solvers.rules import choose

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(12, 4))
SIGNS, CLASSES = np.where(np.arange(12) % 2, 1.0, -1.0), np.arange(12) % 3.0
PENALTIES = [None, L1(0.01), Box(-1, 1), Simplex(), NuclearBall(1.0, 2)]
REWRITTEN = ("append a 1 to every row", "give rows.toarray()", "give the loss an attribute `third`")


def sums():
    for loss, l2, penalty, form, free in itertools.product(
        LOSSES, (0.0, 0.1), PENALTIES, (np.asarray, csr_array), (0, 1)
    ):
        if loss == "softmax" and isinstance(penalty, (Simplex, NuclearBall)):
            continue  # refused by the sum
        if isinstance(penalty, NuclearBall) and free:
            penalty = NuclearBall(1.0, 3)  # of the three others
        many = loss == "softmax"
        labels = CLASSES if many else SIGNS
        given = FiniteSum(form(ROWS), labels, l2=l2, loss=Softmax(3) if many else loss, penalty=penalty, free=free)
        yield f"{loss}, l2 {l2}, {penalty}, {form.__name__}, free {free}", given


SUMS = dict(sums())
SOLVERS = [name for name in known("solver") if lookup("solver", name).accepts is FiniteSum]


def refusal(solver, given):
    try:
        solver.refuse(given)
    except SpecError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", SOLVERS)
def test_a_remedy_works(name):
    solver, named = build("solver", name), re.compile(r"use (?:the reduction )?(\w+)((?: with \w+: \w+)*)$")
    for kind, given in SUMS.items():
        words = refusal(solver, given)
        if words is None or words.endswith(REWRITTEN):
            continue
        assert "\n" not in words
        remedy = named.search(words)
        assert remedy, f"{name} on {kind} names nothing: {words}"
        fields = dict(field.split(": ") for field in remedy[2].split(" with ") if field)
        other = build("solver", {"name": remedy[1], **fields})
        assert refusal(other, given) is None, f"{name} on {kind}: {words}; {refusal(other, given)}"


@pytest.mark.parametrize("kind", SUMS)
def test_auto_takes_it_and_gets_lower(kind):
    given = SUMS[kind].like()
    rule = choose(given)
    solver = build("solver", {"name": rule.name, **rule.fields})
    meter = Meter(60 * given.n)
    given.metered(meter)
    zero = given.prox(given.zero(), 1.0, ridge=False)
    x = solver.answer(given, meter, Streams(1))
    assert x.shape == given.shape
    assert given.certificate(x)["objective"] <= given.certificate(zero)["objective"] + 1e-12
