"""Mixtures of experts: Switch, GShard's top-k, and DeepSpeed-MoE's residual and pyramid forms."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn.functional import linear

from airtrack.core.part import Slot, SpecError, part
from airtrack.nets.mlps.none import NoMlp
from airtrack.nets.protocols import options

JITTER = 0.01  # half-width of the factors on the gate's input: DeepSpeed's


@part("mlp")
class Moe:
    """Every token goes to `top` of many experts; their outputs are added, weighted by the gate (Shazeer et al., 2017).

    experts   how many
    top       how many of them a token goes to, those of greatest softmax(W x). With one, its output is scaled by that
              probability; with several, by its share of the probabilities of those that had room
    capacity  an expert takes at most ⌈capacity · top · tokens / experts⌉ of a batch's tokens in training; null: any
              number. 2 is that of the mixtures in Physics of Language Models 4.1, DeepSpeed's default is 1
    least     but always so many
    priority  who is taken. "position": the earlier in its row; among equals the better choice, then the upper row; so
              no token is dropped for the sake of a later one in its row. "random": later ones may as well be taken, as
              DeepSpeed has it; for top 1
    balance   coefficient of the loss that keeps the load even: experts · Σ_e (mean probability of e) · (share of the
              choices that fell on e, whether taken or not), which is 1 for an even load
    expert    an mlp part: what an expert is
    residual  c₀ · mixture(x) + c₁ · MLP(x), (c₀, c₁) = softmax(Linear(x)): the MLP is one more expert that all share
              (Rajbhandari et al., DeepSpeed-MoE, 2022)
    pyramid   the last two mixtures of a net have so many times more experts; with `residual` that is PR-MoE
    every     blocks every − 1, 2 · every − 1, … (from 0) have a mixture, the others a single `expert`; 2 is usual
    noise     of the choice, in training. "gumbel": experts are drawn with the gate's probabilities, without replacement
              (DeepSpeed's RSample at top 1); "jitter": the gate's input is multiplied by U(.99, 1.01)

    A token that an expert does not take gets nothing from it. In evaluation every expert takes all: what a text's
    tokens give does not depend on its neighbours in the batch, and generation gives what one pass over the text does.
    The capacity of a batch depends on its size, but who is taken depends on earlier positions alone ("position").

    >>> Moe(experts=4, top=5)
    Traceback (most recent call last):
    airtrack.core.part.SpecError: a token cannot go to 5 of 4 experts; lower top
    >>> moe = Moe(experts=8, top=2).build(16)
    >>> moe(torch.zeros(1, 5, 16)).shape, len(moe.experts)
    (torch.Size([1, 5, 16]), 8)
    """

    example: ClassVar[dict[str, Any]] = {"experts": 4, "top": 2}
    no_canon: ClassVar[str] = "neighbours go to different experts, so that their hidden values do not meet"

    experts: Annotated[int, Gt(0)] = 8
    top: Annotated[int, Gt(0)] = 1
    capacity: Annotated[float, Gt(0)] | None = 2.0
    least: Annotated[int, Ge(0)] = 4
    priority: Literal["position", "random"] = "position"
    balance: Annotated[float, Ge(0)] = 0.01
    expert: Annotated[Any, Slot("mlp")] = "plain"
    residual: bool = False
    pyramid: Annotated[int, Gt(0)] = 1
    every: Annotated[int, Gt(0)] = 1
    noise: Literal["jitter", "gumbel"] | None = None

    def check(self) -> None:
        if self.top > self.experts:
            raise ValueError(f"a token cannot go to {self.top} of {self.experts} experts; lower top")
        if self.priority == "random" and self.top > 1:
            raise ValueError(f"priority random is for top 1, not {self.top}; use position")
        if isinstance(self.expert, (NoMlp, Moe)):
            raise ValueError(f"an expert is an MLP of its own, not {type(self.expert).__name__}; use plain or gated")

    def build(self, width: int, *, layer: tuple[int, int] = (0, 1)) -> nn.Module:
        """A module, x [B, T, width] → [B, T, width], for block `layer[0]` of `layer[1]`.

        Raises SpecError where no block of the net would have a mixture.
        """
        number, count = layer
        if self.every > count:
            raise SpecError(f"with every {self.every}, none of {count} blocks is a mixture; lower every")
        if (number + 1) % self.every:
            return self._expert(width, layer)
        last = number // self.every >= count // self.every - 2
        return Mixture(self, width, self.experts * (self.pyramid if last else 1), layer)

    def _expert(self, width: int, layer: tuple[int, int]) -> nn.Module:
        return self.expert.build(width, **options(self.expert.build, layer=layer))


class Mixture(nn.Module):
    """The module of `spec`, with so many experts.

    penalty  balance · the balance loss of the last forward pass in training, until someone takes it; else None
    """

    penalty: Tensor | None

    def __init__(self, spec: Moe, width: int, experts: int, layer: tuple[int, int]) -> None:
        super().__init__()
        self.top, self.least, self.priority = spec.top, spec.least, spec.priority
        self.factor = None if spec.capacity is None else Fraction(str(spec.capacity)).as_integer_ratio()
        self.balance, self.noise, self.penalty = spec.balance, spec.noise, None
        self.gate = nn.Linear(width, experts, bias=False)
        self.experts = nn.ModuleList(spec._expert(width, layer) for _ in range(experts))
        self.mlp = spec._expert(width, layer) if spec.residual else None
        self.mix = nn.Linear(width, 2) if spec.residual else None
        self._last: tuple[Tensor, Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, width] → the same. Only in training do experts have a capacity, and the gate noise."""
        return self._run(x, self.training)

    def step(self, x: Tensor, cache: dict[str, Any], documents: Tensor | None = None) -> Tensor:
        """The next positions x [B, t, width], as in evaluation."""
        return self._run(x, False)

    def capacity(self, tokens: int) -> int:
        """How many of a batch's tokens an expert takes at most, in training."""
        if self.factor is None:
            return tokens
        over, under = self.factor  # whole numbers: 30 · 1.1 / 3 is 11, and in floating point more
        return max(-(-over * self.top * tokens // (under * len(self.experts))), self.least)

    def routing(self) -> dict[str, Any]:
        """What the gate did in the last forward pass in training; empty before.

        dropped  share of the choices that were not taken, for want of room
        entropy  of the gate's probabilities for a token, in nats, on average: log(experts) where it does not care
        load     share of the choices that fell on each expert, taken or not
        """
        if self._last is None:
            return {}
        probs, load, taken = self._last
        entropy, choices = torch.special.entr(probs).sum(-1).mean().item(), int(load.sum())
        dropped = 1 - int(taken.sum()) / choices
        return {"dropped": dropped, "entropy": entropy, "load": [n / choices for n in load.tolist()]}

    def flops(self, length: int) -> int:
        """Of the gate, of the experts that tokens go to, and of the shared MLP, over one row of so many tokens."""
        shared = () if self.mlp is None else (self.mlp,)
        own = sum(m.flops(length) for m in (*[self.experts[0]] * self.top, *shared))  # type: ignore[operator]
        return own + 2 * length * sum(m.weight.numel() for m in (self.gate, self.mix) if m is not None)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"penalty": None}  # it belongs to a graph, of which there is no copy

    def _run(self, x: Tensor, training: bool) -> Tensor:
        probs, chosen = self._choose(x, training)  # [B, T, experts], [B, T, top]
        load = chosen.flatten().bincount(minlength=len(self.experts))
        taken = load.clamp_max(self.capacity(len(x) * x.shape[1])) if training else load
        if training:
            self._last = probs.detach(), load, taken
            share = load.to(probs) / chosen.numel()
            self.penalty = self.balance * len(self.experts) * (probs.mean((0, 1)) * share).sum()
        y = self._experts(x, probs.gather(-1, chosen), chosen, load, taken, training)
        if self.mlp is None or self.mix is None:
            return y
        c = self.mix(x).softmax(-1)  # [B, T, 2]
        return c[..., :1] * y + c[..., 1:] * self.mlp(x)

    def _choose(self, x: Tensor, training: bool) -> tuple[Tensor, Tensor]:
        """The gate's probabilities [B, T, experts] and the experts of every token, best first [B, T, top]."""
        draw = torch.default_generator if training else None  # on the CPU, so that every device draws the same
        with torch.autocast(x.device.type, enabled=False):  # half precision would decide near ties by rounding
            h = x.to(torch.promote_types(x.dtype, torch.float32))
            if draw and self.noise == "jitter":
                h = h * (1 + JITTER * (2 * torch.rand(h.shape, generator=draw).to(h) - 1))
            logits = linear(h, self.gate.weight.to(h))
            score = logits
            if draw and self.noise == "gumbel":
                score = logits - torch.empty(logits.shape).exponential_(generator=draw).log().to(logits)
            return logits.softmax(-1), score.topk(self.top).indices

    def _experts(
        self, x: Tensor, weight: Tensor, chosen: Tensor, load: Tensor, taken: Tensor, training: bool
    ) -> Tensor:
        """The experts' outputs, weighted and added, [B, T, width]; of `load` choices each expert has `taken`."""
        B, T, top = chosen.shape
        claims = torch.arange(chosen.numel(), device=x.device).view(B, T, top)  # numbers in chosen.flatten()
        claims = claims.permute(1, 2, 0).flatten()  # by position, then choice, then row
        if training and self.priority == "random":
            mixed = torch.randperm(len(claims), generator=torch.default_generator)
            claims = claims[mixed.to(x.device)]
        expert, order = chosen.flatten()[claims].sort(stable=True)
        place = torch.arange(len(order), device=x.device) - (load.cumsum(0) - load)[expert]  # in the expert's queue
        claims = claims[order[place < taken[expert]]]
        weight = weight.flatten()
        if top > 1:
            kept = torch.zeros_like(weight).index_fill(0, claims, 1).mul(weight).view(-1, top)
            total = kept.sum(1, keepdim=True)
            weight = (kept / torch.where(total > 0, total, 1)).flatten()
        tokens = claims // top
        parts = x.flatten(0, 1).index_select(0, tokens)[None].split(taken.tolist(), 1)  # a slice for each expert
        always = torch.is_grad_enabled()  # an idle expert's gradients are nought, not missing
        y = torch.cat([e(h) for e, h in zip(self.experts, parts) if always or h.shape[1]], 1)[0]  # [claims, width]
        y = y * weight[claims, None].to(y)
        return y.new_zeros(B * T, x.shape[2]).index_add(0, tokens, y).view_as(x)
