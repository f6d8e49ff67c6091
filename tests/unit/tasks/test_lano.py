"""Lano: windows read back, models whose score is known exactly, and statistics of what is hidden or spoilt."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import airtrack as at
from airtrack.core.part import SpecError, build, key, relative_to, to_spec
from airtrack.core.streams import Streams
from airtrack.tasks.language.grammar import Grammar
from airtrack.tasks.language.lano import NAMED, Lano

CONFIGS = Path(__file__).parents[2] / "data" / "cfg"
STREAMS = Streams(5) / "task"
SMALL = [[[[0, 1], [1, 0, 1]]], [[[0, 1], [1]], [[0, 1], [0], [1, 1]]], [[[0, 0], [1, 0]], [[1], [0]]], [[], []]]


def truth(task, streams=STREAMS):
    """The model that knows the grammar: exact scores after every prefix of a row that begins with BOS."""
    seen = task.observed(streams)
    end = seen.terminals + 1

    def model(ids):
        scores = np.full((*ids.shape, end + 1), -1e3)
        scores[..., end] = 0.0
        for row, out in zip(ids, scores):
            inside = (row[1:] >= 1) & (row[1:] < end)
            string = row[1 : 1 + (len(inside) if inside.all() else int(np.argmin(inside)))]
            probs = seen.next_token_probs(string)
            with np.errstate(divide="ignore"):
                out[: len(probs)] = np.maximum(np.log(probs), -1e3)
        return scores

    return model


def strings(ids, end):
    """The strings of a stream of tokens, without the last, which may be cut."""
    found = [[]]
    assert ids[0] == 0
    for token, after in zip(ids, [*ids[1:], 0]):
        if token == 0:
            found.append([])
        elif token == end:
            assert after == 0
        else:
            found[-1].append(int(token))
    return found[1:-1]


def chi2_fits(counts, expected):
    """Pearson's χ² below its .9999 quantile (Wilson–Hilferty)."""
    counts, expected = np.asarray(counts, float), np.asarray(expected, float)
    k = len(counts) - 1
    statistic = ((counts - expected) ** 2 / expected).sum()
    return statistic < k * (1 - 2 / (9 * k) + 3.72 * np.sqrt(2 / (9 * k))) ** 3


# ----------------------------------------------------------------------------------------------------------- windows


@pytest.mark.parametrize(
    "fields",
    [
        {"grammar": "hard3", "context": 50},
        {"grammar": "cfg3f.json", "context": 512},
        {"grammar": "hard3", "context": 64, "implicit": "disjoint", "observable": 10},
        {"grammar": "hard3", "context": 64, "implicit": "overlap", "observable": 10, "increasing": True},
        {"grammar": [[[[0]]], [[]]], "context": 2},
    ],
)
def test_windows_are_strings_of_the_grammar_one_after_the_other(fields):
    with relative_to(CONFIGS):
        task = Lano(**fields)
    given, judge = task.pose(STREAMS)
    seen = task.observed(STREAMS)
    assert given.vocab == seen.terminals + 2
    assert given.start == 0
    for i in range(3):
        x, y = given.batch(i, 40)
        assert x.shape == y.shape == (40, task.context)
        flat = x.ravel()
        assert (y.ravel()[:-1] == flat[1:]).all()
        written = strings([*flat, y[-1, -1]], given.vocab - 1)
        assert len(written) > 0.5 * flat.size / (seen.lengths.mean + 2)
        assert seen.accepts(written).all()
    wanted = seen.sample(STREAMS / "evaluation", task.evaluation)
    for row, size, string in zip(judge.truth["x"], judge.truth["size"], wanted, strict=True):
        assert row[0] == 0
        assert (row[1:size] == string[: size - 1]).all()
        assert size == min(len(string) + 1, task.context)


def test_training_follows_the_law_of_the_grammar():
    task = Lano(grammar=SMALL, context=100)
    given, grammar = task.pose(STREAMS).given, task.language
    written = strings(given.batch(0, 1000).x.ravel(), 3)
    kinds, counts = np.unique([" ".join(map(str, s)) for s in written], return_counts=True)
    expected = len(written) * np.exp(grammar.log_prob([list(map(int, kind.split())) for kind in kinds]))
    common = expected > 5
    rest = len(written) - expected[common].sum()
    assert common.sum() > 20
    assert chi2_fits([*counts[common], counts[~common].sum()], [*expected[common], rest])


def test_x_and_y_are_not_the_same_memory():
    x, y = Lano(grammar="hard3", context=40).pose(STREAMS).given.batch(0, 3)
    assert not np.shares_memory(x, y)


# ------------------------------------------------------------------------------------------------------------- judge


@pytest.mark.parametrize(
    "fields",
    [
        {"grammar": "hard3"},
        {"grammar": SMALL, "context": 5},  # no string fits
        {"grammar": "hard3", "implicit": "overlap", "observable": 9, "increasing": True},
        {"grammar": "hard3", "corruption": "tokens"},
    ],
)
def test_who_knows_the_truth_is_at_no_distance_from_it(fields):
    task = Lano(**{"context": 128, "evaluation": 40, **fields})
    readings = task.pose(STREAMS).judge(truth(task))
    assert readings["kl"] == 1e-9
    assert readings["kl_se"] < 1e-12
    assert list(readings) == ["kl", "kl_se", "loss"]


def test_the_loss_of_the_truth_is_the_floor():
    task = Lano(grammar="hard3", context=128, evaluation=2000)
    loss = task.pose(STREAMS).judge(truth(task))["loss"]
    floor, error = task.language.floor(STREAMS / "other", 4000)
    assert abs(loss - floor) < 4 * error * math.sqrt(1 + 2)


def test_the_distance_of_a_model_that_knows_nothing_is_exact():
    task = Lano(grammar=SMALL, context=128, evaluation=300)
    _, judge = task.pose(STREAMS)
    by_hand = []
    for string in task.language.sample(STREAMS / "evaluation", 300):
        rows = task.language.next_token_probs(string)
        by_hand.append([sum(p * math.log(4 * p) for p in row if p > 0) for row in rows])
    kl = np.concatenate(by_hand)
    readings = judge(lambda ids: np.zeros((*ids.shape, 4)))
    assert readings["kl"] == pytest.approx(kl.mean(), rel=1e-12)
    assert readings["loss"] == pytest.approx(math.log(4), rel=1e-12)
    spread = np.std([task.pose(Streams(s)).judge(lambda ids: np.zeros((*ids.shape, 4)))["kl"] for s in range(200)])
    assert readings["kl_se"] == pytest.approx(spread, rel=0.25)


def test_a_wider_vocabulary_costs_what_it_is_given():
    task = Lano(grammar=SMALL, context=128)
    _, judge = task.pose(STREAMS)
    kl = judge(lambda ids: np.zeros((*ids.shape, 4)))["kl"]
    assert judge(lambda ids: np.zeros((*ids.shape, 8)))["kl"] == pytest.approx(kl + math.log(2))


def test_a_model_that_rules_out_what_may_come_stays_in_bounds():
    task = Lano(grammar=SMALL, context=128)

    class Stubborn:
        def log_probs(self, ids, at=None):
            scores = np.full((len(at[0]), 4), -np.inf)
            scores[:, 0] = 0
            return scores

    readings = task.pose(STREAMS).judge(Stubborn())
    assert 40 < readings["kl"] < readings["loss"] == 50


def test_any_callable_is_judged():
    readings = at.judge(Lano(grammar="hard3", context=64, evaluation=4), lambda ids: np.zeros((*ids.shape, 5)))
    assert readings["loss"] == pytest.approx(math.log(5))


# -------------------------------------------------------------------------------------------------------- completions


def test_who_knows_the_truth_writes_strings_of_the_grammar():
    task = Lano(grammar="hard3", context=64, evaluation=4, completions=150, cut=10)  # the shortest string
    readings = task.pose(STREAMS).judge(truth(task))
    assert (readings["completion"], readings["completion_cut"]) == (1, 1)
    assert (readings["completion_se"], readings["completion_cut_se"]) == (0, 0)
    assert readings["distinct"] > 0.98
    fresh = task.language.log_prob(task.language.sample(STREAMS, 3000))
    assert readings["entropy_gap"] < 4 * fresh.std() * math.sqrt(2 / 150)


def test_a_model_that_writes_one_string_is_not_diverse():
    task = Lano(grammar="hard3", context=64, evaluation=4, completions=20, cut=10)
    string = task.language.sample(STREAMS / "one", 1)[0]

    def model(ids):
        scores = np.zeros((*ids.shape, 5))
        sure = np.eye(5)[[*string, 4, *[4] * ids.shape[1]]][: ids.shape[1]]
        return scores + 200 * sure

    readings = task.pose(STREAMS).judge(model)
    assert (readings["completion"], readings["distinct"]) == (1, 1 / 20)
    fresh = task.language.log_prob(task.language.sample(STREAMS / "completions" / "strings", 20))
    assert readings["entropy_gap"] == pytest.approx(abs(task.language.log_prob(string) - fresh.mean()))
    assert readings["completion_cut"] < 1


@pytest.mark.parametrize("token", [0, 1, 4])
def test_what_is_no_string_is_not_accepted(token):
    """BOS for ever, a token for ever, nothing at all."""
    task = Lano(grammar="hard3", context=64, evaluation=4, completions=6, cut=10)
    readings = task.pose(STREAMS).judge(lambda ids: np.full((*ids.shape, 5), 200.0) * np.eye(5)[token])
    assert (readings["completion"], readings["completion_cut"]) == (0, 0)
    assert (readings["distinct"], readings["entropy_gap"]) == (1 / 6, 1e4)


def test_ids_beyond_the_vocabulary_are_no_strings():
    task = Lano(grammar="hard3", context=64, evaluation=4, completions=6, cut=10)

    def model(ids):
        scores = np.zeros((*ids.shape, 9))
        scores[..., 8], scores[:, 1:, 4] = 200.0, 400.0
        return scores

    assert task.pose(STREAMS).judge(model)["completion"] == 0


def test_strings_that_do_not_fit_into_the_window_are_not_completed():
    task = Lano(grammar="hard3", context=26, evaluation=4, completions=200, cut=1)
    readings = task.pose(STREAMS).judge(truth(task))
    lengths = np.array([len(s) for s in task.language.sample(STREAMS / "other", 20_000)])
    fits = (lengths + 1 <= 26).mean()  # with its EOS, which needs not be read
    assert 0.2 < fits < 0.8
    assert abs(readings["completion"] - fits) < 4 * math.sqrt(0.25 / 200)
    assert readings["completion_se"] == pytest.approx(
        math.sqrt(readings["completion"] * (1 - readings["completion"]) / 200)
    )


def test_corrupted_beginnings_are_completed_as_they_were():
    """A model that knows the true beginning completes it; one that believes what it sees is lost."""
    task = Lano(grammar="hard4", context=128, evaluation=4, completions=40, cut=20, corruption="tokens")
    _, judge = task.pose(STREAMS)
    starts = np.array([s[:20] for s in task.language.sample(STREAMS / "completions" / "strings", 40)])
    model, spoilt = truth(task), {}

    def knowing(ids):
        """The first 20 tokens, if they are none of the true beginnings, stand for the one nearest to them."""
        fixed = ids.copy()
        for row in fixed[:, 1:21] if ids.shape[1] > 20 else ():
            distances = (row != starts).sum(1)
            spoilt[tuple(row)] = distances.min()
            row[:] = starts[distances.argmin()]
        return model(fixed)

    readings, lost = judge(knowing), judge(model)
    assert readings["completion_cut"] == lost["completion_cut"] == 1
    assert readings["robust"] > 0.9
    assert lost["robust"] < 0.3
    flipped = [d for d in spoilt.values() if 0 < d < 7]
    assert abs(np.mean(flipped) - 20 * 0.15) < 1


# ------------------------------------------------------------------------------------------------ implicit and spoilt


@pytest.mark.parametrize("increasing", [False, True])
def test_tokens_of_a_bag_come_as_often_as_they_should(increasing):
    task = Lano(grammar="hard3", context=128, implicit="disjoint", observable=14, increasing=increasing)
    ids = task.pose(STREAMS).given.batch(0, 300).x
    for bag in np.array_split(np.arange(1, 15), 3):
        counts = np.array([(ids == token).sum() for token in bag])
        shares = np.arange(1, len(bag) + 1) if increasing else np.ones(len(bag))
        assert chi2_fits(counts, counts.sum() * shares / shares.sum())


def test_tokens_of_disjoint_bags_stand_for_terminals():
    task = Lano(grammar="hard3", context=128, implicit="disjoint", observable=14)
    given = task.pose(STREAMS).given
    owner = np.repeat([1, 2, 3], [5, 5, 4])
    written = strings(given.batch(0, 40).x.ravel(), given.vocab - 1)
    assert task.language.accepts([owner[np.array(s) - 1] for s in written]).all()


def test_overlapping_bags_hold_half_again_as_many_tokens():
    task = Lano(grammar="hard3", implicit="overlap", observable=400)
    bags = task.observed(STREAMS).levels[-2]
    assert [len(bag) for bag in bags] == [200, 200, 200]
    drawn = np.bincount([token for bag in bags for (token,) in bag], minlength=400)
    assert drawn.max() > 1
    assert chi2_fits(
        np.bincount(drawn, minlength=8)[:4],
        400 * np.array([math.exp(-1.5) * 1.5**k / math.factorial(k) for k in range(4)]),
    )
    assert task.observed(STREAMS).terminals == 400  # whether or not all of them are drawn
    assert task.observed(Streams(6)).levels != task.observed(STREAMS).levels


def test_spoilt_tokens_are_as_many_as_asked_for():
    clean = Lano(grammar="easy4", context=128)
    for corrupted, rate in ((1.0, 0.15), (0.3, 0.5)):
        task = Lano(grammar="easy4", context=128, corruption="tokens", corrupted=corrupted, rate=rate)
        given = task.pose(STREAMS).given
        written = strings(given.batch(0, 400).x.ravel(), given.vocab - 1)
        survives = 1 - corrupted * (1 - np.mean([(1 - rate) ** len(s) for s in written]))
        accepted = clean.language.accepts(written).mean()
        assert abs(accepted - survives) < 4 * math.sqrt(0.25 / len(written)) + 0.01  # some are strings by accident


def test_a_spoilt_token_is_another_one():
    task = Lano(grammar=[[[[0] * 4]], [[], [], []]], context=5, corruption="tokens", corrupted=0.6, rate=0.3)
    ids = task.pose(STREAMS).given.batch(0, 6000).x
    written = strings(ids.ravel(), 4)
    assert {len(s) for s in written} == {4}
    counts = np.bincount(np.ravel(written), minlength=4)[1:]
    total = counts.sum()
    assert abs(counts[1] / total - 0.09) < 4 * math.sqrt(0.09 / total) * 2  # tokens of a string share its fate
    assert abs(counts[2] / total - 0.09) < 4 * math.sqrt(0.09 / total) * 2
    flips = np.bincount((np.array(written) != 1).sum(1), minlength=5)
    law = [0.6 * math.comb(4, k) * 0.3**k * 0.7 ** (4 - k) + 0.4 * (k == 0) for k in range(5)]
    assert chi2_fits(flips, len(written) * np.array(law))


def test_a_spoilt_symbol_grows_into_what_it_has_become():
    """Two symbols that become 1 1 or 2 2 2: what is seen are whole parts of the wrong kind."""
    levels = [[[[0, 0, 0]]], [[[0, 0]], [[1, 1, 1]]], [[], []]]
    task = Lano(grammar=levels, context=40, corruption="symbols", corrupted=0.5, rate=0.2)
    written = strings(task.pose(STREAMS).given.batch(0, 3000).x.ravel(), 3)
    wrong = []
    for string in written:
        text = "".join(map(str, string)).replace("222", "b").replace("11", "a")
        assert len(text) == 3
        wrong.append(text.count("b"))
    law = [0.5 * math.comb(3, k) * 0.2**k * 0.8 ** (3 - k) + 0.5 * (k == 0) for k in range(4)]
    assert chi2_fits(np.bincount(wrong, minlength=4), len(written) * np.array(law))


# ------------------------------------------------------------------------------------------------------------- fields


def test_every_way_to_name_a_grammar_gives_the_same_task(tmp_path):
    path = CONFIGS / "cfg3f.json"
    published = json.loads(path.read_text())
    grammar = Grammar.load(path)
    with relative_to(CONFIGS):
        tasks = [Lano(grammar=g) for g in (str(path), "cfg3f.json", published, grammar, grammar.levels)]
    assert {key(task) for task in tasks} == {key(tasks[0])}
    assert len(set(tasks)) == 1
    (tmp_path / "mine.json").write_text(json.dumps(grammar.levels))
    task = Lano(grammar=str(tmp_path / "mine.json"))
    spec = json.loads(json.dumps(to_spec(task)))
    (tmp_path / "mine.json").unlink()
    assert build("task", spec) == task == tasks[0]  # the spec holds the rules


@pytest.mark.parametrize("name", NAMED)
def test_named_grammars_are_whole_and_of_their_size(name):
    task = Lano.preset(name)
    grammar, depth = task.language, int(name[-1])
    assert (grammar.depth, grammar.terminals) == (depth, 3)
    assert all(map(all, grammar.reachable))
    assert task.context == NAMED[name][3] > 1.5 * grammar.lengths.mean
    low, high = {2: (5, 20), 3: (20, 60), 4: (20, 60), 6: (230, 340), 7: (500, 750)}[depth]
    assert low < grammar.lengths.mean < high
    assert (grammar.floor(STREAMS, 200).value < 0.5) == name.startswith("easy")
    assert Lano(grammar=name, context=task.context) == task
    assert Lano.preset(name, context=99).context == 99


def test_a_published_grammar_in_its_published_window():
    task = Lano(grammar=str(CONFIGS / "cfg3k.json"), context=1536, evaluation=20)
    given, judge = task.pose(STREAMS)
    assert given.vocab == 5
    assert given.batch(0, 2).x.shape == (2, 1536)
    assert judge.truth["x"].shape[1] < 1000


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"grammar": "hard5"}, "grammar: no grammar is named 'hard5' .* did you mean 'hard.'"),
        ({"grammar": "no/such.json"}, "grammar: no grammar is named 'no/such.json' and there is no file"),
        ({"grammar": str(CONFIGS / "README.md")}, "grammar: .*README.md cannot be read"),
        ({"grammar": [[[[0, 7]]], [[]]]}, "grammar: symbol 0 of level 0 leads to 7"),
        ({"grammar": 3}, "grammar: a grammar is nested lists"),
        ({"grammar": {"rules": 3}}, "grammar: the grammar has no field sizes or all"),
        ({"context": 1}, "context"),
        ({"evaluation": 0}, "evaluation"),
        ({"implicit": "disjoint"}, "implicit: bags need `observable` tokens"),
        ({"observable": 30}, "implicit: bags need"),
        ({"implicit": "overlap", "observable": 2}, "observable: 2 tokens for 3 bags"),
        ({"implicit": "both", "observable": 20}, "implicit: 'both' is none of"),
        ({"increasing": True}, "increasing: there are no bags"),
        ({"corruption": "token"}, "corruption: 'token' is none of .* did you mean 'tokens'"),
        ({"corrupted": 0.0}, "corrupted"),
        ({"rate": 1.5}, "rate"),
        ({"temperature": 0.0}, "temperature"),
        ({"completions": 5}, "cut: 50 tokens may be more than a string, some have 10; take at most"),
        (
            {"completions": 5, "context": 10, "cut": 2},
            "context: 10 tokens hold BOS and no string, these have 10 or more",
        ),
    ],
)
def test_bad_fields_are_refused_in_one_line(fields, words):
    with pytest.raises(SpecError, match=words) as refusal:
        Lano(**{"grammar": "hard3", **fields})
    assert "\n" not in str(refusal.value)


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="no grammar is named 'cfg3b'"):
        Lano.preset("cfg3b")


def test_these_bytes_never_change():
    x, _ = Lano(grammar=SMALL, context=24).pose(Streams(0) / "task").given.batch(0, 1)
    assert x[0].tolist() == FIRST


FIRST = [0, 2, 1, 2, 2, 1, 3, 0, 2, 1, 2, 1, 1, 1, 3, 0, 2, 2, 1, 3, 0, 1, 1, 1]
