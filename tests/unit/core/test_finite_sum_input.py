"""What is no sum is refused, in one line that says where and what to do; what is unusual is taken as it is meant."""

import numpy as np
import pytest
from scipy.sparse import coo_matrix, csc_matrix, csr_array, csr_matrix

from airtrack.core.given import Blocks, FiniteSum
from airtrack.core.losses import Softmax
from airtrack.core.meter import Meter
from airtrack.core.part import SpecError, build
from airtrack.core.penalties import L1
from airtrack.core.problem import Diverged
from airtrack.core.streams import Streams
from airtrack.solvers.solution import solve

RNG = np.random.default_rng(0)
ROWS, SIGNS = RNG.normal(size=(20, 3)), np.where(np.arange(20) % 2, 1.0, -1.0)


def refused(message, rows=ROWS, labels=SIGNS, **options):
    with pytest.raises(SpecError, match=message) as error:
        FiniteSum(rows, labels, **({"l2": 0.1} | options))
    assert len(str(error.value).splitlines()) == 1
    return True


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.asarray, csr_matrix, lambda x: np.asarray(x, np.float32)])
def test_numbers_that_are_not_finite(bad, kind):
    rows = ROWS.copy()
    rows[7, 2] = bad
    assert refused(f"row 7 is not finite: it holds {bad}; drop the row, or fill it in", kind(rows))
    labels = SIGNS.copy()
    labels[3] = bad
    assert refused(r"labels\[3\] is not finite; drop that row", labels=labels)
    assert refused(r"weights\[3\] is not finite; drop that row", weights=np.where(np.arange(20) == 3, bad, 1.0))
    assert refused("l2 is .*; it is a finite number, at least 0", l2=bad)
    assert refused(r"linear\[0\] is not finite", linear=np.array([bad, 0, 0]))
    assert refused(r"start\[0\] is not finite; give", start=np.array([bad, 0, 0]))


def test_infinities_that_cancel():
    rows = ROWS.copy()
    rows[4, 0], rows[5, 0] = np.inf, -np.inf
    assert refused("row 4 is not finite", rows)


def test_sums_that_overflow_are_no_reason_to_refuse():
    rows = np.full((20, 3), 1e38, np.float32)
    assert FiniteSum(rows, SIGNS, l2=0.1).n == 20


def test_rows_on_disk_are_checked_as_they_are_met():
    rows = ROWS.copy()
    rows[13, 1] = np.nan
    given = FiniteSum(Blocks(lambda i: rows[6 * i : 6 * i + 6], rows.shape, 6), SIGNS, l2=0.1)
    with pytest.raises(SpecError, match="row 13 is not finite: it holds nan; drop the row, or fill it in"):
        solve(given, "svrg")


@pytest.mark.parametrize("shape", [(20,), (0, 3), (20, 0), (20, 3, 1)])
def test_shapes(shape):
    assert refused(r"rows have the shape .*; a matrix \[n, d\] with n, d > 0 is needed", np.ones(shape))


def test_shapes_that_do_not_fit():
    assert refused(r"labels have the shape \(19,\), and there are 20 rows", labels=SIGNS[1:])
    assert refused(r"labels have the shape \(20, 1\), and there are 20 rows", labels=SIGNS[:, None])
    assert refused(r"weights have the shape \(3,\), and there are 20 rows", weights=np.ones(3))
    assert refused(r"linear has the shape \(4,\), and x the shape \(3,\); make them alike", linear=np.ones(4))
    assert refused(r"start has the shape \(4,\), and x the shape \(3,\)", start=np.ones(4))
    assert refused(r"4 coordinates are free, and x has 3; take 0 … 3", free=4)


def test_weights_that_weigh_nothing():
    assert refused(r"weights\[2\] is -0.5; weights are not negative", weights=np.where(np.arange(20) == 2, -0.5, 1.0))
    assert refused("every weight is 0: there is nothing to learn from", weights=np.zeros(20))


@pytest.mark.parametrize("loss", ["logistic", "hinge", "squared_hinge", "smoothed_hinge", "sigmoid"])
def test_labels_of_two_classes_are_signs(loss):
    name = loss.replace("_", "")
    assert refused(rf"labels\[0\] is 0; {name} takes -1 and 1; number the classes so", labels=SIGNS > 0, loss=loss)


def test_negative_strength():
    assert refused("l2 is -0.1; it is a finite number, at least 0", l2=-0.1)
    assert refused("no loss is named 'logit'; did you mean", loss="logit")


def test_formats():
    assert refused("sparse rows are in the format 'csc'; convert them", csc_matrix(ROWS))
    assert refused("sparse rows are in the format 'coo'; convert them", coo_matrix(ROWS))
    assert refused("rows hold complex128, and real numbers are needed", ROWS + 1j)
    assert refused("rows hold <U.*, and real numbers are needed", ROWS.astype(str))
    assert refused("rows hold object, and real numbers are needed", ROWS.astype(object))


def test_integers_are_numbers():
    rows = RNG.integers(0, 3, (20, 3))
    plain = FiniteSum(rows.astype(float), SIGNS, l2=0.1)
    for kind in (rows, rows.tolist(), csr_matrix(rows), csr_array(rows), rows.astype(np.int8)):
        found = FiniteSum(kind, SIGNS, l2=0.1)
        np.testing.assert_allclose(solve(found, "svrg").x, solve(plain, "svrg").x, atol=1e-9)


def test_entries_in_two_parts_are_one():
    halves = csr_matrix((np.array([1.0, 2.0, 3.0]), np.array([0, 0, 1]), np.array([0, 2, 3])), shape=(2, 2))
    given = FiniteSum(halves, [1.0, -1.0], l2=0.1)
    np.testing.assert_allclose(given.smoothness, [9 / 4, 9 / 4])
    np.testing.assert_allclose(given.gradient(np.zeros(2))[0], [-0.75, 0.75])
    assert halves.nnz == 3  # the caller's own matrix is as it was


def test_the_callers_rows_stay_writeable_and_unwritten():
    rows, sparse = ROWS.copy(), csr_matrix(ROWS)
    for held in (rows, sparse):
        given = FiniteSum(held, SIGNS, l2=0.1)
        solve(given, "katyusha")
        with pytest.raises(ValueError, match="read-only"):
            (given.rows.data if given.sparse else given.rows)[:1] = 0
    rows[0, 0], sparse.data[0] = 5.0, 5.0


# ------------------------------------------------------------------------------------------------------------- overflow


def wrapped(starts, columns=None, n=4, d=5, entries=8):
    """Arrays as 32-bit counters leave them, without the 2³¹ entries; scipy's constructor would look at them."""
    rows = csr_matrix((n, d))
    rows.data = np.ones(entries)
    rows.indices = np.zeros(entries, np.int32) if columns is None else np.asarray(columns, np.int32)
    rows.indptr = np.asarray(starts, np.int32)
    return rows


def test_row_starts_that_wrapped_around():
    """2³¹ + 8 entries counted in 32 bits are −2³¹ + 8."""
    last = np.int64(2**31 + 8).astype(np.int32)
    assert last < 0
    message = "the row starts run from 0 to .* for 8 entries: 32-bit indices have overflowed; build indptr and indices"
    assert refused(message, wrapped([0, 2, 4, 6, last]), SIGNS[:4])
    assert refused(message, wrapped([0, 2, -4, 6, 8]), SIGNS[:4])
    assert refused("the row starts run from 3 to 8", wrapped([3, 4, 5, 6, 8]), SIGNS[:4])


def test_columns_that_wrapped_around():
    column = np.int64(2**31 + 1).astype(np.int32)
    message = r"column -2147483647 is outside 0 … 4: 32-bit indices may have overflowed; build indptr and indices"
    assert refused(message, wrapped([0, 2, 4, 6, 8], [0, 1, 2, column, 0, 1, 2, 3]), SIGNS[:4])
    assert refused("column 5 is outside 0 … 4", wrapped([0, 2, 4, 6, 8], [0, 1, 2, 5, 0, 1, 2, 3]), SIGNS[:4])


def test_64_bit_indices_are_taken():
    rows = csr_matrix(ROWS)
    rows.indices, rows.indptr = rows.indices.astype(np.int64), rows.indptr.astype(np.int64)
    given = FiniteSum(rows, SIGNS, l2=0.1)
    for method in ("svrg", "katyusha"):
        np.testing.assert_allclose(
            solve(given, method, tol=1e-10).x, solve(FiniteSum(ROWS, SIGNS, l2=0.1), method, tol=1e-10).x, atol=1e-6
        )


# ------------------------------------------------------------------------------------------- problems that ask too much


@pytest.mark.parametrize("name", ["sdca", "nu_acdm"])
def test_without_l2_the_reduction_is_named(name):
    given = FiniteSum(ROWS, SIGNS, l2=0.0)
    with pytest.raises(SpecError, match=r"needs l2 > 0.* use the reduction adapt_reg"):
        solve(given, name)
    assert solve(FiniteSum(ROWS, SIGNS, l2=0.0, penalty=L1(0.05)), "adapt_reg", tol=1e-4).converged


def test_a_corner_names_its_reduction():
    given = FiniteSum(ROWS, SIGNS, l2=0.1, loss="hinge")
    for name in ("svrg", "katyusha", "agd"):
        with pytest.raises(SpecError, match=r"has a corner; use .*(smooth|sdca)"):
            solve(given, name)


@pytest.mark.parametrize("name", ["svrg", "saga", "sag", "agd"])
def test_an_ill_posed_step_prints_the_stable_range(name):
    given = FiniteSum(ROWS * 10, ROWS[:, 0], l2=1e-3, loss="squared")
    with pytest.raises(Diverged, match=f"{name} left the finite numbers .*; it is stable for step ≤ 1"):
        solve(given, build("solver", {"name": name, "step": 1e6}), passes=4000)


def test_classes_are_counted():
    assert refused(r"labels\[0\] is -1; softmax takes 0 … 2", loss=Softmax(3))


def test_an_empty_budget_is_no_answer():
    given = FiniteSum(ROWS, SIGNS, l2=0.1)
    meter = Meter(0)
    given.metered(meter)
    assert not build("solver", "svrg").answer(given, meter, Streams(0)).any()
