"""What a judge receives: any callable on ids as a language model, arrays that are checked; the rest is junk."""

import math
import types

import numpy as np
import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from airtrack.core.answers import array, generate, language_model, log_probs_at, parameters
from airtrack.core.judging import judge
from airtrack.core.problem import Judge, Junk, Metric
from airtrack.core.streams import Streams
from airtrack.nets.decoder import Decoder
from airtrack.nets.model import TorchLanguageModel

IDS = np.arange(12).reshape(3, 4) % 5


class Bigram(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 5)
        self.drop = nn.Dropout(0.5)

    def forward(self, ids):
        return self.drop(self.table(ids))


class Wrapped(Bigram):
    """As Hugging Face's models answer."""

    def forward(self, ids):
        return type("Output", (), {"logits": super().forward(ids)})()


@pytest.mark.parametrize("kind", [Bigram, Wrapped])
def test_torch_modules_are_models(kind):
    module = kind().train()
    scores = module.table.weight.detach().double().numpy()[IDS]
    expected = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    found = language_model(module).log_probs(IDS)
    np.testing.assert_allclose(found, expected, atol=1e-6)  # dropout is off
    assert module.training  # and on again


def test_functions_are_models_and_positions_can_be_asked_for():
    model = language_model(lambda ids: np.eye(5)[ids] * 3)
    rows, columns = np.array([0, 2, 2]), np.array([1, 0, 3])
    np.testing.assert_array_equal(model.log_probs(IDS, (rows, columns)), model.log_probs(IDS)[rows, columns])
    np.testing.assert_allclose(np.exp(model.log_probs(IDS)).sum(-1), 1)


def test_a_model_is_taken_as_it_is():
    class Own:
        def log_probs(self, ids, at=None):
            return "mine"

    own = Own()
    assert language_model(own) is own


@pytest.mark.parametrize(
    "scores",
    [
        lambda ids: np.full((*ids.shape, 5), np.nan),
        lambda ids: np.full((*ids.shape, 5), np.inf),
        lambda ids: np.zeros((len(ids), 5)),
        lambda ids: np.zeros((*ids.shape[::-1], 5)),
    ],
)
def test_scores_that_are_none_are_junk(scores):
    with pytest.raises(Junk):
        language_model(scores).log_probs(IDS)


@pytest.mark.parametrize("answer", [None, 3, "model", np.zeros(3)])
def test_what_cannot_be_called_is_junk(answer):
    with pytest.raises(Junk, match="is no model of token ids: give a callable"):
        language_model(answer)


def test_huge_scores_do_not_overflow():
    found = language_model(lambda ids: np.full((*ids.shape, 5), 1e300)).log_probs(IDS)
    np.testing.assert_allclose(found, -math.log(5))


@pytest.mark.parametrize(
    "answer", [None, "abc", [[1, 2], [3]], np.zeros(3), np.zeros((2, 2)), [1, np.nan], [np.inf, 0], {"a": 1}, lambda: 1]
)
def test_arrays_of_another_kind_are_junk(answer):
    with pytest.raises(Junk):
        array(answer, (2,))


def test_arrays_are_taken_from_anything_that_is_one():
    for answer in ([1, 2], (1.0, 2.0), np.array([1, 2], np.float32), torch.tensor([1.0, 2.0])):
        np.testing.assert_array_equal(array(answer, (2,)), [1.0, 2.0])


# ------------------------------------------------------------------------------------------------------------- judges


METRICS = {"good": Metric("high", (0.0, 1.0)), "bad": Metric("low", (0.0, 10.0), "log")}


@pytest.mark.parametrize(
    ("scores", "read"),
    [
        ({"good": 0.5, "bad": 3.0}, {"good": 0.5, "bad": 3.0}),
        ({"good": 2.0, "bad": -1.0}, {"good": 1.0, "bad": 0.0}),
        ({"good": math.nan, "bad": math.inf}, {"good": 0.0, "bad": 10.0}),
        ({"good": -math.inf, "bad": math.nan}, {"good": 0.0, "bad": 10.0}),
        ({}, {"good": 0.0, "bad": 10.0}),
    ],
)
def test_no_reading_leaves_its_bounds(scores, read):
    assert Judge(lambda answer: scores, METRICS)(None) == read


def test_junk_reads_worst_and_says_why():
    def score(answer):
        raise Junk("it is no answer")

    assert Judge(score, METRICS).read(None) == ({"good": 0.0, "bad": 10.0}, "it is no answer")


def test_other_errors_of_a_judge_are_bugs_and_pass():
    with pytest.raises(ZeroDivisionError):
        Judge(lambda answer: {"good": 1 / 0}, METRICS)(None)


def test_what_was_made_elsewhere_can_be_judged():
    task = {"name": "depo", "n": 4, "hops": 1}
    readings = judge(task, lambda ids: np.zeros((*ids.shape, 64)))
    assert 0 <= readings["accuracy"] < 0.6
    with pytest.warns(UserWarning, match="refused and reads worst on every metric: a str is no model"):
        assert judge(task, "no model")["accuracy"] == 0
    assert judge("logistic", np.full(50, 0.1), seed=1) != judge("logistic", np.full(50, 0.1), seed=2)


def markov(ids):
    """The next id is 1 … 4 with the probabilities .1 … .4, and 0 with the rest, whatever came before."""
    return np.broadcast_to(np.log([1e-12, 0.1, 0.2, 0.3, 0.4]), (*ids.shape, 5))


def test_ids_are_drawn_by_their_probabilities_and_by_the_given_numbers():
    uniforms = np.random.default_rng(0).random((4000, 1))
    new = np.concatenate(generate(markov, [np.array([0])] * 4000, 1, uniforms=uniforms))
    assert (new == 1 + np.searchsorted([0.1, 0.3, 0.6], uniforms[:, 0], side="right")).all()
    assert (new == np.concatenate(generate(markov, [np.array([0])] * 4000, 1, uniforms=uniforms))).all()
    cold = np.concatenate(generate(markov, [np.array([0])] * 4000, 1, uniforms=uniforms, temperature=0.5))
    squares = np.array([1, 4, 9, 16]) / 30
    expected = 4000 * squares
    assert ((np.bincount(cold, minlength=5)[1:] - expected) ** 2 / expected).sum() < 20  # χ², 3 d.o.f.: p = .0002


def test_ragged_prompts_and_stops():
    def counts(ids):
        return np.eye(9)[(ids + 1) % 9] * 50.0

    prompts = [np.array([3, 4]), np.array([6]), np.array([0, 1, 2, 3, 4, 5])]
    found = [row.tolist() for row in generate(counts, prompts, 4, stop=7)]
    assert found == [[5, 6, 7], [7], [6, 7]]
    assert [row.tolist() for row in generate(counts, prompts, 2)] == [[5, 6], [7, 8], [6, 7]]
    assert generate(counts, [], 2) == []
    assert [len(row) for row in generate(counts, prompts, 0)] == [0, 0, 0]


def test_a_model_that_keeps_its_cache_says_the_same():
    net = Decoder(layers=2, width=16, heads=2, canon="AB")
    model = TorchLanguageModel.new(net, Streams(1), vocab=7, length=40)
    for p in model.module.parameters():
        p.data.mul_(4)
    rng = np.random.default_rng(0)
    prompts = [rng.integers(0, 7, size) for size in (1, 5, 3, 9, 2)]
    uniforms = rng.random((5, 20))

    class Plain:
        def log_probs(self, ids, at=None):
            return model.log_probs(ids, at)

    mine = generate(model, prompts, 20, uniforms=uniforms, stop=6)
    assert [row.tolist() for row in mine] == [
        r.tolist() for r in generate(Plain(), prompts, 20, uniforms=uniforms, stop=6)
    ]
    assert len({row.tobytes() for row in mine}) > 1


def test_rows_that_have_ended_show_a_model_nothing_new():
    """A 0, say, may begin a document, for which a net with a cache has to read all rows again."""
    shown = []

    def counts(ids):
        shown.append(ids.copy())
        return np.eye(9)[(ids + 1) % 9] * 50.0

    assert [len(row) for row in generate(counts, [np.array([6]), np.array([1])], 5, stop=7)] == [1, 5]
    assert shown[-1].tolist() == [[6, 7, 7, 7, 7], [1, 2, 3, 4, 5]]


def test_hugging_face_models_are_scored_and_write():
    config = LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    readings = judge({"name": "depo", "n": 8, "evaluation": 16}, model)
    assert readings["loss"] == pytest.approx(math.log(40), abs=0.1)
    assert parameters(model) == sum(p.numel() for p in model.parameters())
    prompt = np.array([1, 2, 3])
    expected = model.generate(torch.tensor(prompt[None]), max_new_tokens=6, do_sample=False, eos_token_id=None)[0, 3:]
    found = generate(model, [prompt, np.array([5, 1, 2, 3])], 6)
    assert found[0].tolist() == expected.tolist()
    assert (
        found[1].tolist() == generate(lambda ids: model(torch.from_numpy(ids)), [np.array([5, 1, 2, 3])], 6)[0].tolist()
    )


def test_rows_are_scored_a_few_at_a_time_if_the_vocabulary_is_large():
    ids = np.random.default_rng(0).integers(0, 5, (40, 100))
    rows, columns = np.nonzero(ids == 3)
    rows, columns = rows[rows != 7], columns[rows != 7]  # a row without positions
    seen = []

    def model(ids):
        seen.append(len(ids))
        return np.eye(5)[ids]

    model.config = types.SimpleNamespace(vocab_size=20_000)
    found = [(which, scores) for which, scores in log_probs_at(model, ids, (rows, columns), 5)]
    assert max(seen) == 4  # 4 · 100 · 20,000 scores are fewer than 2²³
    assert np.concatenate([np.arange(len(rows))[which] for which, _ in found]).tolist() == list(range(len(rows)))
    assert (np.concatenate([scores for _, scores in found]).argmax(-1) == 3).all()
    with pytest.raises(Junk):
        list(log_probs_at(model, ids, (rows, columns), 6))  # five scores a token


def test_a_vocabulary_that_is_too_small_is_refused_in_one_line():
    words = r"the answer was refused .* the model takes no ids up to \d+ in rows of \d+ \(.*\); give it the task's"
    net = Decoder(layers=1, width=8, heads=2, positions="learned")
    few, short = (TorchLanguageModel.new(net, Streams(0), vocab=v, length=n) for v, n in ((5, 99), (40, 4)))
    for answer in (Bigram(), few):
        with pytest.warns(UserWarning, match=words) as told:
            assert judge({"name": "depo", "n": 8, "evaluation": 4}, answer)["accuracy"] == 0
        assert "\n" not in str(told[0].message)
    with pytest.warns(UserWarning, match="there are 4 learned positions"):
        judge({"name": "depo", "n": 8, "evaluation": 4}, short)
    with pytest.warns(UserWarning, match=words):
        judge({"name": "brevo", "n": 8, "evaluation": 4}, few)


def test_a_token_may_be_ruled_out():
    scores = language_model(lambda ids: np.where(np.eye(5)[ids] > 0, 0, -np.inf)).log_probs(IDS)
    assert (scores.max(-1) == 0).all()
    with pytest.raises(Junk):
        language_model(lambda ids: np.full((*ids.shape, 5), -np.inf)).log_probs(IDS)
