"""Brevo against a reader that knows nothing but the text, and its draws against all that may be drawn."""

from collections import Counter
from itertools import pairwise, permutations

import numpy as np
import pytest

from airtrack.core.given import IGNORE
from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.tasks.language.brevo import Brevo, _draw_graph, _draw_listing
from airtrack.tasks.language.draw import state_of

STREAMS = Streams(5) / "task"

SETTINGS = {
    "default": Brevo(n=9),
    "least": Brevo(n=3, context=60),
    "drawn": Brevo(n=20, drawn=True, query="quarter"),
    "wide": Brevo(n=6, alphabet=40, context=70),
    "spelled": Brevo(n=12, alphabet=3, name_length=(1, 3), query="quarter"),
    "brevo1": Brevo.preset("brevo1", n=70),
    "brevo2": Brevo.preset("brevo2", n=30),
    "small": Brevo.preset("small", n=16),
}


def layout(task):
    letters = task.alphabet or task.n
    bos = letters * (1 + (task.name_length[1] > 1))
    return letters, bos, bos + 1, bos + 2, bos + 3


def names(task, ids):
    """Names as tuples; the last may be cut."""
    letters, several = layout(task)[0], task.name_length[1] > 1
    words, word = [], []
    for i in map(int, ids):
        word.append(i)
        if not several or i >= letters:
            words.append(tuple(word))
            word = []
    return words, tuple(word)


def samples(task, row):
    """(start, edges, query, listing, end): end is behind EOS, None where the window ends within the sample."""
    _, bos, query, ans, eos = layout(task)
    starts = [*np.nonzero(row == bos)[0], len(row)]
    for start, stop in pairwise(starts):
        sample = row[start:stop]
        if eos not in sample:
            assert stop == len(row)
            yield start, None, None, None, None
            continue
        assert sample[-1] == eos
        q, a = (int(np.flatnonzero(sample == word)[0]) for word in (query, ans))
        (edge_names, rest), (asked, _), (listed, tail) = (
            names(task, p) for p in (sample[1:q], sample[q + 1 : a], sample[a + 1 : -1])
        )
        assert not rest
        assert not tail
        assert len(asked) == 1
        edges = list(zip(edge_names[::2], edge_names[1::2], strict=True))
        yield start, edges, asked[0], listed, stop


def right(edges, query, listed):
    """By transitive closure and by comparing every pair of places."""
    nodes = sorted({query, *(name for edge in edges for name in edge)})
    number = {name: i for i, name in enumerate(nodes)}
    closure = np.eye(len(nodes), dtype=bool)
    for parent, child in edges:
        closure[number[child], number[parent]] = True
    for _ in nodes:
        closure = closure @ closure
    expected = {nodes[i] for i in np.flatnonzero(closure[number[query]])}
    in_order = all(listed.index(p) < listed.index(c) for p, c in edges if c in expected and p in listed and c in listed)
    return sorted(listed) == sorted(expected) and in_order


@pytest.mark.parametrize("name", SETTINGS)
def test_listings_are_what_the_text_says_and_alone_are_trained_on(name):
    task = SETTINGS[name]
    given, judge = task.pose(STREAMS)
    _, bos, _, ans, eos = layout(task)
    for kind, (x, y) in enumerate(
        (given.batch(0, 8), given.batch(1, 8), (judge.truth["x"][:40], judge.truth["y"][:40]))
    ):
        for row, labels in zip(x, y):
            expected, first = np.full(len(row), IGNORE), True
            for start, edges, asked, listed, stop in samples(task, row):
                if edges is not None:
                    assert right(edges, asked, listed)
                    assert len(set(edges)) == len(edges)
                    incoming, outgoing = (Counter(e[i] for e in edges) for i in (1, 0))
                    assert max(*incoming.values(), *outgoing.values()) <= 4
                    assert task.valid(
                        row[start : start + list(row[start:]).index(ans) + 1],
                        row[start:stop][list(row[start:stop]).index(ans) + 1 :],
                    )
                else:
                    assert not first  # the first is whole
                a = np.flatnonzero(row[start:stop] == ans)
                if kind < 2 and len(a):
                    expected[start + a[0] - 1 : (stop or len(row)) - 1] = row[start + a[0] : stop]
                elif first:
                    expected[a[0] - 1 : stop - 1] = row[a[0] : stop]
                first = False
            assert (labels == expected).all()
    scored = judge.truth["target"]
    assert (scored == eos).sum() == task.evaluation
    assert ((scored < bos) | (scored == eos)).all()
    assert given.start == bos


def test_listings_of_the_evaluation_are_of_the_largest_graphs():
    task = Brevo(n=16, drawn=True, alphabet=16)
    x = task.pose(STREAMS).judge.truth["x"]
    edges = [next(samples(task, row))[1] for row in x]
    shown = [len({name for edge in e for name in edge}) for e in edges]
    assert min(shown) > 16 - 5  # only leaves without a child are not shown; there are at most 4
    assert max(shown) == 16


def chi2_fits(counts, expected):
    """Pearson's χ² below its .9999 quantile (Wilson–Hilferty)."""
    k = len(counts) - 1
    statistic = ((counts - expected) ** 2 / expected).sum()
    return statistic < k * (1 - 2 / (9 * k) + 3.72 * np.sqrt(2 / (9 * k))) ** 3


def graphs(n, count, counter=0):
    """(leaves, [parents of node i]) of graphs as they are drawn."""
    state = state_of(STREAMS / "graphs", counter)
    parents, number = np.empty((n, 4), np.int64), np.empty(n, np.int64)
    edges, space, spare = np.empty((4 * n, 2), np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    for _ in range(count):
        m = _draw_graph(state, parents, number, edges, n, space, spare)
        found = [parents[i, : number[i]].tolist() for i in range(n)]
        assert sorted(map(tuple, edges[:m].tolist())) == sorted((p, i) for i in range(n) for p in found[i])
        yield found


@pytest.mark.parametrize("n", [3, 6, 21])
def test_graphs_follow_the_published_law(n):
    leaves, degrees, ranks = Counter(), {}, {}
    for found in graphs(n, 3000):
        first = next(i for i in range(n) if found[i])
        leaves[first] += 1
        children = np.zeros(n, int)
        for i in range(first, n):
            eligible = [j for j in range(i) if children[j] < 4]
            assert set(found[i]) <= set(eligible)
            assert len(set(found[i])) == len(found[i]) >= 1
            degrees.setdefault(min(4, len(eligible)), Counter())[len(found[i])] += 1
            for p in found[i]:
                ranks.setdefault(len(eligible), Counter())[eligible.index(p)] += 1
            children[found[i]] += 1
    most = (n - 1) // 4 + 1
    assert set(leaves) == set(range(1, most + 1))
    if most > 1:
        assert chi2_fits(np.array([leaves[i] for i in range(1, most + 1)]), np.full(most, 3000 / most))
    for law in (degrees, {k: v for k, v in ranks.items() if v.total() > 30 * k}):
        for k, counts in law.items():
            numbers = np.array([counts[i] for i in (range(1, k + 1) if law is degrees else range(k))])
            assert numbers.sum() == counts.total()
            assert k == 1 or chi2_fits(numbers, np.full(k, numbers.sum() / k))


def backward_law(parents, query):
    """{listing: probability}: from the end, each place uniform among the nodes whose listed children have theirs."""
    needed, queue = {query}, [query]
    while queue:
        new = set(parents[queue.pop()]) - needed
        needed |= new
        queue += new
    children = {i: {j for j in needed if i in parents[j]} for i in needed}
    law = {}
    for order in permutations(needed):
        chance, placed = 1.0, set()
        for node in order[::-1]:
            ready = [i for i in needed - placed if children[i] <= placed]
            chance *= (node in ready) / len(ready)
            placed.add(node)
            if not chance:
                break
        if chance:
            law[order] = chance
    return law


@pytest.mark.parametrize(
    ("parents", "query"),
    [
        ([[], [], [0], [0, 1], [2, 3], [1, 4]], 5),
        ([[], [], [], [0, 1, 2]], 3),
        ([[], [0], [0], [1], [1, 2]], 4),  # node 3 is not asked for
        ([[], [0], [1]], 2),
    ],
)
def test_listings_are_drawn_by_the_stated_law(parents, query):
    n, law = len(parents), backward_law(parents, query)
    table, number = np.zeros((n, 4), np.int64), np.array([len(p) for p in parents])
    for i, p in enumerate(parents):
        table[i, : len(p)] = p
    state, order, spare, drawn = (
        state_of(STREAMS / "listing", n),
        np.empty(n, np.int64),
        np.empty(n, np.int64),
        Counter(),
    )
    for _ in range(20_000):
        first = _draw_listing(state, table, number, query, order, spare)
        drawn[tuple(order[first:].tolist())] += 1
    assert set(drawn) <= set(law)
    if len(law) > 1:
        assert chi2_fits(np.array([drawn[o] for o in law]), 20_000 * np.array(list(law.values())))


def test_depths_and_coverage_are_those_of_the_released_code():
    """Distance from query to nearest leaf in 400 runs of the released code at n = 90, and the share of nodes listed."""
    published = np.array([50, 146, 116, 54, 26 + 8])
    depths, covered = np.zeros(5), []
    for found in graphs(90, 4000):
        depth = [0] * 90
        for i, parents in enumerate(found):
            depth[i] = 1 + min(depth[p] for p in parents) if parents else 0
        depths[min(depth[89], 5) - 1] += 1
        reached = {89}
        for i in range(89, -1, -1):
            reached |= set(found[i]) if i in reached else set()
        covered.append(len(reached) / 90)
    assert chi2_fits(published, depths / depths.sum() * 400)
    assert np.mean(covered) == pytest.approx(0.38, abs=0.02)


def test_sizes_follow_the_published_law():
    """The text does not show how many nodes there are; the mean number of edges does."""
    task = Brevo(n=40, drawn=True, alphabet=40)
    law = 1 / (np.arange(3, 41) + np.sqrt(40))
    edges = np.array([len(next(samples(task, row))[1]) for row in task.pose(STREAMS).given.batch(0, 4000).x])
    means = [np.mean([sum(map(len, found)) for found in graphs(n, 200, n)]) for n in range(3, 41)]
    assert edges.mean() == pytest.approx(law @ means / law.sum(), abs=5 * edges.std() / np.sqrt(4000))


def test_the_last_node_is_asked_or_one_of_the_last_quarter():
    """A query with a child is one that is not the last node."""

    def share(query):
        task = Brevo(n=8, query=query, alphabet=8)
        firsts = [next(samples(task, row)) for row in task.pose(STREAMS).given.batch(0, 4000).x]
        return np.mean([any(p == asked for p, _ in edges) for _, edges, asked, *_ in firsts])

    assert share("last") == 0
    expected = np.mean([6 in found[7] for found in graphs(8, 8000)]) / 2  # nodes 6 and 7
    assert share("quarter") == pytest.approx(expected, abs=4 * np.sqrt(expected / 4000))


def test_names_are_a_random_subset_in_random_order():
    task = Brevo(n=5, alphabet=9)
    counts = np.zeros(9)
    for row in task.pose(STREAMS).given.batch(0, 3000).x:
        counts[next(samples(task, row))[2][0]] += 1
    assert chi2_fits(counts, np.full(9, 3000 / 9))


class Lister:
    """Reads the text and lists; `spoil` changes (listing, edges) into what it writes."""

    def __init__(self, task, spoil=lambda listed, edges: listed, stop=True):
        self.task, self.spoil, self.stop, self.plans = task, spoil, stop, {}

    def plan(self, prompt):
        task, (_, _, query, _, eos) = self.task, layout(self.task)
        q = prompt.index(query)
        edge_names, asked = names(task, prompt[1:q])[0], names(task, prompt[q + 1 : -1])[0][0]
        edges = list(zip(edge_names[::2], edge_names[1::2]))
        listed = []

        def visit(node):
            for parent in sorted(p for p, c in edges if c == node):
                visit(parent)
            if node not in listed:
                listed.append(node)

        visit(asked)
        return [i for name in self.spoil(listed, edges) for i in name] + [eos] * self.stop

    def log_probs(self, ids, at=None):
        bos, ans = layout(self.task)[1], layout(self.task)[3]
        scores = np.zeros((len(at[0]), bos + 4))
        for out, row, column in zip(scores, *at):
            text = ids[row, : column + 1].tolist()
            if ans in text:
                prompt = tuple(text[: text.index(ans) + 1])
                plan = self.plans.setdefault(prompt, self.plan(list(prompt)))
                written = len(text) - len(prompt)
                out[plan[written] if written < len(plan) else bos] = 60
        return scores


def exchanged(listed, edges):
    """The query and the node listed before it, which is its parent, change places."""
    return [*listed[:-2], listed[-1], listed[-2]]


def harmless(listed, edges):
    """Two neighbours change places if neither needs the other."""
    for i in range(len(listed) - 1):
        if (listed[i], listed[i + 1]) not in edges:
            return [*listed[:i], listed[i + 1], listed[i], *listed[i + 2 :]]
    return listed


def stranger(listed, edges):
    others = sorted({name for edge in edges for name in edge} - set(listed))
    return [*listed[:-1], others[0] if others else (0, 0, 0, 9), listed[-1]]


SPOILS = {
    "exchanged": exchanged,
    "duplicate": lambda listed, edges: [listed[0], *listed],
    "repeated end": lambda listed, edges: [*listed, listed[-1]],
    "missing": lambda listed, edges: listed[1:],
    "nothing": lambda listed, edges: [],
    "extra": stranger,
    "no name": lambda listed, edges: [*listed[:-1], (999,), listed[-1]],
    "backwards": lambda listed, edges: listed[::-1],
}


@pytest.mark.parametrize("name", ["default", "spelled"])
def test_who_lists_right_scores_one_and_one_fault_costs_everything(name):
    task = Brevo(**{f: getattr(SETTINGS[name], f) for f in ("n", "query", "alphabet", "name_length")}, evaluation=24)
    judge = task.pose(STREAMS).judge
    for spoil in (lambda listed, edges: listed, harmless):
        readings = judge(Lister(task, spoil))
        assert (readings["accuracy"], readings["accuracy_se"]) == (1, 0)
    no_end = judge(Lister(task, stop=False))
    assert no_end["accuracy"] == 0
    for what, spoil in SPOILS.items():
        if what != "no name":
            assert judge(Lister(task, spoil))["accuracy"] == 0, what


@pytest.mark.parametrize("what", SPOILS)
def test_faults_are_faults_in_the_text_alone(what):
    task = Brevo(n=9)
    lister = Lister(task)
    ans, eos = layout(task)[3:]
    for row in task.pose(STREAMS).judge.truth["x"][:30]:
        _, edges, _, listed, stop = next(samples(task, row))
        prompt = row[: list(row).index(ans) + 1]
        assert task.valid(prompt, row[len(prompt) : stop])
        assert task.valid(prompt, lister.plan(prompt.tolist()))
        assert not task.valid(prompt, [i for name in SPOILS[what](listed, edges) for i in name] + [eos])
        assert not task.valid(prompt, row[len(prompt) : stop - 1])
        assert not task.valid(prompt, [])


def test_a_name_that_is_cut_is_a_fault():
    task = Brevo(n=5, alphabet=4, name_length=(2, 3))
    row = task.pose(STREAMS).judge.truth["x"][0]
    ans, eos = layout(task)[3:]
    prompt, stop = row[: list(row).index(ans) + 1], list(row).index(eos)
    listing = row[len(prompt) : stop].tolist()
    assert task.valid(prompt, [*listing, eos])
    assert not task.valid(prompt, [*listing, 0, eos])
    assert not task.valid(prompt, [*listing[:-1], eos])


def test_the_loss_is_that_of_listings_and_their_end():
    task = Brevo(n=9, evaluation=16)
    given, judge = task.pose(STREAMS)
    assert judge(lambda ids: np.zeros((*ids.shape, given.vocab)))["loss"] == pytest.approx(np.log(given.vocab))
    x = judge.truth["x"]
    assert len(judge.truth["target"]) == sum(len(next(samples(task, row))[3]) + 1 for row in x)


def test_a_sample_longer_than_the_context_is_drawn_again():
    task = Brevo(n=30, alphabet=4, name_length=(1, 4))
    longest = task.pose(STREAMS).given.length
    short = Brevo(n=30, alphabet=4, name_length=(1, 4), context=task._usual)
    assert task._usual < longest
    for row in short.pose(STREAMS).given.batch(0, 50).x:
        assert next(samples(short, row))[1] is not None


def test_these_bytes_never_change():
    task = Brevo(n=5)
    x, _ = task.pose(Streams(0) / "task").given.batch(0, 1)
    assert task.text(x[0]) == "BOS 3 4 1 4 4 2 0 3 0 4 QUERY 2 ANS 1 0 3 4 2 EOS BOS 0 1 4 3 3 0 2 3 4"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"n": 2}, "n: .*3, got 2"),
        ({"n": 9, "alphabet": 8}, "alphabet: 8 tokens make 8 names for n = 9"),
        ({"n": 9, "name_length": (3, 2)}, "name_length: 3 is more than 2"),
        ({"n": 9, "query": "first"}, "query: 'first' is none of last, quarter"),
        ({"n": 9, "context": 20}, "context: samples of .* not 20"),
        ({"n": 9, "evaluation": 0}, "evaluation"),
    ],
)
def test_bad_fields_are_refused_in_one_line(fields, words):
    with pytest.raises(SpecError, match=words) as refusal:
        Brevo(**fields)
    assert "\n" not in str(refusal.value)


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="brevo1, brevo2 and small"):
        Brevo.preset("brevo3", n=9)
