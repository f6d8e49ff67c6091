"""The wrapper for transformers against the net that it wraps."""

import subprocess
import sys

import pytest
import torch
import transformers

from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.nets.decoder import Decoder
from airtrack.nets.model import TorchLanguageModel
from airtrack.nets.pretrained import AirtrackConfig, AirtrackForCausalLM

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

V = 9
NETS = {
    "rope-canon": {"canon": "ABCD"},
    "learned": {"positions": "learned", "tied": True},
    "none-grouped": {"positions": "none", "mixer": {"name": "attention", "groups": 1, "window": 3}, "canon": "A"},
    "gla": {"positions": "none", "mixer": "gla", "canon": "ACD"},
    "mamba2": {"positions": "none", "mixer": {"name": "mamba2", "state": 4}, "mlp": "none", "canon": "B"},
    "deltanet": {"positions": "none", "mixer": "deltanet"},
}


def make(start=None, length=24, **fields):
    spec = Decoder(**({"layers": 2, "width": 16, "heads": 2} | fields))
    ours = TorchLanguageModel.new(spec, Streams(2), vocab=V, length=length, start=start)
    with torch.no_grad():
        for p in ours.module.parameters():
            p.mul_(8 if p.abs().max() < 0.3 else 1)
    ours.module.double()
    return ours, AirtrackForCausalLM.of(ours).eval()


IDS = torch.tensor([[1, 2, 3, 4, 5], [5, 6, 7, 8, 1]])
RAGGED = [[1, 2, 3], [5, 6, 7, 8, 1, 4], [4], [2, 2, 3, 1, 8, 7]]
LEFT = torch.tensor([[0] * (6 - len(r)) + r for r in RAGGED])
MASK = torch.tensor([[0] * (6 - len(r)) + [1] * len(r) for r in RAGGED])


@pytest.mark.parametrize("fields", NETS.values(), ids=NETS)
def test_forward_loss_and_gradients(fields):
    ours, model = make(**fields)
    logits = ours.module(IDS)
    out = model(IDS, labels=IDS)
    assert torch.equal(out.logits, logits)
    assert out.past_key_values is None
    expected = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())
    assert abs(out.loss - expected).item() < 1e-6
    labels = IDS.clone()
    labels[:, :3] = -100
    some = torch.nn.functional.cross_entropy(logits[:, 2:-1].flatten(0, 1), IDS[:, 3:].flatten())
    assert abs(model(IDS, labels=labels).loss - some).item() < 1e-6
    out.loss.backward()
    assert all(p.grad is not None for p in ours.module.parameters())
    assert torch.equal(model(IDS, logits_to_keep=2).logits, logits[:, -2:])
    loss, told = model(IDS, labels=IDS, return_dict=False)
    assert torch.equal(told, logits)
    assert torch.equal(loss, out.loss)


@pytest.mark.parametrize("fields", NETS.values(), ids=NETS)
def test_past_in_pieces_of_any_size(fields):
    ours, model = make(**fields)
    logits = ours.module(IDS)
    first = model(IDS[:, :2], use_cache=True)
    second = model(IDS[:, 2:4], past_key_values=first.past_key_values, use_cache=True)
    third = model(IDS[:, 4:], past_key_values=second.past_key_values, use_cache=True, logits_to_keep=1)
    joined = torch.cat((first.logits, second.logits, third.logits), 1)
    assert joined.shape == logits.shape
    assert (joined - logits).abs().max() < 1e-10
    assert third.past_key_values.get_seq_length() == 5


@pytest.mark.parametrize("start", [None, 0, 3])
@pytest.mark.parametrize("fields", NETS.values(), ids=NETS)
def test_padding_changes_nothing(fields, start):
    ours, model = make(start, **fields)
    left = model(LEFT, attention_mask=MASK).logits
    right = torch.tensor([r + [0] * (6 - len(r)) for r in RAGGED])
    behind = model(right, attention_mask=MASK.flip(1)).logits
    both = model(
        torch.cat((LEFT, LEFT[:, :2]), 1), attention_mask=torch.cat((MASK, torch.zeros_like(MASK[:, :2])), 1)
    ).logits
    for i, row in enumerate(RAGGED):
        alone = ours.module(torch.tensor([row]))[0]
        assert (left[i, 6 - len(row) :] - alone).abs().max() < 1e-10
        assert (behind[i, : len(row)] - alone).abs().max() < 1e-10
        assert (both[i, 6 - len(row) : 6] - alone).abs().max() < 1e-10
    if start is None and fields.get("positions") != "none":
        assert (model(LEFT).logits[0, 3:] - left[0, 3:]).abs().max() > 1e-3  # without the mask it is seen


@pytest.mark.parametrize("start", [None, 3])
@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}], ids=["greedy", "beams"])
@pytest.mark.parametrize("fields", NETS.values(), ids=NETS)
def test_generation_is_that_of_the_net(fields, settings, start):
    ours, model = make(start, **fields)
    made = model.generate(LEFT, attention_mask=MASK, max_new_tokens=6, do_sample=False, pad_token_id=0, **settings)
    for row, new in zip(RAGGED, made):
        alone = ours.module.generate(torch.tensor([row]), 6, beams=settings.get("num_beams", 1))
        assert new[6 - len(row) :].tolist() == alone[0].tolist()
    uncached = model.generate(
        LEFT, attention_mask=MASK, max_new_tokens=6, do_sample=False, use_cache=False, pad_token_id=0, **settings
    )
    assert torch.equal(uncached, made)


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_beams_with_an_end(penalty):
    """Our beam search and transformers' agree on where sequences end, and which is the best."""
    ours, model = make(canon="AC")
    ended = 0
    for stop in range(V):
        ids = torch.randint(V, (6, 3), generator=torch.Generator().manual_seed(stop))
        mine = ours.module.generate(ids, 7, beams=3, stop=stop, length_penalty=penalty)
        theirs = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=7,
            do_sample=False,
            num_beams=3,
            eos_token_id=stop,
            pad_token_id=stop,
            length_penalty=penalty,
            early_stopping="never",
        )
        assert torch.equal(mine[:, : theirs.shape[1]], theirs)
        assert (mine[:, theirs.shape[1] :] == stop).all()
        ended += int((mine[:, 3:-1] == stop).any(1).sum())
    assert ended > 5


def test_draws_follow_the_net():
    _, model = make()
    torch.manual_seed(0)
    drawn = model.generate(IDS[:1].expand(3000, 5), max_new_tokens=1, do_sample=True, top_k=0, pad_token_id=0)[:, -1]
    expected = 3000 * model(IDS[:1]).logits[0, -1].softmax(-1).detach()
    assert ((torch.bincount(drawn, minlength=V) - expected) ** 2 / expected).sum() < 32  # 8 degrees: p = .0001


@pytest.mark.parametrize("fields", [*NETS.values(), {"positions": "alibi"}], ids=[*NETS, "alibi"])
def test_saved_and_loaded(fields, tmp_path):
    ours, model = make(start=3, **fields)
    model.save_pretrained(tmp_path)
    assert sorted(p.name for p in tmp_path.glob("*.safetensors")) == ["model.safetensors"]
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert isinstance(back, AirtrackForCausalLM)
    assert back.dtype == torch.float64
    assert back.config.vocab_size == V
    assert (back.config.net, back.config.start, back.config.length) == (ours.origin["net"], 3, 24)
    assert all(torch.equal(a, b) for a, b in zip(back.parameters(), ours.module.parameters(), strict=True))
    assert (back(IDS).logits - ours.module(IDS)).abs().max() < 1e-13  # rounding depends on where a tensor lies
    assert not back.training
    assert transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).dtype == torch.float32


def test_nothing_is_copied():
    ours, model = make()
    with torch.no_grad():
        ours.module.head.weight.zero_()
    assert (model(IDS).logits == 0).all()


def test_refusals():
    ours, model = make()
    hole = torch.tensor([[1, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    with pytest.raises(ValueError, match="attention_mask has a hole in a row"):
        model(IDS, attention_mask=hole)
    with pytest.raises(ValueError, match="padding behind it: set padding_side to left"):
        model(IDS, attention_mask=torch.tensor([[1, 1, 1, 1, 0], [1] * 5]), use_cache=True)
    with pytest.raises(ValueError, match=r"attention_mask has the shape \(2, 4\), and the ids \(2, 5\)"):
        model(IDS, attention_mask=torch.tensor([[0, 1, 1, 1]] * 2))
    with pytest.raises(ValueError, match="has no output_attentions; leave it out"):
        model(IDS, output_attentions=True)
    with pytest.raises(SpecError, match="does not know how it was built"):
        AirtrackForCausalLM.of(TorchLanguageModel(ours.module))
    with pytest.raises(SpecError, match="AirtrackConfig has no net"):
        AirtrackForCausalLM(AirtrackConfig())

    class Bare(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = torch.nn.Embedding(V, V)

        def forward(self, ids):
            return self.tokens(ids)

    bare = AirtrackForCausalLM(AirtrackConfig(ours.origin["net"], V, 24), Bare())
    assert bare(IDS).logits.shape == (2, 5, V)
    assert bare(IDS, attention_mask=torch.tensor([[1, 1, 1, 1, 0], [1] * 5])).logits.shape == (2, 5, V)
    with pytest.raises(ValueError, match="Bare takes no `pads`, so that it cannot leave out padding before a row"):
        bare(IDS, attention_mask=torch.tensor([[0, 1, 1, 1, 1], [1] * 5]))


def test_nothing_imports_it_unasked():
    code = "import sys, airtrack.nets.model, airtrack.nets.decoder; print('transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False"
