"""Rows that are not in memory give what rows in memory give, however they are cut."""

import numpy as np
import pytest

from airtrack.core.given import Blocks, FiniteSum
from airtrack.core.losses import Softmax
from airtrack.core.part import SpecError
from airtrack.core.penalties import L1
from airtrack.solvers.solution import solve

N, D = 53, 6
RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(N, D))
SIGNS = np.where(ROWS @ RNG.normal(size=D) + 0.5 * RNG.normal(size=N) > 0, 1.0, -1.0)

cuts = pytest.mark.parametrize("rows_a_window", [1, 7, 52, 53, 54, 1000])
kinds = pytest.mark.parametrize("kind", [np.float64, np.float32])


def opened(folder, rows, rows_a_window, **options):
    file = folder / "rows.npy"
    np.save(file, rows)
    return Blocks.open(file, room=rows_a_window * rows.shape[-1] * rows.itemsize, **options)


@cuts
@kinds
def test_a_mapped_file_is_its_array(tmp_path, rows_a_window, kind):
    rows = ROWS.astype(kind)
    blocks = opened(tmp_path, rows, rows_a_window)
    assert blocks.shape == (N, D)
    seen = list(blocks)
    assert [where.start for where, _ in seen] == list(range(0, N, blocks.block))[: len(seen)]
    assert seen[-1][0].stop == N
    np.testing.assert_array_equal(np.concatenate([part for _, part in seen]), rows)
    exact = rows.astype(np.float64)
    x, s = RNG.normal(size=D), RNG.normal(size=N)
    np.testing.assert_allclose(blocks @ x, exact @ x, rtol=1e-12)
    np.testing.assert_allclose(blocks.T @ s, exact.T @ s, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(blocks @ np.eye(D)[:, :2], exact[:, :2], rtol=1e-12)
    np.testing.assert_allclose(blocks.T @ np.eye(N)[:, :3], exact[:3].T, rtol=1e-12)
    ids = RNG.integers(0, N, 200)
    np.testing.assert_array_equal(blocks.take(ids), rows[ids])
    assert blocks.take(np.array([], int)).shape == (0, D)


@pytest.mark.parametrize("header", [(1, 0), (2, 0), (3, 0)])
def test_headers_of_every_version(tmp_path, header):
    file = tmp_path / "rows.npy"
    with file.open("wb") as stream:
        np.lib.format.write_array(stream, ROWS, version=header)
    np.testing.assert_array_equal(Blocks.open(file, room=200).take(np.arange(N)), ROWS)


def test_each_block_is_made_once_a_pass_and_only_those_asked_for():
    made = []

    def make(i):
        made.append(i)
        return ROWS[10 * i : 10 * i + 10]

    blocks = Blocks(make, (N, D), 10)
    np.testing.assert_allclose(blocks @ np.ones(D), ROWS.sum(1))
    assert made == [0, 1, 2, 3, 4, 5]
    made.clear()
    blocks.take(np.array([52, 3, 31, 4, 3]))
    assert made == [0, 3, 5]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.ones(5),
            r"holds an array of shape \(5,\) and type float64; save a matrix of float32 or float64 row by row",
        ),
        (np.ones((3, 2), int), "and type int64; save a matrix of float32 or float64"),
        (np.ones((3, 2), np.float16), "and type float16; save a matrix of float32 or float64"),
        (np.ones((3, 2), ">f8"), "and type >f8; save a matrix of float32 or float64"),
        (np.asfortranarray(ROWS), "and type float64, column by column; save .* numpy.ascontiguousarray"),
        (np.ones((2, 2, 2)), r"shape \(2, 2, 2\)"),
    ],
)
def test_files_that_hold_something_else(tmp_path, array, message):
    with pytest.raises(SpecError, match=message):
        opened(tmp_path, array, 1)


def test_files_that_are_damaged_or_missing(tmp_path):
    file = tmp_path / "rows.npy"
    with pytest.raises((SpecError, FileNotFoundError), match=r"rows\.npy"):
        Blocks.open(file)
    file.write_bytes(b"not an array")
    with pytest.raises(SpecError, match=r"rows\.npy is no \.npy file"):
        Blocks.open(file)
    np.save(file, ROWS)
    file.write_bytes(file.read_bytes()[:-80])
    for room in (100, 1 << 26):
        with pytest.raises(SpecError, match=r"rows\.npy is .* bytes long, and its header asks for .*: it is truncated"):
            Blocks.open(file, room=room)


def test_an_empty_array_is_no_sum(tmp_path):
    blocks = opened(tmp_path, np.ones((0, 4)), 1)
    with pytest.raises(SpecError, match=r"rows have the shape \(0, 4\); a matrix \[n, d\] with n, d > 0 is needed"):
        FiniteSum(blocks, [], l2=0.1)


# -------------------------------------------------------------------------------------------------------------- sums


@cuts
@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("method", ["svrg", "katyusha", "agd", "lbfgs", "newton_cholesky"])
def test_solvers_take_them(tmp_path, rows_a_window, kind, method):
    """The same components in the same order: the same numbers, up to rounding."""
    rows = ROWS.astype(kind)
    whole = solve(FiniteSum(rows, SIGNS, l2=0.02), method, tol=1e-9)
    given = FiniteSum(opened(tmp_path, rows, rows_a_window), SIGNS, l2=0.02)
    found = solve(given, method, tol=1e-9)
    assert found.converged
    np.testing.assert_allclose(found.x, whole.x, atol=1e-6)
    assert found.counts == whole.counts


@cuts
def test_everything_that_is_asked_of_a_sum(tmp_path, rows_a_window):
    options = {"l2": 0.1, "weights": RNG.random(N), "free": 1, "penalty": L1(0.01)}
    blocks = opened(tmp_path, ROWS, rows_a_window)
    mapped, plain = FiniteSum(blocks, SIGNS, **options), FiniteSum(ROWS, SIGNS, **options)
    x, v = RNG.normal(size=D), RNG.normal(size=D)
    np.testing.assert_allclose(mapped.gradient(x)[0], plain.gradient(x)[0], rtol=1e-12)
    np.testing.assert_allclose(mapped.gradient(x)[1], plain.gradient(x)[1], rtol=1e-12)
    np.testing.assert_allclose(mapped.smoothness, plain.smoothness, rtol=1e-12)
    curves = plain.curvature(x)
    np.testing.assert_allclose(mapped.curvature(x), curves, rtol=1e-12)
    np.testing.assert_allclose(mapped.hessian(curves, v), plain.hessian(curves, v), rtol=1e-12)
    np.testing.assert_allclose(mapped.gram(curves), plain.gram(curves), rtol=1e-12)
    np.testing.assert_allclose(mapped.diagonal(curves), plain.diagonal(curves), rtol=1e-12)
    assert mapped.certificate(x) == pytest.approx(plain.certificate(x), rel=1e-12)
    order = RNG.integers(0, N, 100)
    visited = [rows[at] for rows, _, at, _ in mapped.visits(order)]
    np.testing.assert_array_equal(np.concatenate(visited), ROWS[order])
    with pytest.raises(SpecError, match="these rows are not in memory; use a solver that takes them a block at a time"):
        mapped.rows  # noqa: B018


def test_visits_are_gathered_some_at_a_time(monkeypatch):
    from airtrack.core.given import finite_sum

    monkeypatch.setattr(finite_sum, "GATHERED", 8 * D * 9)  # nine rows
    given = FiniteSum(Blocks(lambda i: ROWS[10 * i : 10 * i + 10], (N, D), 10), SIGNS, l2=0.1)
    order = RNG.integers(0, N, 31)
    parts = list(given.visits(order))
    assert [len(ids) for *_, ids in parts] == [9, 9, 9, 4]
    np.testing.assert_array_equal(np.concatenate([ids for *_, ids in parts]), order)
    for rows, labels, at, ids in parts:
        np.testing.assert_array_equal(rows[at], ROWS[ids])
        np.testing.assert_array_equal(labels[ids], SIGNS[ids])


def test_many_classes(tmp_path):
    labels = np.arange(N) % 3
    sums = [FiniteSum(rows, labels, l2=0.1, loss=Softmax(3)) for rows in (opened(tmp_path, ROWS, 7), ROWS)]
    mapped, plain = (solve(given, tol=1e-10) for given in sums)
    np.testing.assert_allclose(mapped.x, plain.x, atol=1e-6)


@pytest.mark.parametrize("method", ["sdca", "saga", "sag", "pcg", "nu_acdm"])
def test_so_do_other_methods(tmp_path, method):
    given = FiniteSum(opened(tmp_path, ROWS, 7), ROWS[:, 0] + 1, l2=0.1, loss="squared")
    found = solve(given, method, tol=1e-9, passes=5000)
    plain = solve(FiniteSum(ROWS, ROWS[:, 0] + 1, l2=0.1, loss="squared"), method, tol=1e-9, passes=5000)
    np.testing.assert_allclose(found.x, plain.x, atol=1e-6)


def test_auto_takes_them(tmp_path):
    found = solve(FiniteSum(opened(tmp_path, ROWS, 7), SIGNS, l2=0.02))
    assert found.converged
