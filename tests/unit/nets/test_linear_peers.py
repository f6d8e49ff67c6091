"""Linear mixers against the implementations of transformers, which share no code with them."""

import pytest
import torch
from torch.nn.functional import logsigmoid, normalize
from transformers.models.mamba2.modeling_mamba2 import Mamba2Config, Mamba2Mixer
from transformers.models.qwen3_next.modeling_qwen3_next import torch_chunk_gated_delta_rule

from airtrack.core.streams import Streams
from airtrack.nets.mixers.deltanet import delta_rule
from airtrack.nets.mixers.mamba2 import Mamba2
from airtrack.nets.start import initialise


@pytest.mark.parametrize("length", [1, 40, 130])
def test_gated_delta_rule_is_that_of_qwen3_next(length):
    g = torch.Generator().manual_seed(0)
    q, k = (normalize(torch.randn(2, length, 3, 8, generator=g), dim=-1) for _ in range(2))
    v = torch.randn(2, length, 3, 6, generator=g)
    decay, beta = (torch.randn(2, length, 3, generator=g) for _ in range(2))
    decay, beta = logsigmoid(decay), beta.sigmoid()
    ours = delta_rule(q, k, v, decay, beta)
    theirs = torch_chunk_gated_delta_rule(q, k, v, decay, beta, output_final_state=True)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=2e-6)


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 40, 130])
def test_mamba2_is_that_of_transformers(length):
    with torch.random.fork_rng():
        theirs = Mamba2Mixer(
            Mamba2Config(hidden_size=16, num_heads=4, head_dim=8, expand=2, state_size=5, n_groups=1, chunk_size=32), 0
        ).eval()
    ours = Mamba2(state=5).build(16, 4)
    initialise(ours, Streams(0))
    theirs.in_proj.weight.copy_(20 * ours.into.weight)
    theirs.out_proj.weight.copy_(ours.out.weight)
    theirs.conv1d.weight.copy_(ours.conv.weight.flip(0).T.unsqueeze(1))
    theirs.norm.weight.copy_(ours.norm.weight.uniform_(0.5, 2, generator=torch.Generator().manual_seed(1)))
    theirs.conv1d.bias.copy_(ours.conv.bias.uniform_(-1, 1, generator=torch.Generator().manual_seed(2)))
    theirs.D.copy_(ours.D.uniform_(-1, 1, generator=torch.Generator().manual_seed(3)))
    theirs.A_log.copy_(ours.rate.A_log)
    theirs.dt_bias.copy_(ours.rate.dt_bias)
    ours.into.weight.mul_(20)  # outputs of order one
    x = torch.randn(2, length, 16, generator=torch.Generator().manual_seed(4))
    assert theirs(x).std() > 0.05
    assert torch.allclose(ours(x), theirs(x), atol=1e-5)
