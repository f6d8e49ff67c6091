"""Sequences against the plain loop, the exact distribution, and all sequences there are."""

import itertools

import pytest
import torch

from airtrack.core.streams import Streams
from airtrack.nets.decoder import Decoder
from airtrack.nets.generation import generate, reordered, truncated

V = 5


def make(seed=0, vocab=V, sharp=8.0, **fields):
    spec = Decoder(**({"layers": 2, "width": 16, "heads": 2, "canon": "ABCD"} | fields))
    model = spec.build(vocab, Streams(seed), length=24).double()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(sharp if p.abs().max() < 0.3 else 1)
    return model


def log_probability(model, ids, prompt, penalty=0.0, stop=None):
    """Of the new ids up to and including the first `stop`, a row at a time, without a cache."""
    totals = []
    for row in ids:
        rows = model(row[None])[0].detach().log_softmax(-1)
        total, length = 0.0, 0
        for t in range(prompt, len(row)):
            total, length = total + float(rows[t - 1, row[t]]), length + 1
            if stop is not None and row[t] == stop:
                break
        totals.append(total / length**penalty)
    return totals


PROMPTS = torch.tensor([[3, 1, 4], [2, 2, 0], [0, 1, 1]])


def test_greedy_is_the_loop_without_a_cache():
    model = make()
    expected = PROMPTS
    for _ in range(9):
        expected = torch.cat((expected, model(expected)[:, -1].argmax(-1, keepdim=True)), 1)
    assert torch.equal(generate(model, PROMPTS, 9), expected)
    assert torch.equal(model.generate(PROMPTS, 9), expected)
    assert torch.equal(generate(model, PROMPTS, 0), PROMPTS)
    assert len(set(expected[:, 3:].flatten().tolist())) > 1


def test_a_row_ends_with_stop_and_is_filled_up():
    model = make()
    free = generate(model, PROMPTS, 9)
    stop = int(free[0, 5])
    expected = free.clone()
    for row in expected:
        hits = (row[3:] == stop).nonzero()
        if len(hits):
            row[3 + int(hits[0]) :] = stop
    assert torch.equal(generate(model, PROMPTS, 9, stop=stop), expected)
    one = generate(model, PROMPTS[:1], 9, stop=stop)  # all rows end early
    assert torch.equal(one, expected[:1])


def chi_square(drawn, probabilities):
    expected = len(drawn) * probabilities
    there = expected > 0
    counts = torch.bincount(drawn, minlength=len(probabilities))
    assert (counts[~there] == 0).all()
    return float(((counts - expected)[there] ** 2 / expected[there]).sum())


@pytest.mark.parametrize(
    ("settings", "kept"),
    [({}, 5), ({"top_k": 3}, 3), ({"top_p": 0.8}, None), ({"top_k": 4, "top_p": 0.8}, None), ({"top_k": 9}, 5)],
)
def test_draws_follow_the_truncated_softmax(settings, kept):
    model = make(sharp=3.0)
    drawn = generate(
        model,
        PROMPTS[:1].expand(4000, 3),
        1,
        temperature=1.5,
        generator=torch.Generator().manual_seed(1),
        **settings,
    )[:, -1]
    p = (model(PROMPTS[:1])[0, -1] / 1.5).softmax(-1).detach()
    order = sorted(range(V), key=lambda i: -p[i])[: settings.get("top_k", V)]
    if "top_p" in settings:  # the definition: the shortest beginning of the order that reaches it
        inside = p[order] / p[order].sum()
        order = order[: next(n for n in range(1, V + 1) if inside[:n].sum() >= settings["top_p"])]
        assert 1 < len(order) < V
    assert len(order) == (kept or len(order))
    exact = torch.zeros_like(p).index_copy(0, torch.tensor(order), p[order] / p[order].sum())
    assert chi_square(drawn, exact) < 23  # at most 4 degrees of freedom: p = .0001
    assert chi_square(drawn, exact.flip(0)) > 100 if len(order) == V else True  # the test can fail


def test_the_ids_that_are_left():
    rows = [[0.1, 0.4, 0.3, 0.2], [0.25, 0.25, 0.25, 0.25]]
    p, double = torch.tensor(rows), torch.tensor(rows, dtype=torch.float64)
    assert torch.allclose(truncated(p, top_k=2), torch.tensor([[0, 4 / 7, 3 / 7, 0], [0.5, 0.5, 0, 0]]))
    for top_p, sets in [(0.1, (1, 1)), (0.4, (1, 2)), (0.41, (2, 2)), (0.7, (2, 3)), (0.9, (3, 4)), (1.0, (4, 4))]:
        assert tuple((truncated(p, top_p=top_p) > 0).sum(-1).tolist()) == sets, top_p
        assert tuple((truncated(double, top_p=top_p) > 0).sum(-1).tolist()) == sets, top_p
    assert tuple((truncated(p, top_k=3, top_p=0.75) > 0).sum(-1).tolist()) == (2, 3)  # of 4/9, 3/9, 2/9
    assert torch.equal(truncated(p), p)


def test_a_likely_draw_is_the_greedy_one():
    model = make()
    drawn = generate(model, PROMPTS, 9, temperature=1.0, top_k=1, generator=torch.Generator().manual_seed(0))
    assert torch.equal(drawn, generate(model, PROMPTS, 9))
    drawn = generate(model, PROMPTS, 9, temperature=1.0, top_p=1e-9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(drawn, generate(model, PROMPTS, 9))


def test_the_generator_alone_decides():
    model = make(sharp=2.0)
    draws = [
        generate(model, PROMPTS, 9, temperature=1.0, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0, -0.5])
@pytest.mark.parametrize("stop", [None, 2])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_wide_beam_finds_the_best_of_all_sequences(seed, stop, penalty):
    vocab, steps = 3, 4
    model = make(seed, vocab, sharp=5.0)
    prompts = torch.tensor([[0, 1], [2, 1]])
    found = generate(model, prompts, steps, beams=vocab**steps, stop=stop, length_penalty=penalty)
    for prompt, row in zip(prompts, found):
        every = []
        for text in itertools.product(range(vocab), repeat=steps):
            if stop in text:  # written in one way only: filled up with stop
                text = text[: text.index(stop)] + (stop,) * (steps - text.index(stop))
            every.append(text)
        every = torch.tensor(sorted(set(every)))
        every = torch.cat((prompt.expand(len(every), 2), every), 1)
        scores = log_probability(model, every, 2, penalty, stop)
        best = max(range(len(every)), key=lambda i: scores[i])
        assert row.tolist() == every[best].tolist()
        assert sorted(scores)[-2] < scores[best] - 1e-9  # no tie


def test_narrow_beams_against_greedy():
    gains, same = [], 0
    for seed in range(12):
        model = make(seed, sharp=4.0)
        greedy = generate(model, PROMPTS, 8)
        beam = generate(model, PROMPTS, 8, beams=4)
        assert torch.equal(generate(model, PROMPTS, 8, beams=1), greedy)
        pairs = zip(log_probability(model, beam, 3), log_probability(model, greedy, 3))
        gains += [b - g for b, g in pairs]
        same += int(torch.equal(beam, greedy))
    assert sum(gains) / len(gains) > 0
    assert same < 12


def test_a_row_of_beams_does_not_depend_on_its_neighbours():
    model = make(sharp=4.0)
    together = generate(model, PROMPTS, 8, beams=3, stop=1)
    for prompt, row in zip(PROMPTS, together):
        assert torch.equal(generate(model, prompt[None], 8, beams=3, stop=1)[0], row)


def test_a_module_without_a_cache_of_its_own():
    class Whole(torch.nn.Module):  # reads all again, and remembers the ids in a list
        def __init__(self, model):
            super().__init__()
            self.model = model

        def advance(self, ids, cache):
            cache = [ids] if cache is None else [torch.cat((cache[0], ids), 1)]
            return self.model(cache[0])[:, -1], cache

    model = make(sharp=4.0)
    for settings in ({}, {"beams": 3}, {"beams": 3, "stop": 1}, {"stop": 1}):
        assert torch.equal(generate(Whole(model), PROMPTS, 7, **settings), generate(model, PROMPTS, 7, **settings))


def test_learned_positions_and_documents():
    model = make(positions="learned", sharp=4.0)
    model.start = 0
    found = generate(model, PROMPTS, 8, beams=4)
    assert sum(log_probability(model, found, 3)) >= sum(log_probability(model, generate(model, PROMPTS, 8), 3))


def test_a_cache_is_reordered_whole():
    cache = {"a": (torch.arange(3), [torch.arange(6).view(3, 2)]), "n": 7, "none": None}
    after = reordered(cache, torch.tensor([2, 2, 0, 1]))
    assert after["a"][0].tolist() == [2, 2, 0, 1]
    assert after["a"][1][0].tolist() == [[4, 5], [4, 5], [0, 1], [2, 3]]
    assert (after["n"], after["none"]) == (7, None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -1.0}, "temperature is -1.0: choose 0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": 1.0, "top_p": 0.0}, "top_p is 0.0, and a probability above 0"),
        ({"temperature": 1.0, "top_p": 1.1}, "top_p is 1.1"),
        ({"temperature": 1.0, "top_k": 0}, "top_k is 0, and cannot be below 1"),
        ({"top_k": 3}, "at temperature 0 nothing is: set a temperature"),
        ({"beams": 0}, "beams is 0, and cannot be below 1"),
        ({"beams": 2, "temperature": 1.0}, "a search with 2 beams draws nothing: leave temperature at 0"),
        ({"length_penalty": 1.0}, "length_penalty 1.0 compares beams, and there is one: set beams"),
        ({"steps": -1}, "steps is -1, and cannot be below 0"),
        ({"ids": torch.zeros(2, 0, dtype=torch.long)}, r"prompts have the shape \(2, 0\)"),
        ({"module": torch.nn.Linear(2, 2)}, "Linear cannot generate: give it a method advance"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        generate(**({"module": make(), "ids": PROMPTS, "steps": 3} | settings))
