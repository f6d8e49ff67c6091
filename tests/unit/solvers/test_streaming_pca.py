"""Streaming PCA against the covariance, and against its own equations written out."""

import numpy as np
import pytest
from sklearn.decomposition import IncrementalPCA

from airtrack.core.given import Stream
from airtrack.core.meter import Meter
from airtrack.core.part import SpecError
from airtrack.core.problem import Diverged
from airtrack.core.streams import Streams
from airtrack.solvers.spectral.covariance import Covariance
from airtrack.solvers.spectral.history_pca import History, HistoryPca
from airtrack.solvers.spectral.incremental_pca import IncrementalPca
from airtrack.solvers.spectral.oja import Oja, OjaState
from airtrack.solvers.spectral.oja_plus import OjaPlus, columns
from airtrack.tasks.spiked import Spiked

STREAMS = Streams(1)


def run(solver, task, budget, seed=1):
    given, judge = task.pose(Streams(seed) / "task")
    meter = Meter(budget)
    given.metered(meter)
    return judge(solver.answer(given, meter, Streams(seed) / "recipe"))


def samples(n, d, seed=0, rank=None):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, rank or d)) @ rng.standard_normal((rank or d, d))


def projector(basis):
    span = np.linalg.qr(basis)[0]
    return span @ span.T


# ------------------------------------------------------------------------------------------------------ history_pca


@pytest.mark.parametrize("forget", [0.0, 0.5, 2.0])
def test_with_all_columns_nothing_is_lost(forget):
    x = samples(90, 6)
    held = History(6, 2, rng=STREAMS.rng(), rule=HistoryPca(spare=4, forget=forget, batch=7))
    for start in range(0, 90, 30):
        held.update(x[start : start + 30])
    total, weight, seen = np.zeros((6, 6)), 0.0, 0
    for start in range(0, 90, 30):
        for first in range(start, start + 30, 7):
            batch = x[first : min(first + 7, start + 30)]
            seen += len(batch)
            keep = max(1 - forget * len(batch) / seen, 0)
            total, weight = keep * total + batch.T @ batch, keep * weight + len(batch)
    values, vectors = np.linalg.eigh(total / weight)
    assert held.variances() == pytest.approx(values[:-3:-1], rel=1e-9)
    assert projector(held.components()) == pytest.approx(projector(vectors[:, -2:]), abs=1e-8)
    assert abs(held.components()[:, 0] @ vectors[:, -1]) == pytest.approx(1)


def test_one_batch_is_oja_with_the_inverse_of_the_past():
    x, rule = samples(40, 8), HistoryPca(spare=1, forget=0.0, batch=20)
    held = History(8, 2, rng=STREAMS.rng(), rule=rule)
    held.update(x[:20])
    basis, past = held.basis, held.past
    held.update(x[20:])
    stepped = basis + x[20:].T @ (x[20:] @ basis) @ np.linalg.inv(past)
    assert projector(held.basis) == pytest.approx(projector(stepped), abs=1e-9)
    moved = basis @ past + x[20:].T @ (x[20:] @ basis)
    nystrom = moved @ np.linalg.inv(basis.T @ moved) @ moved.T
    assert held.basis @ held.past @ held.basis.T == pytest.approx(nystrom, rel=1e-6)


def test_it_comes_as_near_as_the_covariance_and_the_spare_columns_are_why():
    task = Spiked(d=100, k=4, spectrum="power", decay=1.0)

    def mean(solver):
        return np.mean([run(solver, task, 8000, seed)["variance"] for seed in range(4)])

    exact = mean(Covariance())
    assert exact < mean(HistoryPca()) < 1.25 * exact
    assert mean(HistoryPca(spare=0)) > 2 * exact
    assert mean(Oja(gap=0.05)) > 2 * exact


def test_forgetting_the_random_start_helps_where_noise_is_everywhere():
    task = Spiked(d=100, k=3, gap=0.5, decay=0.0)
    some, none = (np.mean([run(HistoryPca(forget=f), task, 8000, s)["variance"] for s in range(3)]) for f in (0.5, 0.0))
    assert some < 0.7 * none


def test_scale_and_rotation_change_nothing():
    x, turn = samples(300, 7), np.linalg.qr(samples(7, 7, seed=3))[0]
    answers = []
    for data, start in ((x, np.eye(7)), (1e-60 * x, np.eye(7)), (x @ turn, turn.T)):
        held = History(7, 2, rng=STREAMS.rng())
        held.basis = start @ held.basis
        held.update(data)
        answers.append(start.T @ held.components())
    assert projector(answers[1]) == pytest.approx(projector(answers[0]), abs=1e-9)
    assert projector(answers[2]) == pytest.approx(projector(answers[0]), abs=1e-9)


@pytest.mark.parametrize("cut", [1, 13, 200])
def test_centred_it_is_pca_however_the_samples_are_cut(cut):
    x = samples(200, 5) + 1e3 * np.arange(5)
    held = History(5, 2, rng=STREAMS.rng(), rule=HistoryPca(spare=3, forget=0.0), centre=True)
    for start in range(0, 200, cut):
        held.update(x[start : start + cut])
    values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    assert held.mean == pytest.approx(x.mean(0))
    assert held.seen == 200
    assert held.variances() == pytest.approx(values[:-3:-1], rel=1e-6)
    assert projector(held.components()) == pytest.approx(projector(vectors[:, -2:]), abs=1e-6)


def test_data_of_low_rank_and_zeros_are_no_harm():
    held = History(8, 2, rng=STREAMS.rng())
    held.update(np.zeros((5, 8)))
    assert (held.variances() == 0).all()
    x = samples(400, 8, rank=2)
    held.update(x)
    assert projector(held.components()) == pytest.approx(np.linalg.pinv(x) @ x, abs=1e-6)
    held.update(np.zeros((3, 8)))
    assert np.isfinite(held.components()).all()


def test_history_refuses_what_makes_no_sense():
    with pytest.raises(ValueError, match="9 components of 8 dimensions: take 1 … 8"):
        History(8, 9, rng=STREAMS.rng())
    with pytest.raises(Diverged, match="history_pca left the finite numbers after 0 samples: scale the data down"):
        History(4, 1, rng=STREAMS.rng()).update(np.full((3, 4), 1e200))
    for fields in ({"spare": -1}, {"forget": -0.1}, {"forget": 10.0}, {"batch": 0}):
        with pytest.raises(SpecError):
            HistoryPca(**fields)


def test_a_state_goes_on_where_it_was():
    x = samples(200, 6)
    whole, half, other = (History(6, 2, rng=(STREAMS / str(i)).rng(), centre=True) for i in (0, 0, 1))
    whole.update(x[:100])
    half.update(x[:100])
    other.restore(half.state())
    whole.update(x[100:])
    other.update(x[100:])
    assert whole.components().tobytes() == other.components().tobytes()


# ------------------------------------------------------------------------------------------------------------ oja


def test_oja_outside_the_bench_is_oja_within():
    task, rule = Spiked(d=7, k=2), Oja(batch=10)
    given, judge = task.pose(STREAMS / "task")
    start = np.linalg.qr((STREAMS / "recipe" / "init").rng().standard_normal((7, 2)))[0]
    held = OjaState(rule, 2, basis=start)
    held.update(given.draw(995))
    assert held.t == 995
    assert judge(held.basis)["sin2"] == pytest.approx(run(rule, task, 995)["sin2"], rel=1e-9)


@pytest.mark.parametrize("params", ["theory", "practical"])
def test_zeros_tell_oja_nothing(params):
    held = OjaState(Oja(params=params, batch=3), 2, basis=np.eye(6, 2))
    held.update(np.zeros((7, 6)))
    assert (held.basis == np.eye(6, 2)).all()
    held.update(samples(200, 6))
    assert held.basis.T @ held.basis == pytest.approx(np.eye(2), abs=1e-12)
    still = Stream(lambda i: np.zeros((64, 6)), d=6, k=2, block=64)
    meter = Meter(200)
    still.metered(meter)
    assert np.linalg.matrix_rank(OjaPlus(params=params).answer(still, meter, STREAMS)) == 1


def test_oja_plus_takes_its_columns_in_turn():
    task = Spiked(d=20, k=5, gap=0.5)
    given, judge = task.pose(STREAMS / "task")
    widths = []
    meter = Meter(4000, look=lambda a: widths.append(int((abs(a).max(0) > 0).sum())) or {}, schedule=list(range(4000)))
    given.metered(meter)
    answer = OjaPlus(params="theory", batch=8).answer(given, meter, STREAMS / "recipe")
    assert widths == sorted(widths)
    assert list(dict.fromkeys(widths)) == [3, 4, 5]
    assert judge(answer)["sin2"] < run(Oja(params="theory", batch=8), task, 4000)["sin2"]  # whose T₀ is k times as long
    assert [columns(8, stage) for stage in (0, 1, 2, 3, 10**9)] == [4, 6, 7, 8, 8]
    assert [columns(k, 0) for k in (1, 2, 3)] == [1, 1, 2]
    assert [columns(k, k.bit_length() - 1) for k in range(1, 70)] == list(range(1, 70))


# ----------------------------------------------------------------------------------------- what there is to learn from

HELD = {
    "history": lambda: History(6, 2, rng=STREAMS.rng()),
    "centred": lambda: History(6, 2, rng=STREAMS.rng(), centre=True),
    "oja": lambda: OjaState(Oja(batch=4), 2, basis=np.eye(6, 2)),
}


def state(held):
    return {name: np.array(value).tolist() for name, value in held.state().items()}


@pytest.mark.parametrize("name", HELD)
def test_samples_of_any_numbers_are_samples(name):
    x = np.round(8 * samples(30, 6))
    plain = HELD[name]()
    plain.update(x)
    for form in (x.astype(np.float32), x.astype(int), np.asfortranarray(x), x.tolist()):
        held = HELD[name]()
        held.update(form)
        assert state(held) == state(plain)
    for none in (np.zeros((0, 6)), np.zeros((0, 6), np.float32)):
        held.update(none)
        assert state(held) == state(plain)
    for wrong in (x[0], x[:, :5], x[None], 1.0):
        with pytest.raises(SpecError, match=r"samples have the shape \(.*\); give \[n, 6\], one sample as \[1, 6\]"):
            held.update(wrong)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", HELD)
def test_a_row_that_is_not_finite_is_named_and_changes_nothing(name, bad):
    x, held = samples(30, 6), HELD[name]()
    held.update(x)
    before, wrong = state(held), x.copy()
    wrong[[17, 20], 3] = bad
    with pytest.raises(SpecError, match=r"samples\[17\] holds NaN or infinity; leave such rows out, or fill them in"):
        held.update(wrong)
    assert state(held) == before


@pytest.mark.parametrize("solver", [HistoryPca(), Oja(), OjaPlus(), Covariance(), IncrementalPca()], ids=str)
def test_a_stream_names_the_row_that_is_not_finite(solver):
    def make(i):
        x = samples(64, 6, seed=i)
        x[5, 2] = np.nan if i == 3 else 0
        return x

    given, meter = Stream(make, d=6, k=2, block=64), Meter(1000)
    given.metered(meter)
    with pytest.raises(
        SpecError, match="row 197 of the stream, the first being 0, holds NaN or infinity; leave it out"
    ):
        solver.answer(given, meter, STREAMS)


# ------------------------------------------------------------------------------------------------------ baselines


def test_incremental_pca_is_scikit_learns():
    task = Spiked(d=12, k=3)
    x = task.pose(STREAMS / "task").given.draw(600)
    peer = IncrementalPCA(3, batch_size=60).fit(np.vstack([x, -x]).reshape(2, 600, 12).swapaxes(0, 1).reshape(-1, 12))
    given, _ = task.pose(STREAMS / "task")
    meter = Meter(600)
    given.metered(meter)
    answer = IncrementalPca(batch=30).answer(given, meter, STREAMS)  # x and −x by turns have mean zero in every batch
    assert projector(answer) == pytest.approx(projector(peer.components_.T), abs=1e-9)


def test_covariance_is_the_eigenvectors_of_the_sum():
    task = Spiked(d=12, k=3)
    x = task.pose(STREAMS / "task").given.draw(600)
    vectors = np.linalg.eigh(x.T @ x)[1][:, -3:]
    given, _ = task.pose(STREAMS / "task")
    meter = Meter(600)
    given.metered(meter)
    assert projector(Covariance(batch=70).answer(given, meter, STREAMS)) == pytest.approx(projector(vectors), abs=1e-9)


def test_fewer_cuts_lose_less():
    task = Spiked(d=60, k=3, spectrum="power", decay=0.5)
    errors = [run(IncrementalPca(batch=batch), task, 6000)["variance"] for batch in (10, 100, 6000)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] == pytest.approx(run(Covariance(), task, 6000)["variance"], rel=1e-6)
