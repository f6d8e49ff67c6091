"""Whether, and how, the blocks of a net are compiled for its training."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from airtrack.core.part import SpecError

# Operations of a training from which on compiling pays; torch 2.13, one thread of a Xeon with AVX-512, a decoder with
# RoPE, CPU seconds, eager and compiled steps in turn. Compiling takes 19–27 s, and steps are then 1.12 times as fast at
# width 64 (2 layers, 32 rows of 64; 38 GFLOP/s before), 1.07 at 128 (4, 16 of 128; 53) and at 256 (67), 1.32 at 64 with
# Canon ABCD (28). Time is won after 100 s with these, after 250–290 s without: 2e13 operations. Twice that is a gain.
WORTH = 4e13


def compiles(
    choice: Literal["auto", "never", "always"], net: Any, module: nn.Module, sizes: tuple[int, int, int]
) -> bool:
    """Whether to compile the blocks of a module: "auto" if it can be done and the training has more work than `WORTH`.

    It depends on the work that is planned and not on a clock, so that a trial does the same arithmetic each time.

    net     its part
    sizes   vocabulary, tokens a row, rows in the whole training

    Raises `SpecError` where "always" cannot be done.
    """
    if choice == "never" or (choice == "auto" and work(net, module, *sizes) < WORTH):
        return False
    obstacle = _obstacle(module)
    if obstacle and choice == "always":
        raise SpecError(f"{obstacle}; set compile: auto, which then goes on without", "compile")
    return obstacle is None


def work(net: Any, module: nn.Module, vocab: int, length: int, rows: int) -> float:
    """Floating-point operations of a training over so many rows: forward, and backward for twice as much."""
    try:
        return 3.0 * rows * net.flops(vocab, length)
    except AttributeError:  # a net, or a mixer of a user's own, that does not count
        return 6.0 * rows * length * sum(p.numel() for p in module.parameters())


@contextmanager
def compiled(module: nn.Module) -> Iterator[None]:
    """Within this block, `module.blocks` are compiled where gradients are asked for; a judge meets them as they are.

    The blocks alone: their shapes are the same at every step, so that there is one program and it is made once,
    whatever number of positions has a loss. What was compiled before in this process is forgotten, as torch would
    otherwise generalise from its shapes, and give other roundings than in a process of its own.
    """
    blocks = list(module.blocks)  # type: ignore[arg-type]
    torch.compiler.reset()
    from torch._inductor import config  # seconds, that only a compiled training pays

    limits = torch._dynamo.config.patch(recompile_limit=8 + 2 * len(blocks))  # blocks may differ by their number
    with limits, config.patch(compile_threads=1):  # no processes of its own, which a kill would leave
        try:
            for block in blocks:
                block.forward = _when_training(block.forward)
            yield
        finally:
            for block in blocks:
                block.__dict__.pop("forward", None)


def _when_training(plain: Any) -> Any:
    fast = torch.compile(plain, dynamic=False)
    return lambda *args: (fast if torch.is_grad_enabled() else plain)(*args)


def _obstacle(module: nn.Module) -> str | None:
    """Why this module cannot be compiled here, or None."""
    if not isinstance(getattr(module, "blocks", None), nn.ModuleList):
        return f"{type(module).__name__} has no list of blocks to compile"
    if next(module.parameters()).is_cuda and find_spec("triton") is None:
        return "there is no triton, which torch compiles with on a GPU"
    name = os.environ.get("CXX", {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++"))
    if shutil.which(name) is None:
        return f"there is no C++ compiler {name!r}"
    header = Path(sysconfig.get_path("include")) / "Python.h"
    return None if header.is_file() else f"there is no {header}, which torch compiles against"
