"""How many vectors solvers hold beside the data: at most six of x and two of the rows."""

import tracemalloc

import numpy as np
import pytest
from scipy import sparse

from airtrack.core.given import FiniteSum
from airtrack.core.meter import Meter
from airtrack.core.part import build
from airtrack.core.streams import Streams

FEW, MANY = 1000, 300_000
BLOCKS = 60_000  # words of blocks of rows and of indices that are worked on at a time, whatever n and d are


def words(name, n, d):
    """The most that is allocated, in numbers of eight bytes; of what compiled loops take themselves nothing is seen."""
    rng = np.random.Generator(np.random.PCG64(0))
    entries, columns = rng.standard_normal(4 * n), rng.integers(0, d, 4 * n)
    rows = sparse.csr_matrix((entries, columns, np.arange(0, 4 * n + 1, 4)), shape=(n, d))
    loss = "squared" if name == "pcg" else "logistic"
    rows.sum_duplicates()
    given, meter = FiniteSum(rows, np.sign(rng.standard_normal(n)), l2=1 / n, loss=loss), Meter(20 * n)
    given.metered(meter)
    tracemalloc.start()
    build("solver", name).answer(given, meter, Streams(0))
    peak = tracemalloc.get_traced_memory()[1] / 8
    tracemalloc.stop()
    assert meter.spent >= 15 * n
    return peak


@pytest.mark.parametrize("name", ["svrg", "katyusha", "saga", "sdca", "newton_cg", "pcg"])
def test_a_wide_sum_takes_six_vectors_and_a_tall_one_two(name):
    words(name, FEW, FEW)  # compiled
    assert words(name, FEW, MANY) < 6 * MANY + BLOCKS
    assert words(name, MANY, FEW) < 2 * MANY + 8 * FEW + BLOCKS


def test_a_dual_with_momentum_takes_three_of_the_rows():
    words("nu_acdm", FEW, FEW)
    assert words("nu_acdm", FEW, MANY) < 6 * MANY + BLOCKS
    assert words("nu_acdm", MANY, FEW) < 3 * MANY + 8 * FEW + BLOCKS
