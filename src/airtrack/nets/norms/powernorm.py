"""PowerNorm: batch normalisation by a running second moment, in training too (Shen et al., 2020, arXiv 2003.07845)."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from airtrack.core.part import part


@part("norm")
class PowerNorm:
    """z = x / √(ψ² + eps), y = gain · z + bias; ψ² is a channel's running mean square over batches, whatever the mean.

    decay           of ψ²: ψ² ← decay · ψ² + (1 − decay) · mean of x² over the batch
    backward_decay  of the gradient's correction; 1: none
    warmup          batches whose own mean square divides, while ψ² begins as the plain average of theirs, until that
                    gives a new batch less weight than 1 − decay; with 0, ψ² starts from 1 and divides at once. The
                    paper's thousands would be all of a short run. But activations grow fast at first, more so from
                    layer to layer, and a ψ² that lags behind ends the learning: at a learning rate of 10⁻² a decoder of
                    two layers is set back by 10 or 30 batches and not by 100, with `groups` 1 not by 30 either
    groups          first divide every token by the root mean square of each of so many groups of its channels, as the
                    released code does with one group; null: do not
    divide          what the backward pass divides by: "running", what the forward pass divided by, as in the paper;
                    "batch": the batch's own moment, as in the released code
    eps             keeps the roots from nought

    In training a token's output depends on the tokens of earlier batches, during the warm-up on its own batch too:
    later positions and other rows. In evaluation it depends on itself alone.

    The backward pass is no derivative, and is the method: with g = gain · ∂L/∂y and means over the tokens of the batch,
    g̃ = g − (1 − backward_decay) · ν · z, ν ← ν + mean(g̃ · z), ∂L/∂x = g̃ / √(ψ² + eps). The paper's ν is
    (1 − backward_decay) times this one. ν needs mean(z²) < 2 / (1 − backward_decay) to stay put: activations that grow
    twentyfold in power faster than ψ² follows make it diverge.

    >>> sorted(PowerNorm().build(8).state_dict())
    ['batches', 'bias', 'moment', 'nu', 'weight']
    """

    example: ClassVar[dict[str, Any]] = {}
    batch_statistics: ClassVar[bool] = True  # a token's output depends on others, in training

    decay: Annotated[float, Ge(0), Le(1)] = 0.9
    backward_decay: Annotated[float, Ge(0), Le(1)] = 0.9
    warmup: Annotated[int, Ge(0)] = 100
    groups: Annotated[int, Gt(0)] | None = None
    divide: Literal["running", "batch"] = "running"
    eps: Annotated[float, Gt(0)] = 1e-5

    def refuse(self, width: int) -> None:
        """Raises ValueError where channels cannot be shared out among the groups."""
        if width % (self.groups or 1):
            raise ValueError(f"width {width} is no multiple of {self.groups} groups")

    def build(self, width: int) -> RunningPower:
        """A module, x [.., width] → the same. Raises ValueError as `refuse`."""
        self.refuse(width)
        return RunningPower(self, width)


class RunningPower(nn.Module):
    """The module of `spec`.

    Buffers: `moment` ψ² [width], `nu` [width], and `batches`, how many of them these have seen.

    A batch is seen in its backward pass, and each backward pass is one batch: micro-batches whose gradients are
    accumulated count one by one; a forward pass without a gradient counts for nothing; one that is repeated to save
    memory (`torch.utils.checkpoint`) counts once and does again what it did the first time, unless another backward
    pass of the module came between, which is refused.
    """

    moment: Tensor
    nu: Tensor
    batches: Tensor

    def __init__(self, spec: PowerNorm, width: int) -> None:
        super().__init__()
        self.decay, self.backward_decay, self.warmup = spec.decay, spec.backward_decay, spec.warmup
        self.groups, self.by_batch, self.eps = spec.groups, spec.divide == "batch", spec.eps
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("moment", torch.ones(width))
        self.register_buffer("nu", torch.zeros(width))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))
        self.seen = 0  # since the module was made
        self._distance: Tensor | float = math.nan

    def forward(self, x: Tensor) -> Tensor:
        """x [.., width] → the same."""
        if self.groups is not None:
            parts = x.unflatten(-1, (self.groups, -1))
            x = (parts * torch.rsqrt(parts.square().mean(-1, keepdim=True) + self.eps)).flatten(-2)
        if self.training:
            return cast(Tensor, _Power.apply(x, self.weight, self.bias, self))
        return (x * torch.rsqrt(self.moment + self.eps) * self.weight + self.bias).to(x.dtype)

    def discrepancy(self) -> dict[str, float]:
        """How far the last batch was from the running statistics that met it: {"deviation": ‖ψ_B − ψ‖ / ‖ψ‖} over the
        channels, after Wang et al., 2022 (arXiv 2210.05153); nan before the second batch."""
        return {"deviation": float(self._distance)}

    def see(self, power: Tensor, product: Tensor) -> None:
        """Count a batch: `power` [width] the means of x², `product` [width] those of g̃ · z."""
        old, power = self.moment.sqrt(), power.to(self.moment)
        distance = (power.sqrt() - old).norm() / old.norm()
        self._distance = torch.where(self.batches > 0, distance, math.nan)
        rate = torch.where(self.batches < self.warmup, 1 / (self.batches + 1).to(power), 0).clamp_min(1 - self.decay)
        self.moment.lerp_(power, rate)
        self.nu.add_(product.to(self.nu))
        self.batches.add_(1)
        self.seen += 1


class _Power(torch.autograd.Function):
    """gain · z + bias in training, with the method's own backward pass, which moves the statistics."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: RunningPower) -> Tensor:
        exact = x.to(torch.promote_types(x.dtype, torch.float32)).flatten(0, -2)  # [tokens, width]
        power = exact.square().mean(0)
        moment = torch.where(norm.batches < norm.warmup, power, norm.moment.to(power))
        scale = torch.rsqrt(moment + norm.eps)
        ctx.save_for_backward(x, weight, scale, power, torch.tensor(norm.seen))
        ctx.norm, ctx.seen = norm, norm.seen
        return (x * scale * weight + bias).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # type: ignore[override]
        norm: RunningPower = ctx.norm
        x, weight, scale, power, seen = ctx.saved_tensors
        if int(seen) != ctx.seen:  # what a checkpoint saves is of the second forward pass, ctx of the first
            fact = "PowerNorm's statistics moved between a forward pass and its repetition"
            raise RuntimeError(f"{fact}; where activations are recomputed, call backward after every forward pass")
        z, dy = x.flatten(0, -2) * scale, grads[0].flatten(0, -2)  # [tokens, width]
        g = dy * weight - (1 - norm.backward_decay) * norm.nu.to(scale) * z  # g̃
        norm.see(power, (g * z).mean(0))
        divisor = torch.rsqrt(power + norm.eps) if norm.by_batch else scale
        return (g * divisor).view_as(x).to(x.dtype), (dy * z).sum(0).to(weight), dy.sum(0).to(weight), None
