"""Ten singular vectors of a sparse matrix: the time, the products, and the error that is left.

20 000 × 3000, 30 entries a row, λ₁₁/λ₁₀ near .946. Ours, SciPy's and scikit-learn's solvers are each run at a few
settings, and what they cost and leave is shown side by side: no row is better for being quicker alone. They alternate
within one process, in a new order every round, and are timed by the CPU time of the thread; ratios are medians over
rounds of the ratio within a round. The placebo is the first method once more. Products of the matrix or its transpose
with one vector are counted by the matrix itself; those of scikit-learn's function, which takes no operator, by its
formula, (k + 10) (2 n_iter + 2); those of a certificate are not counted, its time is. Errors are the worst of three
starts.

Asked of `solve`: at most 1.3 times the time of a peer that leaves no larger error of an eigenvalue. It is judged both
ways, every tolerance against the fastest such peer, and every peer against the fastest tolerance that leaves no more.

    python benchmarks/svd.py [--rounds 9] [--quick]
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is imported

import argparse
import statistics
import warnings

from scipy.sparse.linalg import LinearOperator, svds
from sklearn.utils.extmath import randomized_svd
from streaming import race

from airtrack.core.given import Matrix
from airtrack.core.meter import Meter
from airtrack.core.streams import Streams
from airtrack.solvers import solve
from airtrack.solvers.spectral.block_krylov import BlockKrylov
from airtrack.solvers.spectral.lazy_ev import Progress, complete
from airtrack.solvers.spectral.lazy_svd import Gram, LazySvd
from airtrack.solvers.spectral.randomised_svd import RandomisedSvd
from airtrack.tasks.spectral.sparse_spectrum import SparseSpectrum

SEED = 9  # of the matrix: of the first twelve the one with λ₁₁/λ₁₀ nearest to .946
STARTS = 3


class Counting(LinearOperator):
    """A sparse matrix that counts its products."""

    def __init__(self, array):
        super().__init__(array.dtype, array.shape)
        self.array, self.count = array, 0

    def _matmat(self, x):
        self.count += x.shape[1]
        return self.array @ x

    def _rmatmat(self, x):
        self.count += x.shape[1]
        return self.array.T @ x

    def _matvec(self, x):
        return self._matmat(x.reshape(-1, 1)).ravel()

    def _rmatvec(self, x):
        return self._rmatmat(x.reshape(-1, 1)).ravel()


class Peer:
    """`scipy.sparse.linalg.svds`, straight on the sparse matrix when it is timed."""

    def __init__(self, k, **options):
        self.k, self.options = k, options

    def __call__(self, array, seed=0):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lobpcg's, of a tolerance that was not asked for
            rng = Streams(seed).rng()
            return svds(array, self.k, rng=rng, **self.options)[2].T

    def products(self, array):
        operator = Counting(array)
        self(operator)
        return operator.count


class Sketch:
    """scikit-learn's `randomized_svd`, with its ten extra columns."""

    def __init__(self, k, steps):
        self.k, self.steps = k, steps

    def __call__(self, array, seed=0):
        return randomized_svd(array, self.k, n_iter=self.steps, random_state=seed)[2].T

    def products(self, array):
        return (self.k + 10) * (2 * self.steps + 2)


class Ours:
    """A solver on a metered matrix, for so many products, or for one run."""

    def __init__(self, k, solver, budget=None):
        self.k, self.solver, self.budget = k, solver, budget

    def __call__(self, array, seed=0):
        self.given = given = Matrix(array, k=self.k)
        if self.budget is None:
            start, streams = Progress.start(given.d, self.k, Streams(seed)), Streams(seed)
            return complete(Gram(given), start, self.solver.method(given), streams).answer
        meter = Meter(self.budget)
        given.metered(meter)
        return self.solver.answer(given, meter, Streams(seed))

    def products(self, array):
        self(array)
        return self.given.counts["matvecs"]


class Auto:
    """`airtrack.solvers.solve`, until the residual is proved to be below `tol`."""

    def __init__(self, k, tol):
        self.k, self.tol = k, tol

    def __call__(self, array, seed=0):
        self.found = solve(Matrix(array, k=self.k), tol=self.tol, seed=seed)
        return self.found.x

    def products(self, array):
        self(array)
        return self.found.counts["matvecs"]


def methods(k, theory=True):
    arms = {
        "svds arpack, tol .1": Peer(k, solver="arpack", tol=0.1),
        "placebo: arpack again": Peer(k, solver="arpack", tol=0.1),
        "solve, tol 1e-2": Auto(k, 1e-2),
        "solve, tol 1e-3": Auto(k, 1e-3),
        "solve, tol 1e-4": Auto(k, 1e-4),
        "solve, tol 1e-6": Auto(k, 1e-6),
        "solve, tol 1e-8": Auto(k, 1e-8),
        "svds arpack, tol .01": Peer(k, solver="arpack", tol=0.01),
        "svds propack, tol 1e-3": Peer(k, solver="propack", tol=1e-3),
        "svds lobpcg, 20": Peer(k, solver="lobpcg", maxiter=20, tol=1e-12),
        "svds lobpcg, 60": Peer(k, solver="lobpcg", maxiter=60, tol=1e-12),
        "randomized_svd, 4": Sketch(k, 4),
        "randomized_svd, 7": Sketch(k, 7),
        "randomized_svd, 20": Sketch(k, 20),
        "block_krylov, 4": Ours(k, BlockKrylov(), 2 * k * 4),
        "block_krylov, 8": Ours(k, BlockKrylov(), 2 * k * 8),
        "block_krylov, 12": Ours(k, BlockKrylov(), 2 * k * 12),
        "randomised_svd, 7": Ours(k, RandomisedSvd(), 2 * (k + 10) * 7),
        "lazy_svd, lanczos, .01": Ours(k, LazySvd(inner="lanczos", delta=0.01)),
        "lazy_svd, lanczos, .001": Ours(k, LazySvd(inner="lanczos", delta=0.001)),
        "lazy_svd, cg, .1": Ours(k, LazySvd(delta=0.1)),
        "lazy_svd, cg, .01": Ours(k, LazySvd(delta=0.01)),
        "lazy_svd, agd, .1": Ours(k, LazySvd(inner="agd", delta=0.1)),
    }
    return arms | ({"lazy_svd, cg, .1, theory": Ours(k, LazySvd(params="theory", delta=0.1))} if theory else {})


def quickest(times, names):
    return min(names, key=lambda name: statistics.median(times[name]), default=None)


def told(times, errors, mine, peer, subject):
    """Whether `solve` takes at most 1.3 of the peer's time; one of the two is None where none is as exact."""
    if peer is None:
        return f"met      {subject}: no peer leaves as little"
    if mine is None:
        return f"NOT MET  {subject}: no tolerance of solve here leaves as little"
    ratio = statistics.median(a / b for a, b in zip(times[mine], times[peer]))
    left = f"leaving {errors[mine]:.0e} and {errors[peer]:.0e}"
    met = "met" if ratio <= 1.3 else "NOT MET"
    return f"{met:7}  {mine} takes {ratio:.2f} of the time of {peer}, {left}, asked ≤ 1.3"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="a tiny size, to see that all of it runs")
    options = parser.parse_args()
    task = SparseSpectrum(n=300, d=120, k=3, per_row=8) if options.quick else SparseSpectrum()
    given, judge = task.pose(Streams(SEED) / "task")
    array, rounds = given._array, 2 if options.quick else options.rounds
    arms = methods(task.k, theory=not options.quick)
    values = judge.truth["eigenvalues"]
    ratio = values[task.k] / values[task.k - 1]
    print(f"{task.n} × {task.d}, {array.nnz} entries, k = {task.k}, λ_(k+1) / λ_k = {ratio:.3f}, {rounds} rounds\n")
    print(f"{'':26} median ms   ratio to the first (quartiles)   matvecs   eigenvalue error   excess of ‖A(I − QQᵀ)‖")
    readings = {name: [judge(arm(array, seed)) for seed in range(STARTS)] for name, arm in arms.items()}
    products = {name: arm.products(array) for name, arm in arms.items()}
    times = race(arms, array, rounds)
    reference = times[next(iter(arms))]
    for name, own in times.items():
        low, middle, high = statistics.quantiles([a / b for a, b in zip(own, reference)], n=4)
        spread = f"({low:.2f} … {high:.2f})"
        worst = [max(reading[metric] for reading in readings[name]) for metric in ("eigenvalue", "excess")]
        print(
            f"{name:26} {statistics.median(own):9.3f}   {middle:5.2f}  {spread:20} {products[name]:10d}"
            f"   {worst[0]:16.1e}   {worst[1]:12.1e}"
        )
    peer, eigenvalue = "svds arpack, tol .1", {name: max(r["eigenvalue"] for r in rs) for name, rs in readings.items()}
    own = [name for name, arm in arms.items() if isinstance(arm, Auto)]
    peers = [name for name, arm in arms.items() if isinstance(arm, Peer | Sketch) and not name.startswith("placebo")]
    print("\nsolve, and the fastest peer that leaves no larger error")
    for mine in own:
        exact = [name for name in peers if eigenvalue[name] <= eigenvalue[mine]]
        print(told(times, eigenvalue, mine, quickest(times, exact), mine))
    print("\na peer, and the fastest tolerance of solve that leaves no larger error")
    for name in peers:
        exact = [mine for mine in own if eigenvalue[mine] <= eigenvalue[name]]
        print(told(times, eigenvalue, quickest(times, exact), name, name))
    print()
    for mine in ("lazy_svd, cg, .1", "lazy_svd, lanczos, .001"):
        more, left = products[mine] / products[peer], f"{eigenvalue[mine]:.0e} and {eigenvalue[peer]:.0e}"
        print(f"{mine} takes {more:.1f} times the products of {peer}, to {left}")
    if options.quick:
        print("the sizes are too small to tell")


if __name__ == "__main__":
    main()
