import itertools
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from airtrack.study import paired
from airtrack.study.compare import compare, compare_times, holm, not_comparable
from airtrack.study.statement import Verdict

rng = np.random.default_rng(0)
A8 = np.array([3.1, 2.9, 3.3, 3.0, 3.2, 3.1, 2.8, 3.0])
B8 = np.array([2.0, 2.1, 2.2, 1.9, 2.1, 2.0, 2.0, 1.9])
NAN = math.nan

readings = st.lists(
    st.tuples(*[st.floats(-1000, 1000, allow_subnormal=False).map(lambda x: round(x, 3))] * 2), min_size=2, max_size=14
)


def outcome(*args, **options):
    return compare(*args, **options).outcome


# -- oracles ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 6, 11])
def test_t_p_is_that_of_scipy(n):
    a, b = rng.normal(size=(2, n))
    v = compare(a, b)
    expected = stats.ttest_rel(a, b)
    assert v.p_t == pytest.approx(expected.pvalue, rel=1e-9)
    assert v.interval == pytest.approx(tuple(expected.confidence_interval(0.95)), rel=1e-9)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
@pytest.mark.parametrize("side", ["both", "upper"])
def test_sign_flip_p_by_enumeration(n, side):
    for d in (rng.normal(size=n) + 0.4, rng.integers(-2, 4, n).astype(float)):
        sums = [np.dot(signs, d) for signs in itertools.product((1, -1), repeat=n)]
        hits = [abs(s) >= abs(d.sum()) - 1e-9 if side == "both" else s >= d.sum() - 1e-9 for s in sums]
        assert float(paired.sign_flip_p(d, side=side)) == np.mean(hits)


def test_sign_flip_p_by_draws_agrees_with_enumeration():
    for _ in range(5):
        d = rng.normal(size=14) + 0.5
        sums = np.array(list(itertools.product((1.0, -1.0), repeat=14))) @ d
        exact = np.mean(np.abs(sums) >= abs(d.sum()) - 1e-9)
        assert float(paired.sign_flip_p(d)) == pytest.approx(exact, abs=4 * math.sqrt(exact / 4096) + 1 / 4096)
        assert paired.sign_flip_p(d) == paired.sign_flip_p(d)


def test_tests_are_vectorised_over_rows():
    d = rng.normal(size=(7, 9)) + 0.3
    for f in (paired.t_p, paired.skew_p, paired.sign_flip_p, paired.decision_p, lambda x: paired.equivalence_p(x, 1.0)):
        assert f(d) == pytest.approx([float(f(row)) for row in d])


def test_skewness_is_that_of_scipy_and_never_helps():
    d = rng.exponential(size=(50, 9)) - 0.5
    assert paired.skewness(d) == pytest.approx(stats.skew(d, axis=1, bias=False))
    assert (paired.skew_p(d) >= paired.t_p(d) - 1e-15).all()
    away = np.sign(paired.skewness(d)) == np.sign(d.mean(1))
    assert (paired.skew_p(d)[away] == paired.t_p(d)[away]).all()


def test_signed_rank_p_is_that_of_scipy():
    d = rng.normal(size=10) + 0.5
    assert float(paired.sign_flip_p(paired.signed_ranks(d))) == pytest.approx(stats.wilcoxon(d, method="exact").pvalue)


def test_hodges_lehmann_by_enumeration():
    for n in (1, 2, 5, 8):
        d = rng.normal(size=n)
        pairs = itertools.combinations_with_replacement(d, 2)
        assert paired.hodges_lehmann(d) == pytest.approx(np.median([(x + y) / 2 for x, y in pairs]))
    assert paired.hodges_lehmann([math.inf, -math.inf, 0.0]) == 0.0
    assert paired.hodges_lehmann([math.inf, math.inf, 1.0]) == math.inf


def test_rank_interval_holds_exactly_the_shifts_that_the_test_does_not_reject():
    d = rng.normal(size=9)
    low, high = paired.rank_interval(d, 0.05)
    for shift in np.linspace(-2, 2, 401):
        p = float(paired.sign_flip_p(paired.signed_ranks(d - shift)))
        assert (p > 0.05) == (low < shift < high)
    assert paired.rank_interval(d[:5], 0.05) == (-math.inf, math.inf)


@pytest.mark.parametrize(("x", "y"), [(0, 0), (3, 0), (6, 0), (5, 9), (7, 7)])
def test_mcnemar_p_is_a_binomial_test(x, y):
    expected = stats.binomtest(x, x + y).pvalue if x + y else 1.0
    assert paired.mcnemar_p(x, y) == pytest.approx(expected)


@pytest.mark.parametrize("effect", [0.3, 1.0, 3.0, 50.0])
def test_power_is_that_of_the_noncentral_t(effect):
    for n in (3, 8, 30):
        t, shift = stats.t.ppf(0.975, n - 1), effect * math.sqrt(n)
        if shift < 40:
            other = stats.nct.cdf(-t, n - 1, shift) if shift < 7 else 0.0  # scipy gives nan where it vanishes
            expected = stats.nct.sf(t, n - 1, shift) + other
            assert paired.t_power(effect, n, 0.05) == pytest.approx(expected, abs=1e-6)
        else:
            assert paired.t_power(effect, n, 0.05) == 1.0
    assert paired.seeds_for_power(1e-6, 0.05) is None


def test_holm_by_definition():
    p = [0.01, 0.02, 0.03, 0.5]
    assert paired.holm_adjust(p) == pytest.approx([0.04, 0.06, 0.06, 0.5])
    assert paired.holm_adjust([]) == []
    assert paired.holm_adjust([0.9, 0.8]) == [1.0, 1.0]


# -- the five sentences ----------------------------------------------------------------------------------------------


def test_better_in_both_directions_and_on_every_scale():
    assert outcome(A8, B8) == "a better"
    assert outcome(A8, B8, better="low") == "b better"
    assert outcome(B8, A8) == "b better"
    assert outcome(A8, B8, scale="log", better="low") == "b better"
    assert outcome(A8 / 4, B8 / 4, scale="logit") == "a better"
    v = compare(A8, B8, names=("new", "old"), metric="score")
    assert str(v) == "new is better than old by 1.02 [0.91, 1.14] (score, 8 paired seeds, p = .0078)"
    assert v.winner == "new"
    assert str(compare(B8, A8, names=("old", "new"), metric="score")) == str(v)


def test_a_ratio_reads_from_the_winner():
    v = compare(B8, A8, better="high", scale="log", names=("old", "new"))
    assert str(v) == "new is better than old by a factor of 1.51 [1.44, 1.57] (8 paired seeds, p = .0078)"
    assert v.effect == pytest.approx(1 / 1.506, rel=1e-3)


def test_accuracies_are_tested_as_odds_and_shown_as_points():
    a, b = np.array([0.98, 0.99, 1.0, 0.97, 0.99, 1.0, 0.98, 0.99]), np.full(8, 0.9)
    v = compare(a, b, scale="logit", trials=100)
    assert v.effect == pytest.approx((a - b).mean())
    k = a * 100
    assert v.estimate == pytest.approx(np.mean(np.log((k + 0.5) / (100.5 - k)) - math.log(90.5 / 10.5)))
    assert v.odds_ratio == pytest.approx(math.exp(v.estimate))
    assert v.odds_ratio_interval == pytest.approx(tuple(map(math.exp, v.interval)))


def test_equivalent_needs_a_declared_effect():
    a = B8 + 0.02 * np.array([1, -1, 1, -1, 1, -1, 1, -1])
    assert outcome(a, B8) == "no verdict yet"
    v = compare(a, B8, smallest_effect=0.5)
    assert v.outcome == "equivalent"
    assert str(v).startswith("a and b are equivalent within 0.5: difference 0.000 [-0.018, 0.018] (8 paired seeds, two")
    assert outcome(a, B8, smallest_effect=0.01) == "no verdict yet"


def test_a_detectable_difference_below_the_smallest_effect_is_equivalent():
    v = compare(B8 + 0.01 * np.array([1, 2, 1, 2, 1, 2, 1, 2]), B8, smallest_effect=0.5)
    assert v.outcome == "equivalent"
    assert "detectably" in v.reason
    assert outcome(A8, B8, smallest_effect=0.5) == "a better"


def test_smallest_effect_has_the_units_of_the_scale():
    a = B8 * np.array([1.01, 0.99] * 4)
    assert outcome(a, B8, scale="log", smallest_effect=1.1) == "equivalent"
    assert outcome(a / 4, B8 / 4, scale="logit", smallest_effect=0.02) == "equivalent"
    with pytest.raises(ValueError, match=r"smallest_effect=0\.1 must be a ratio above 1"):
        compare(a, B8, scale="log", smallest_effect=0.1)
    with pytest.raises(ValueError, match=r"smallest_effect=-1 must be a positive difference"):
        compare(a, B8, smallest_effect=-1)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_under_six_seeds_there_is_no_verdict(n):
    v = compare(A8[:n], B8[:n], smallest_effect=5)
    assert v.outcome == "no verdict yet"
    assert "6 paired seeds are the least" in v.reason
    assert v.seeds_more == 6 - n
    assert outcome(A8[:6], B8[:6]) == "a better"


def test_one_seed_shows_numbers_and_no_verdict():
    for v in (compare([2.0], [1.0]), compare([2.0], [1.0], scale="log"), compare([2.0], [NAN])):
        assert v.outcome == "no verdict yet"
        assert v.reason == "one seed is never a verdict"
        assert (v.p_t, v.sd, v.interval[0]) == (None, None, None)
        str(v)
    assert compare([2.0], [1.0]).effect == 1.0


def test_no_verdict_says_why_and_how_many_seeds():
    noise = np.array([0.5, -0.4, 0.3, -0.6, 0.2, 0.4, -0.1, 0.3])
    v = compare(noise, np.zeros(8))
    assert v.seeds_needed == paired.seeds_for_power(abs(noise.mean()) / noise.std(ddof=1), 0.05)
    assert str(v).endswith(f"{v.seeds_needed - 8} more seeds for 80 % power at the observed effect")
    v = compare(noise, np.zeros(8), smallest_effect=0.3)
    assert v.seeds_needed == paired.seeds_for_power(0.3 / noise.std(ddof=1), 0.05)
    assert str(v).endswith("at the smallest effect")


def test_tests_that_disagree_give_no_verdict():
    tail = compare([0.05, 0.9, 1.0, 1.1, 1.1, 1.2], np.zeros(6))
    assert tail.p_t < 0.05
    assert tail.p_sign_flip < 0.05 < tail.p
    assert "long tail" in tail.reason
    d = np.array([0.1, 0.1, 0.1, 0.1, 0.1, 2.0])
    v = compare(d, np.zeros(6))
    assert v.p_sign_flip < 0.05 < v.p_t
    assert "the sign-flip test rejects" in v.reason


# -- equal differences -----------------------------------------------------------------------------------------------


def test_equal_differences_are_judged_by_the_sign_flip_test():
    v = compare(np.arange(8) + 0.3, np.arange(8) + 0.1)
    assert (v.outcome, v.p_t, v.p, v.sd) == ("a better", 0.0, 2 / 2**8, 0.0)
    assert str(v) == "a is better than b by 0.2 [0.2, 0.2] (8 paired seeds, p = .0078)"
    same = compare(np.arange(8), np.arange(8))
    assert (same.outcome, same.p, same.estimate, same.seeds_needed) == ("no verdict yet", 1.0, 0.0, None)
    assert outcome(np.arange(8), np.arange(8), smallest_effect=0.1) == "equivalent"
    solved = compare(np.ones(8), np.full(8, 0.04), scale="logit")
    assert solved.outcome == "a better"


def test_a_solved_arm_against_chance_is_comparable_though_it_does_not_vary():
    v = compare(np.ones(8), 0.05 + 0.01 * rng.random(8), scale="logit", names=("x", "y"))
    assert v.outcome == "a better"
    assert v.notes == ("readings of y spread more than five times as widely as those of x",)


# -- failures, clusters, times ---------------------------------------------------------------------------------------


def test_a_failed_seed_is_the_worst_rank():
    b = B8.copy()
    b[[1, 4]] = NAN, math.inf
    v = compare(A8, b)
    assert (v.method, v.outcome, v.failures, v.p) == ("ranks", "a better", (0, 2), 2 / 2**8)
    assert v.differences[1] is None
    assert v.p_failures == paired.mcnemar_p(0, 2)
    worse = compare(B8, np.where(np.isnan(b), NAN, A8))  # b is ahead, but for two failures
    assert worse.outcome == "no verdict yet"
    assert compare(A8, B8, failed_a=np.arange(8) < 3).failures == (3, 0)
    assert compare(A8, np.where(np.arange(8) == 1, 1e200, B8)).failures == (0, 1)


def test_an_arm_that_always_fails_loses_and_two_that_mostly_fail_are_not_comparable():
    dead = np.full(8, NAN)
    v = compare(A8, dead)
    assert (v.outcome, v.mean_b, v.sd_b) == ("a better", None, None)
    assert str(v) == "a is better than b (8 paired seeds, failed: a 0, b 8, p = .0078)"
    v = compare(dead, np.where(np.arange(8) < 5, NAN, B8))
    assert str(v) == "a and b are not comparable: more than half of the seeds failed in both arms (8 and 5 of 8)"


def test_pairs_that_both_failed_do_not_count_towards_six():
    a, b = A8.copy(), B8.copy()
    a[:3] = b[:3] = NAN
    v = compare(a, b)
    assert v.outcome == "no verdict yet"
    assert "5 seeds tell the arms apart" in v.reason


def test_two_clusters_are_judged_by_success():
    a = [0.99, 1, 1, 0.98, 1, 0.06, 1, 1]
    b = [0.05, 0.04, 0.06, 0.05, 0.05, 0.04, 0.05, 0.06]
    v = compare(a, b, scale="logit", metric="accuracy")
    assert (v.method, v.outcome, v.successes) == ("success probability", "a better", (7, 0))
    assert v.p == paired.mcnemar_p(7, 0)
    assert str(v).startswith(
        "a is better than b: 7 of 8 seeds succeed against 0, difference 0.88 [0.30, 1.00] (accuracy"
    )
    assert compare(a, b, bounds=(0, 1)).method == "success probability"
    assert compare(a, b).method == "paired t"
    assert compare([1 - x for x in a], [1 - x for x in b], bounds=(0, 1), better="low").successes == (7, 0)
    assert compare([*a[:7], NAN], b, scale="logit").successes == (6, 0)


def test_two_arms_far_apart_are_no_clusters():
    assert compare(np.ones(8), np.full(8, 0.05), scale="logit").method == "paired t"
    assert compare([0.9, 0.4, 0.6, 0.3, 0.8, 0.5], [0.2] * 6, scale="logit").method == "paired t"


def test_times_without_censoring_are_log_ratios():
    v = compare_times(B8, A8)
    w = compare(B8, A8, better="low", scale="log")
    assert (v.outcome, v.p, v.estimate, v.interval, v.method) == (w.outcome, w.p, w.estimate, w.interval, "paired t")
    assert v.effect == pytest.approx(1.506, rel=1e-3)


def test_a_factor_without_bound_is_told_by_its_least_value():
    quick, slow = [10, 12, 9, 11, 10, 13, 10, 11, 9, 10], [40, 50, 45, 41, *[NAN] * 6]
    for v in (compare_times(quick, slow), compare_times(slow, quick)):
        assert "by at least a factor of 4.56 (work" in str(v)


def test_a_factor_has_no_estimate_where_an_arm_never_arrives_whichever_it_is():
    quick, never = [10, 12, 9, 11, 10, 13, 10, 11], [NAN] * 8
    for v in (compare_times(quick, never), compare_times(never, quick)):
        assert (v.effect, v.effect_interval) == (None, (None, None))
        assert "by a factor" not in str(v)


def test_a_censored_time_is_the_worst_rank_and_two_are_tied():
    a = [10, 12, 9, 11, 10, 13, 12, NAN]
    b = [40, 50, 45, 41, 38, 44, NAN, NAN]
    v = compare_times(a, b, budget=60, names=("x", "y"))
    assert (v.outcome, v.successes, v.p) == ("a better", (7, 6), 2 / 2**7)
    assert v.notes[-1] == "mean work restricted to 60: x 17.12, y 47.25"
    assert "reached: x 7, y 6" in str(v)
    assert v == compare_times(np.nan_to_num(a, nan=60), np.nan_to_num(b, nan=60), budget=60, names=("x", "y"),
                              censored_a=np.isnan(a), censored_b=np.isnan(b))  # fmt: skip
    never = compare_times([NAN] * 8, [NAN] * 8)
    assert never.outcome == "no verdict yet"
    few = compare_times([5.0] * 6 + [NAN] * 14, [NAN] * 20)  # reached by 6 of 20 against none is a result
    assert few.outcome == "a better"
    with pytest.raises(ValueError, match="'a' holds 70, above the budget 60"):
        compare_times([70, 10], [20, 30], budget=60)
    with pytest.raises(ValueError, match="must be positive; 'b' holds 0"):
        compare_times([70, 10], [0, 30])


def test_zeros_on_the_log_scale_are_raised():
    v = compare([0, 1e-3, 2e-3, 1e-3, 1e-3, 2e-3], [1, 1, 2, 1, 3, 1], scale="log", better="low")
    assert v.notes == ("1 readings were raised to 0.0005 before the logarithm",)
    assert v.differences[0] == pytest.approx(math.log(2000))
    assert compare([0, 1e-9], [1, 1], scale="log", floor=1e-3).differences == pytest.approx([math.log(1e-3)] * 2)


# -- several comparisons, other constructors -------------------------------------------------------------------------


def test_holm_restates_the_decisions():
    strong, weak = compare(A8, B8), compare(B8 + np.array([1, 0.2, 0.9, 0.1, 0.8, 0.5, -0.1, 0.6]), B8)
    assert 0.01 < weak.p < 0.05
    one, two, three = holm([strong, weak, weak])
    assert (one.outcome, one.p_adjusted, one.comparisons) == ("a better", 3 * 2 / 2**8, 3)
    assert "Holm-adjusted p = .023 over 3 comparisons" in str(one)
    assert two.p_adjusted == three.p_adjusted == min(1, 2 * weak.p)
    assert [v.outcome for v in holm([weak])] == ["a better"]
    refused = not_comparable("budgets differ by 12 %")
    first, second = holm([strong, refused])
    assert first.p_adjusted == 2 * strong.p
    assert (second.outcome, second.p_adjusted) == ("not comparable", None)
    assert holm([]) == []


def test_eight_seeds_are_enough_for_three_comparisons_under_holm_and_six_are_not():
    eight, six = compare(A8, B8), compare(A8[:6], B8[:6])
    assert {v.outcome for v in holm([eight] * 3)} == {"a better"}
    assert {v.outcome for v in holm([six] * 3)} == {"no verdict yet"}
    assert holm([six] * 3)[0].seeds_more == 1


def test_plain_data_both_ways():
    b = B8.copy()
    b[2] = NAN
    for v in (compare(A8, B8, smallest_effect=0.1), compare(A8, b), compare([1.0], [2.0]), compare_times(A8, b),
              not_comparable("why"), compare(A8 * 1e90, B8 / 1e90, scale="log")):  # fmt: skip
        data = json.loads(json.dumps(v.to_dict(), allow_nan=False))
        assert data["sentence"] == str(v)
        assert Verdict.from_dict(data) == v


# -- properties ------------------------------------------------------------------------------------------------------

MIRROR = {"a better": "b better", "b better": "a better"}


@settings(max_examples=60, deadline=None)
@given(
    readings, st.sampled_from(["high", "low"]), st.sampled_from(["lin", "log", "logit"]), st.sets(st.integers(0, 13))
)
def test_swapping_the_arms_mirrors_the_verdict(rows, better, scale, failed):
    x = np.array(rows)
    x = x if scale == "lin" else np.abs(x) if scale == "log" else np.abs(x) / 1000
    x[[i for i in failed if i < len(x)], 0] = NAN
    options = {"better": better, "scale": scale, "smallest_effect": 2.0 if scale == "log" else 0.3}
    v, w = compare(x[:, 0], x[:, 1], **options), compare(x[:, 1], x[:, 0], **options)
    assert w.outcome == MIRROR.get(v.outcome, v.outcome)
    assert (w.p, w.p_equivalence, w.seeds_needed, w.method) == pytest.approx(
        (v.p, v.p_equivalence, v.seeds_needed, v.method)
    )
    assert w.failures == v.failures[::-1]
    for mine, other in ((w.estimate, v.estimate), (w.interval[0], v.interval[1]), (w.interval[1], v.interval[0])):
        assert (mine is None) == (other is None)
        assert mine is None or mine == pytest.approx(-other, rel=1e-9, abs=1e-9)
    if v.outcome != "no verdict yet" and v.effect is not None and v.effect_kind != "ratio" and v.winner:
        assert str(v).partition(" by ")[2].partition("(")[0] == str(w).partition(" by ")[2].partition("(")[0]


@settings(max_examples=40, deadline=None)
@given(readings, st.randoms(use_true_random=False), st.booleans())
def test_the_order_of_the_seeds_does_not_matter(rows, random, fail):
    x = np.array(rows)
    if fail:
        x[0, 1] = NAN
    order = list(range(len(x)))
    random.shuffle(order)
    v, w = compare(*x.T, smallest_effect=1.0), compare(*x[order].T, smallest_effect=1.0)
    assert (w.outcome, w.failures, w.method) == (v.outcome, v.failures, v.method)
    assert (w.p, w.p_equivalence, w.estimate, w.sd) == pytest.approx((v.p, v.p_equivalence, v.estimate, v.sd), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(readings, st.floats(0.01, 100), st.floats(-50, 50))
def test_units_do_not_matter_on_the_linear_scale(rows, factor, shift):
    x = np.array(rows)
    v, w = (compare(*y.T, smallest_effect=s) for y, s in ((x, 1.0), (factor * x + shift, factor)))
    assert w.outcome == v.outcome
    assert (w.p, w.p_equivalence) == pytest.approx((v.p, v.p_equivalence), rel=1e-5, abs=1e-7)
    assert w.estimate == pytest.approx(factor * v.estimate, rel=1e-6, abs=1e-8)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=9), st.sampled_from(["high", "low"])
)
@example([0.0, 0.0, 4.3e-247], "high")
def test_any_floats_give_a_sentence_without_warnings(values, better):
    v = compare(values, values[::-1], better=better, smallest_effect=0.1, names=("x", "y"))
    assert "nan" not in str(v)
    json.dumps(v.to_dict(), allow_nan=False)


# -- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "options", "message"),
    [
        ([1, 2], [1], {}, "'a' has 2 readings and 'b' has 1; give both arms the same seeds in the same order"),
        ([], [], {}, r"one number a seed, shape \[seeds\]; got shape \(0,\)"),
        (1.0, 2.0, {}, r"got shape \(\)"),
        ([[1, 2]], [[1, 2]], {}, r"got shape \(1, 2\)"),
        ([[1, 2], [3]], [1, 2], {}, "got a ragged list"),
        (["x", "y"], [1, 2], {}, "must be numbers, with NaN for a failed seed"),
        ([None, 1], [1, 2], {}, "must be numbers, with NaN for a failed seed; got None"),
        ([1j, 1], [1, 2], {}, "must be numbers"),
        (np.zeros(2001), np.zeros(2001), {}, "more than 2000; give one number a seed, not a sample"),
        ([1, 2], [1, 2], {"better": "more"}, "better='more' is unknown; use 'high' or 'low'"),
        ([1, 2], [1, 2], {"scale": "ln"}, "scale='ln' is unknown"),
        ([1, 2], [1, 2], {"alpha": 5}, "alpha=5 is no level"),
        ([1, 2], [1, 2], {"names": "ab"}, "must be two names"),
        ([1, -2], [1, 2], {"scale": "log"}, "scale='log' takes readings >= 0, 'a' holds -2; use scale='lin'"),
        ([1, 0], [1, 2], {"scale": "logit"}, "proportions from 0 to 1, 'b' holds 2; use scale='lin'"),
        ([1, 0], [1, 0], {"scale": "logit", "trials": 0}, "trials=0 must be positive"),
        ([1, 0], [1, 0], {"scale": "log", "floor": -1}, "floor=-1 must be positive"),
        ([1, 2], [1, 2], {"failed_a": [True]}, "flags of 'a' must be 2 booleans"),
        ([1, 2], [1, 2], {"failed_b": [0, 1]}, "flags of 'b' must be 2 booleans"),
    ],
)
def test_bad_input_is_refused_in_one_line(a, b, options, message):
    with pytest.raises(ValueError, match=message) as error:
        compare(a, b, **options)
    assert "\n" not in str(error.value)


def test_the_import_is_light():
    code = (
        "import sys, airtrack.study.compare, airtrack.study.looks, airtrack.study.flat; print('scipy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_a_better_sentence_shows_an_interval_that_excludes_equality():
    """Accuracies near 1 with one straggler: decided on the log-odds, not in plain points."""
    low = [0.96, 0.9966, 0.9941, 0.9819, 0.9858, 0.9946, 0.9824, 0.7886]
    high = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8853]
    verdict = compare(low, high, scale="logit", names=("low", "high"))
    assert verdict.winner == "high"
    assert verdict.effect_interval[0] < 0 < verdict.effect_interval[1]
    assert "high is better than low by a factor of " in str(verdict)
    assert " in odds, " in str(verdict)
    odds_low, odds_high = verdict.odds_ratio_interval
    assert odds_high < 1
    assert f"{1 / odds_high:.0f}" in str(verdict)
    assert f"{1 / odds_low:.0f}" in str(verdict)
