import json

import numpy as np
import pytest
import torch

from airtrack.core.answers import LanguageModel, language_model
from airtrack.core.part import SpecError
from airtrack.core.problem import Junk
from airtrack.core.streams import Streams
from airtrack.nets import model as module_of_model
from airtrack.nets.decoder import Decoder
from airtrack.nets.model import TorchLanguageModel

NET = Decoder(layers=1, width=16, heads=2, canon="AC")
IDS = np.random.default_rng(0).integers(0, 7, (11, 9))


@pytest.fixture
def model():
    return TorchLanguageModel.new(NET, Streams(0), vocab=7, length=9, start=0)


def test_log_probs_are_the_log_softmax_in_double(model):
    logits = model.module(torch.from_numpy(IDS)).detach().numpy().astype(np.float64)
    expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    got = model.log_probs(IDS)
    assert got.dtype == np.float64
    assert np.abs(got - expected).max() < 1e-12
    assert np.abs(np.exp(got).sum(-1) - 1).max() < 1e-12
    assert isinstance(model, LanguageModel)
    assert language_model(model) is model


def test_chunks_and_places_in_any_order(model, monkeypatch):
    whole = model.log_probs(IDS)
    rows, columns = np.array([10, 0, 3, 3, 7, 0]), np.array([8, 0, 2, 1, 8, 0])
    at = model.log_probs(IDS, (rows, columns))
    assert np.allclose(at, whole[rows, columns], atol=1e-6)
    monkeypatch.setattr(module_of_model, "CHUNK", 20)  # two rows at a time
    assert np.allclose(model.log_probs(IDS), whole, atol=1e-6)
    assert np.allclose(model.log_probs(IDS, (rows, columns)), at, atol=1e-6)


def test_nothing_asked_for(model):
    assert model.log_probs(IDS[:0]).shape == (0, 9, 7)
    none = np.array([], np.int64)
    assert model.log_probs(IDS, (none, none)).shape == (0, 7)


class Bare(torch.nn.Module):
    """A net that knows no `at`, and behaves otherwise while it trains."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(7, 7)
        self.drop = torch.nn.Dropout(0.5)

    def forward(self, ids):
        return self.drop(self.table(ids))


def test_any_module_evaluated_as_it_should():
    module = Bare().train()
    model = TorchLanguageModel(module)
    rows, columns = np.array([1, 0]), np.array([3, 2])
    a, b = model.log_probs(IDS), model.log_probs(IDS, (rows, columns))
    assert module.training
    assert np.array_equal(a, model.log_probs(IDS))
    assert np.allclose(b, a[rows, columns])
    assert module.table.weight.grad is None


def test_not_finite_is_junk(model):
    model.module.tokens.weight.data[3] = float("nan")
    model.module.train()
    with pytest.raises(Junk, match="not finite"):
        model.log_probs(IDS)
    assert model.module.training


def test_save_and_load(model, tmp_path):
    model.facts["bits_per_weight"] = 4.5
    model.save(tmp_path / "a")
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["model.safetensors", "spec.json"]
    again = TorchLanguageModel.load(tmp_path / "a")
    assert np.array_equal(again.log_probs(IDS), model.log_probs(IDS))
    assert again.facts == model.facts
    assert again.origin == model.origin
    assert again.module.start == 0
    again.module.tokens.weight.data.zero_()
    again.save(tmp_path / "a")
    assert not np.array_equal(TorchLanguageModel.load(tmp_path / "a").log_probs(IDS), model.log_probs(IDS))


def test_tied_weights_are_saved_once(tmp_path):
    model = TorchLanguageModel.new(Decoder(layers=1, width=16, heads=2, tied=True), Streams(0), vocab=7, length=9)
    model.save(tmp_path)
    assert np.array_equal(TorchLanguageModel.load(tmp_path).log_probs(IDS), model.log_probs(IDS))


def test_what_cannot_be_saved_or_loaded(model, tmp_path):
    with pytest.raises(ValueError, match="does not know how it was built"):
        TorchLanguageModel(model.module).save(tmp_path / "b")
    assert not (tmp_path / "b").exists()
    with pytest.raises(FileNotFoundError):
        TorchLanguageModel.load(tmp_path / "b")
    model.save(tmp_path)
    spec = json.loads((tmp_path / "spec.json").read_text())
    spec["net"]["name"] = "decodr"
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    with pytest.raises(SpecError, match="did you mean 'decoder'"):
        TorchLanguageModel.load(tmp_path)


def test_state_is_a_copy_that_can_be_put_back(model):
    state, before = model.state(), model.log_probs(IDS)
    with torch.no_grad():
        [p.mul_(2) for p in model.module.parameters()]
    assert not np.array_equal(model.log_probs(IDS), before)
    model.load_state(state)
    assert np.array_equal(model.log_probs(IDS), before)
    assert set(state) == {name for name, _ in model.module.named_parameters()}


def test_tensors_of_another_net_are_named_and_nothing_is_changed(tmp_path):
    small, large = (
        TorchLanguageModel.new(Decoder(layers=1, width=width, heads=2, mlp="none"), Streams(0), vocab=5, length=4)
        for width in (8, 16)
    )
    before = small.state()
    with pytest.raises(SpecError, match=r"tokens.weight has the shape \(5, 16\), the net's is \(5, 8\);.*and 3 more"):
        small.load_state(large.state())
    with pytest.raises(SpecError, match=r"head.weight is missing; build the net they came from"):
        small.load_state({name: array for name, array in before.items() if name != "head.weight"})
    with pytest.raises(SpecError, match=r"extra is not expected"):
        small.load_state(before | {"extra": before["norm.weight"]})
    assert all(np.array_equal(array, before[name]) for name, array in small.state().items())
    small.save(tmp_path / "small")
    large.save(tmp_path / "large")
    (tmp_path / "large" / "model.safetensors").replace(tmp_path / "small" / "model.safetensors")
    with pytest.raises(SpecError, match=r"these tensors are another net's: tokens.weight"):
        TorchLanguageModel.load(tmp_path / "small")
