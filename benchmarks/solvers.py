"""Solvers of finite sums beside what people use: scikit-learn, SciPy, cyanure (where it is installed), to one error.

Every solver is given, on every data set and seed, the fewest iterations (passes, where it is ours) with which it gets
to a relative suboptimality of 10⁻⁶, found by doubling and bisection to 3 %; then all are timed with these, alternating
within one process, by the CPU time of the thread. Ratios are to the fastest peer, medians over seeds and rounds; the
placebo is `auto` once more. No tolerance of anybody's decides when to stop, and no intercept is fitted.

    python benchmarks/solvers.py [logistic sparse inner ridge weighted memory] [--seeds 3] [--rounds 3] [--quick]
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is imported: spinning threads on a shared machine spoil every time

import argparse
import random
import statistics
import time
import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import minimize
from scipy.sparse.linalg import LinearOperator, cg, lsqr

from airtrack.core.given import FiniteSum
from airtrack.core.meter import BudgetSpent, Meter
from airtrack.core.part import build
from airtrack.core.streams import Streams
from airtrack.solvers.solution import choose

TARGET = 1e-6  # (F(x) − F*) / (F(0) − F*)
PATIENCE = 8.0  # seconds of one fit, after which a solver has failed,
SLOW = 20  # or after this many times what the fastest so far has taken, and half a second


@dataclass
class Data:
    """A sum to minimise, with its least value."""

    name: str
    rows: Any
    labels: Any
    l2: float
    loss: str
    weights: Any = None

    def __post_init__(self):
        self.n, self.d = self.rows.shape
        self.judge = self.sum()
        self.first = self.judge.value(np.zeros(self.d))
        self.least = self.judge.value(best(self))

    def sum(self):
        return FiniteSum(self.rows, self.labels, l2=self.l2, loss=self.loss, weights=self.weights)

    def error(self, x):
        return (self.judge.value(np.ascontiguousarray(x, np.float64).ravel()) - self.least) / (self.first - self.least)


def best(data):
    """The minimiser to rounding error: Newton's method, its systems solved by conjugate gradients."""
    given, x = data.sum(), np.zeros(data.d)
    for _ in range(60):
        g = given.gradient(x)[0] + data.l2 * x
        if np.linalg.norm(g) < 1e-14:
            break
        curves = given.curvature(x)
        squared = data.rows.multiply(data.rows) if sparse.issparse(data.rows) else data.rows**2
        diagonal = np.asarray(squared.T @ curves).ravel() + data.l2
        hessian = LinearOperator((data.d, data.d), lambda v: given.hessian(curves, v.ravel()), dtype=float)
        inverse = LinearOperator((data.d, data.d), lambda v: v.ravel() / diagonal, dtype=float)
        step, _ = cg(hessian, g, rtol=1e-10, maxiter=20_000, M=inverse)
        value, length = given.value(x), 1.0
        while given.value(x - length * step) > value - 1e-4 * length * (g @ step) and length > 1e-8:
            length /= 2
        x = x - (length if length > 1e-8 else 1.0) * step
    return x


# ----------------------------------------------------------------------------------------------------------- who races


def ours(name, **fields):
    """A part's answer after so many passes."""

    def run(data, rung, seed):
        given = data.sum()
        if name == "auto":
            rule = choose(given)
            spec = {"name": rule.name, **rule.fields}
        else:
            spec = {"name": name, **fields}
        try:
            solver = build("solver", {"params": "practical"} | spec)
        except ValueError:
            solver = build("solver", spec)
        meter = Meter(rung * given.n)
        given.metered(meter)
        try:
            x = solver.answer(given, meter, Streams(seed))
        except BudgetSpent:
            x = meter.latest
        return np.zeros(given.d) if x is None else x

    return run


def logistic_of_sklearn(solver):
    def run(data, rung, seed):
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(
            C=1 / (data.n * data.l2), solver=solver, max_iter=rung, tol=1e-30, fit_intercept=False, random_state=seed
        )
        return model.fit(data.rows, data.labels, sample_weight=data.weights).coef_[0]

    return run


def ridge_of_sklearn(solver):
    def run(data, rung, seed):
        from sklearn.linear_model import Ridge

        options: dict[str, Any] = {"alpha": data.n * data.l2, "solver": solver, "max_iter": rung, "tol": 1e-30}
        return Ridge(**options, fit_intercept=False, random_state=seed).fit(data.rows, data.labels).coef_

    return run


def of_cyanure(solver):
    def run(data, rung, seed):
        from cyanure.estimators import Classifier, Regression

        options: dict[str, Any] = {"lambda_1": data.l2, "solver": solver, "max_iter": rung, "tol": 1e-30}
        options |= {"fit_intercept": False, "verbose": False, "n_threads": 1, "random_state": seed}
        labels = data.labels
        model = Regression(**options) if data.loss == "squared" else Classifier(loss="logistic", **options)
        return model.fit(data.rows, labels).coef_

    return run


def by_cg(preconditioned):
    def run(data, rung, seed):
        """Conjugate gradients on the normal equations, as one writes them with SciPy."""
        A, n = data.rows, data.n
        system = LinearOperator((data.d, data.d), lambda v: A.T @ (A @ v) / n + data.l2 * v, dtype=float)
        squares = A.multiply(A).sum(0) if sparse.issparse(A) else (A**2).sum(0)
        diagonal = np.asarray(squares).ravel() / n + data.l2
        inverse = LinearOperator((data.d, data.d), lambda v: v / diagonal, dtype=float) if preconditioned else None
        return cg(system, A.T @ data.labels / n, rtol=0, atol=0, maxiter=rung, M=inverse)[0]

    return run


def by_lsqr(data, rung, seed):
    root = np.sqrt(data.n * data.l2)
    return lsqr(data.rows, data.labels, damp=root, atol=0, btol=0, conlim=0, iter_lim=rung)[0]


def by_lbfgs(data, rung, seed):
    given = data.sum()

    def both(x):
        g = given.gradient(x)[0] + data.l2 * x
        return given.value(x), g

    return minimize(
        both, np.zeros(data.d), jac=True, method="L-BFGS-B", options={"maxiter": rung, "gtol": 0, "ftol": 0}
    ).x


OURS_LOGISTIC = ("newton_cholesky", "katyusha", "svrg", "sdca", "saga", "lbfgs")
OURS_RIDGE = ("pcg", "nu_acdm", "katyusha", "sdca")
LOGISTIC: dict[str, Callable[..., Any]] = {
    **{
        f"sklearn {s}": logistic_of_sklearn(s)
        for s in ("lbfgs", "newton-cg", "newton-cholesky", "sag", "saga", "liblinear")
    },
    **{f"cyanure {s}": of_cyanure(s) for s in ("auto", "acc-svrg", "qning-svrg")},
    "SciPy L-BFGS-B": by_lbfgs,
}
RIDGE: dict[str, Callable[..., Any]] = {
    **{f"sklearn {s}": ridge_of_sklearn(s) for s in ("sparse_cg", "lsqr", "sag", "saga")},
    **{f"cyanure {s}": of_cyanure(s) for s in ("auto", "acc-svrg")},
    "SciPy CG": by_cg(False),
    "SciPy CG, Jacobi": by_cg(True),
    "SciPy LSQR": by_lsqr,
}


# -------------------------------------------------------------------------------------------------------------- ladder


def timed(run, *arguments):
    start = time.thread_time_ns()
    x = run(*arguments)
    return x, (time.thread_time_ns() - start) / 1e9


def fewest(run, data, seed, patience):
    """The least rung that reaches the target, to 3 %; None where it is not reached in time."""
    low, high = 0, 1
    while True:
        x, seconds = timed(run, data, high, seed)
        if data.error(x) <= TARGET:
            break
        if seconds > patience or high > 20_000:
            return None
        low, high = high, 2 * high
    while high - low > max(1, 0.03 * high):
        middle = (low + high) // 2
        if data.error(run(data, middle, seed)) <= TARGET:
            high = middle
        else:
            low = middle
    return high


def race(title, make, contenders, seeds, rounds, patience=PATIENCE, asked="≤ 1.3"):
    """Prints who needs how long, in multiples of the fastest peer."""
    times: dict[str, list[float]] = {}
    rungs: dict[str, list[Any]] = {}
    for seed in range(seeds):
        data, left = make(seed), patience
        for name in list(contenders):
            try:
                rungs.setdefault(name, []).append(fewest(contenders[name], data, seed, left))
                if rungs[name][-1]:
                    left = min(left, max(0.5, SLOW * timed(contenders[name], data, rungs[name][-1], seed)[1]))
            except ImportError:
                rungs.setdefault(name, []).append("missing")
            except Exception as error:  # peers have their own ways to fail
                rungs.setdefault(name, []).append(f"{type(error).__name__}")
        able = [name for name in contenders if isinstance(rungs[name][-1], int)]
        own: dict[str, list[float]] = {name: [] for name in able}
        for number in range(rounds):
            order = able[:]
            random.Random(number).shuffle(order)
            for name in order:
                own[name].append(timed(contenders[name], data, rungs[name][-1], seed)[1])
        peers = [statistics.median(own[name]) for name in able if name in LOGISTIC or name in RIDGE]
        for name in able:
            times.setdefault(name, []).append(statistics.median(own[name]) / min(peers, default=float("nan")))
    print(f"\n{title}\n{'':28}  time, fastest peer = 1 (every seed)      iterations or passes", flush=True)
    for name in sorted(contenders, key=lambda name: statistics.median(times.get(name, [1e9]))):
        if name in times:
            told = f"{statistics.median(times[name]):6.2f}  ({', '.join(f'{t:.2f}' for t in times[name])})"
            if asked and name == "auto":
                told += f"  asked {asked}"
        else:
            told = f"  > {SLOW}, or never" if rungs[name][0] is None else f"  {rungs[name][0]}"
        print(f"{name:28}  {told:44}  {', '.join(map(str, rungs[name]))}", flush=True)


# ---------------------------------------------------------------------------------------------------------------- data


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def labelled(rows, rng):
    hidden = rows @ rng.standard_normal(rows.shape[1])
    return np.where(rng.random(len(hidden)) < 1 / (1 + np.exp(-3 * hidden / hidden.std())), 1.0, -1.0)


def scattered(n, d, each, rng, even=False):
    """CSR rows of length one, `each` Gaussian entries in columns that a power law chooses, or all with one chance."""
    chance = 1 / (np.arange(d) + (1e12 if even else 10.0))
    columns = rng.choice(d, (n, each), p=chance / chance.sum())
    rows = sparse.csr_array(
        (rng.standard_normal(n * each), columns.ravel().astype(np.int32), np.arange(0, n * each + 1, each, np.int32)),
        shape=(n, d),
    )
    rows.sum_duplicates()
    norms = np.sqrt(np.asarray(rows.multiply(rows).sum(1))).ravel()
    return scaled(rows, 1 / norms)


def scaled(rows, factors):
    """diag(factors) · rows."""
    return sparse.csr_array(
        (rows.data * np.repeat(factors, np.diff(rows.indptr)), rows.indices, rows.indptr), rows.shape
    )


def bundled(name, ratio):
    from airtrack.tasks.logistic import bundled as load

    rows, labels = load(name)
    rows = unit(rows)
    return lambda seed: Data(name, rows, labels, 0.25 / (ratio * len(rows)), "logistic")


def dense(n, d, ratio):
    def make(seed):
        rng = Streams(seed).rng()
        rows = unit(rng.standard_normal((n, d)) * np.arange(1.0, d + 1) ** -1)
        return Data("dense", rows, labelled(rows, rng), 0.25 / (ratio * n), "logistic")

    return make


def thin(n, d, ratio, spread=0.0, even=False):
    def make(seed):
        rng = Streams(seed).rng()
        rows = scattered(n, d, 20, rng, even)
        weights = np.exp(spread * rng.standard_normal(n)) if spread else None
        size = 0.25 * (1 if weights is None else weights.mean())
        return Data("sparse", rows, labelled(rows, rng), size / (ratio * n), "logistic", weights)

    return make


def ridge(n, d, spread):
    def make(seed):
        rng = Streams(seed + 11).rng()
        rows = scattered(n, d, 20, rng)
        rows = scaled(rows, np.exp(spread * rng.standard_normal(n)))
        target = rows @ rng.standard_normal(d) + rng.standard_normal(n)
        sizes = np.asarray(rows.multiply(rows).sum(1)).ravel()
        return Data("ridge", rows, target, sizes.mean() / (100 * n), "squared")

    return make


def memory(data, name, passes):
    """Peak of what a solver allocates, in words beyond d and n: the bound is 6 d + 2 n."""
    run = ours(name)
    run(data, 3, 0)  # compiled, and numpy's own pools filled
    tracemalloc.start()
    run(data, passes, 0)
    peak = tracemalloc.get_traced_memory()[1] / 8
    tracemalloc.stop()
    bound = 6 * data.d + 2 * data.n
    print(f"{name:16} {data.name:8} n = {data.n:,}, d = {data.d:,}: {peak:,.0f} words, {peak / bound:.2f} of 6 d + 2 n")


def inner(data, seeds, passes):
    """Time of a pass over the non-zeros, from runs of two lengths, in multiples of that of liblinear's dual method."""
    from sklearn.linear_model import LogisticRegression

    def liblinear(data, rung, seed):
        options: dict[str, Any] = {"C": 1 / (data.n * data.l2), "solver": "liblinear", "dual": True, "tol": 1e-30}
        model = LogisticRegression(**options, max_iter=rung, fit_intercept=False, random_state=seed)
        return model.fit(data.rows, data.labels).coef_[0]

    own = {f"airtrack {name}": ours(name) for name in ("sdca", "saga", "svrg", "katyusha")}
    runs = {"liblinear, dual": liblinear, "placebo: the same again": liblinear} | own
    took: dict[str, list[float]] = {name: [] for name in runs}
    for seed in range(seeds + 1):
        for name, run in runs.items():
            short, long = (timed(run, data, rung, seed)[1] for rung in (passes, 3 * passes))
            if seed:  # the first compiles
                took[name].append((long - short) / (2 * passes))
    least = statistics.median(took["liblinear, dual"])
    print(f"\nA pass over {data.rows.nnz:,} non-zeros, asked ≤ 1.3")
    for name, seconds in took.items():
        print(f"{name:28}  {statistics.median(seconds) / least:6.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("what", nargs="*", default=["logistic", "sparse", "inner", "ridge", "weighted", "memory"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that all of it runs")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # peers say that they have not converged: that is the point of a ladder
    both = {"auto": ours("auto"), "placebo: auto again": ours("auto")}
    logistic = both | {f"airtrack {name}": ours(name) for name in OURS_LOGISTIC} | LOGISTIC
    ridges = both | {f"airtrack {name}": ours(name) for name in OURS_RIDGE} | RIDGE
    tall = (2000, 20) if options.quick else (20_000, 100)
    wide = (500, 200) if options.quick else (100_000, 50_000)
    flat = (300, 200) if options.quick else (20_000, 10_000)
    how = (1, 1, 0.02) if options.quick else (options.seeds, options.rounds)
    if "logistic" in options.what:
        for name in ("breast_cancer",) if options.quick else ("digits", "breast_cancer"):
            for ratio in (1,) if options.quick else (1, 1e2, 1e4):
                title = f"logistic, {name}, κ/n = {ratio:g}"
                race(title, bundled(name, ratio), logistic, *how)
        for ratio in (1, 1e2):
            race(f"logistic, dense {tall}, κ/n = {ratio:g}", dense(*tall, ratio), logistic, *how)
    able = {name: run for name, run in logistic.items() if "cholesky" not in name}
    if "sparse" in options.what:
        for ratio in (1, 30):
            race(f"logistic, sparse {wide}, κ/n = {ratio:g}", thin(*wide, ratio), able, *how)
        title = f"logistic, sparse {wide}, columns as likely as each other, κ/n = 30"
        race(title, thin(*wide, 30, even=True), able, *how)
    if "inner" in options.what:
        inner(thin(*wide, 30)(0), how[0] if options.quick else 5, 10)
    if "weighted" in options.what:
        able = {name: run for name, run in able.items() if "cyanure" not in name}  # it takes no weights
        title = f"logistic, sparse {wide}, weights exp(2 N(0, 1)), κ/n = 30"
        race(title, thin(*wide, 30, 2.0), able, *how)
    if "ridge" in options.what:
        for spread in (0.0, 1.0, 1.5, 2.0):
            race(f"ridge, sparse {flat}, rows exp({spread:g} N(0, 1)), κ/n = 100", ridge(*flat, spread), ridges, *how)
    if "memory" in options.what:
        print("\nMemory")
        for name in ("katyusha", "svrg", "sdca", "saga"):
            memory(dense(*tall, 1e2)(0), name, 12)
            memory(thin(*wide, 30)(0), name, 12)
        memory(thin(*wide, 30)(0), "newton_cg", 12)  # conjugate gradients hold seven vectors, and Newton two more


if __name__ == "__main__":
    main()
