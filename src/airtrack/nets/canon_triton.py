"""Canon's sum over shifted inputs as one Triton kernel forward and one backward. Importing it needs triton."""

# pyright: reportPossiblyUnboundVariable=false

from __future__ import annotations

from typing import Any

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

from airtrack.nets.canon import gradients, shifted_sum, within

DTYPES = (torch.float16, torch.bfloat16, torch.float32)  # sums are single precision: doubles go another way
ROWS = 16  # tokens of a tile, and
WIDTH = 128  # channels: with twice as many the backward pass of kernel 4 no longer fits into the registers of sm_90
TILES = 16  # that a program of the backward pass adds the gradient of its taps over, before it writes it down


@triton.jit
def _forward(
    x,
    weight,
    documents,
    y,
    rows,
    length,
    width,
    KERNEL: tl.constexpr,
    APART: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """y of a tile of tokens and channels. The rows of a batch lie end to end: `place` is a token's within its row."""
    first = tl.program_id(0).to(tl.int64) * ROWS
    row = first + tl.arange(0, ROWS)
    channel = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    real = channel < width
    here = tl.arange(0, ROWS)[:, None] * width + channel[None, :]  # from the first of the tile on: 32 bits suffice
    x += first * width
    y += first * width
    place = row % length
    sees = row < rows  # whether a token sees the one that lies j before it, and so all between
    if APART:
        document = tl.load(documents + row, mask=sees, other=0)
    total = tl.zeros((ROWS, WIDTH), tl.float32)
    for j in tl.static_range(KERNEL):
        if j > 0:
            sees = sees & (place >= j)
            if APART:
                sees = sees & (tl.load(documents + row - j, mask=sees, other=0) == document)
        tap = tl.load(weight + j * width + channel, mask=real, other=0).to(tl.float32)
        total += (
            tl.load(x + here - j * width, mask=sees[:, None] & real[None, :], other=0).to(tl.float32) * tap[None, :]
        )
    tl.store(y + here, total, mask=(row < rows)[:, None] & real[None, :])


@triton.jit
def _backward(
    g,
    x,
    weight,
    documents,
    gx,
    partial,
    rows,
    length,
    width,
    KERNEL: tl.constexpr,
    POWER: tl.constexpr,
    APART: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    TILES: tl.constexpr,
):
    """gx of TILES tiles, and their share of the taps' gradient, partial [programs, KERNEL, width]: the g of the tokens
    that see x serves both. POWER is KERNEL or the next power of two. Nothing is added atomically, in whatever order."""
    channel = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    real = channel < width
    here = tl.arange(0, ROWS)[:, None] * width + channel[None, :]
    number = tl.arange(0, POWER)
    sums = tl.zeros((POWER, WIDTH), tl.float32)
    for tile in range(TILES):
        first = (tl.program_id(0).to(tl.int64) * TILES + tile) * ROWS
        row = first + tl.arange(0, ROWS)
        place = row % length
        seen = row < rows  # whether a token is seen by the one that lies j after it
        if APART:
            document = tl.load(documents + row, mask=seen, other=0)
        value = tl.load(x + first * width + here, mask=seen[:, None] & real[None, :], other=0).to(tl.float32)
        slope = tl.zeros((ROWS, WIDTH), tl.float32)
        for j in tl.static_range(KERNEL):
            if j > 0:
                seen = seen & (place + j < length)
                if APART:
                    seen = seen & (tl.load(documents + row + j, mask=seen, other=0) == document)
            tap = tl.load(weight + j * width + channel, mask=real, other=0).to(tl.float32)
            later = tl.load(g + first * width + here + j * width, mask=seen[:, None] & real[None, :], other=0).to(
                tl.float32
            )
            slope += later * tap[None, :]
            sums += tl.where(number[:, None] == j, tl.sum(later * value, 0)[None, :], 0.0)
        tl.store(gx + first * width + here, slope, mask=(row < rows)[:, None] & real[None, :])
    share = (tl.program_id(0).to(tl.int64) * KERNEL + number)[:, None] * width + channel[None, :]
    tl.store(partial + share, sums, mask=(number < KERNEL)[:, None] & real[None, :])


class _Taps(torch.autograd.Function):
    """Σ_j weight_j · x_{t−j}: x [B, T, D] of `DTYPES`, weight [kernel, D], documents [B, T] or None → [B, T, D].

    The sum is single precision, whatever x and weight are. Derivatives of derivatives and torch.func's transforms go by
    `shifted_sum` and its plain gradients.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, documents: Tensor | None) -> Tensor:
        x = x.contiguous()
        y = torch.empty_like(x)
        if x.numel():
            programs = triton.cdiv(x.shape[0] * x.shape[1], ROWS)
            _launch(_forward, programs, (x,), weight, documents, (y,))
        return y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[Tensor, int]:
        def plain(x: Tensor, weight: Tensor, documents: Tensor | None) -> Tensor:
            return shifted_sum(x, weight, _whole(x, weight, documents)).to(x.dtype)

        return torch.vmap(plain, in_dims)(*args), 0

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (g,), (x, weight, documents) = grads, ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph: a kernel has no derivative
            gx, gw = gradients(g, x, weight, _whole(x, weight, documents))
            return gx.to(x.dtype), gw.to(weight.dtype), None
        x, g = x.contiguous(), g.contiguous()
        gx, programs = torch.empty_like(x), triton.cdiv(x.shape[0] * x.shape[1], ROWS * TILES)
        partial = x.new_empty((programs, *weight.shape), dtype=torch.float32)
        if x.numel():
            power = triton.next_power_of_2(len(weight))
            _launch(_backward, programs, (g, x), weight, documents, (gx, partial), POWER=power, TILES=TILES)
        return gx, partial.sum(0).to(weight.dtype), None


def _launch(
    kernel: Any,
    programs: int,
    inputs: tuple[Tensor, ...],
    weight: Tensor,
    documents: Tensor | None,
    outputs: tuple[Tensor, ...],
    **constants: int,
) -> None:
    B, T, D = inputs[0].shape
    tile = min(WIDTH, triton.next_power_of_2(D))
    grid = programs, triton.cdiv(D, tile)
    read = weight if documents is None else documents.contiguous()  # the weight is not read as documents
    shape = {"KERNEL": len(weight), "APART": documents is not None, "ROWS": ROWS, "WIDTH": tile}
    with torch.cuda.device_of(weight):
        kernel[grid](*inputs, weight.contiguous(), read, *outputs, B * T, T, D, **shape, **constants)


def _whole(x: Tensor, weight: Tensor, documents: Tensor | None) -> Tensor | None:
    return None if documents is None else within(documents, x.dtype, len(weight))
